package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

var errRefused = errors.New("refused")

func TestOne(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		good, dead, hangs, slow := fast("good"), fast("dead"), fast("hangs"), fast("slow")
		dead.fail, hangs.answers, slow.answers = errRefused, nil, []time.Duration{20 * time.Second}
		probe := Probe{URL: testURL}
		f := func(n *node, timeout time.Duration, delay uint16, want error, took time.Duration, records int) {
			t.Helper()
			began := time.Now()
			d, err := p.One(t.Context(), n, probe, timeout)
			if d != delay || !errors.Is(err, want) || time.Since(began) != took {
				t.Errorf("%s: %d, %v after %v", n.info.Name, d, err, time.Since(began))
			}
			h := p.c.Book.State(n.Info()).Extra[testURL].History // before anything else happens
			if len(h) != records || timeout > 0 && h[len(h)-1].Delay != delay {
				t.Errorf("%s: %v in the book", n.info.Name, h)
			}
		}
		f(good, time.Second, 10, nil, 10*time.Millisecond, 1)
		f(dead, time.Second, 0, errRefused, 0, 1)
		f(hangs, time.Second, 0, context.DeadlineExceeded, time.Second, 1)
		f(hangs, 1<<31*time.Millisecond, 0, context.DeadlineExceeded, maxTime, 2)
		f(slow, time.Minute, 20000, nil, 20*time.Second, 1)
		f(good, 0, 0, context.DeadlineExceeded, 0, 1)
		f(good, -time.Second, 0, context.DeadlineExceeded, 0, 1)

		// An unexpected status is an answer; the book knows better.
		probe.Expected, _ = ParseStatus("200")
		if d, err := p.One(t.Context(), good, probe, time.Second); d != 10 || err != nil {
			t.Errorf("unexpected status: %d, %v", d, err)
		}
		if s := p.c.Book.State(good.Info()); !s.Alive || s.Extra[testURL].Alive {
			t.Errorf("unexpected status: %+v", s)
		}
	})
}

// TestOneGoesOn finishes a test whose caller has gone.
func TestOneGoesOn(t *testing.T) {
	bubble(t, Config{Most: 1}, func(t *testing.T, p *Planner) {
		first, second := fast("first"), fast("second")
		first.answers = []time.Duration{2 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, r := range p.Test(ctx, []outbound.Outbound{first, second}, Probe{URL: testURL}, 5*time.Second) {
			if !errors.Is(r.Err, ctx.Err()) {
				t.Error(r.Err)
			}
		}
		if p.c.Book.Changed() != 0 {
			t.Error("noted too soon")
		}
		time.Sleep(2 * time.Second)
		for _, n := range []*node{first, second} {
			if _, d := p.c.Book.Result(n.Info(), testURL); d == noDelay {
				t.Errorf("%s: nothing noted", n.info.Name)
			}
		}
	})
}

// TestSharedFlight has one test for all who ask at once; it takes as long as the most patient wants.
func TestSharedFlight(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		n := fast("n")
		n.answers = []time.Duration{8 * time.Second}
		p.Use(all(want(n, 100*time.Second, nil))) // its 5 seconds alone would not do
		time.Sleep(time.Second)
		errs, delays := make(chan error), make(chan uint16, 10)
		for i := range 10 {
			go func() {
				timeout := time.Minute
				if i == 0 {
					timeout = time.Second
				}
				d, err := p.One(t.Context(), n, Probe{URL: testURL}, timeout)
				delays <- d
				errs <- err
			}()
		}
		failed := 0
		for range 10 {
			if err := <-errs; errors.Is(err, context.DeadlineExceeded) {
				failed++
			} else if err != nil {
				t.Error(err)
			}
		}
		if failed != 1 || n.count() != 1 || p.c.Book.Changed() != 1 {
			t.Errorf("%d failed, %d tests, %d notes", failed, n.count(), p.c.Book.Changed())
		}
		if _, d := p.c.Book.Result(n.Info(), testURL); d != 8000 {
			t.Errorf("%d ms", d)
		}
	})
}

// TestNoEndlessFlight ends a test that somebody asks for again and again.
func TestNoEndlessFlight(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		n, began := fast("n"), time.Now()
		n.answers = nil
		for time.Since(began) < 50*time.Second {
			_, _ = p.One(t.Context(), n, Probe{URL: testURL}, 10*time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = p.One(ctx, n, Probe{URL: testURL}, time.Minute)
			cancel()
		}
		time.Sleep(time.Minute)
		if h := p.c.Book.State(n.Info()).History; len(h) < 2 || h[len(h)-1].Delay != 0 {
			t.Errorf("%v", h)
		}
		if s := p.State(); len(s.InFlight) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestAll tests many nodes by one deadline within the budget.
func TestAll(t *testing.T) {
	bubble(t, Config{Most: 4}, func(t *testing.T, p *Planner) {
		busy := new(gauge)
		var nodes []outbound.Outbound
		for i := range 20 {
			n := fast(fmt.Sprint(i))
			n.busy, n.answers = busy, []time.Duration{100 * time.Millisecond}
			switch {
			case i < 4:
				n.answers = nil
			case i == 7:
				n.fail = errRefused
			}
			nodes = append(nodes, n)
		}
		round := func(want int) {
			t.Helper()
			began, good := time.Now(), 0
			for i, r := range p.Test(t.Context(), nodes, Probe{URL: testURL}, 2*time.Second) {
				switch {
				case r.Node != nodes[i]:
					t.Errorf("result %d is of %s", i, r.Node.Info().Name)
				case r.Err == nil && r.Expected && r.Delay == 100:
					good++
				case r.Delay != 0 || i == 7 && want > 0 && !errors.Is(r.Err, errRefused),
					i != 7 && !errors.Is(r.Err, context.DeadlineExceeded):
					t.Errorf("%d: %+v", i, r)
				}
			}
			if good != want || time.Since(began) != 2*time.Second {
				t.Errorf("%d good after %v", good, time.Since(began))
			}
			for _, o := range nodes {
				if h := p.c.Book.State(o.Info()).History; want > 0 && len(h) == 0 {
					t.Errorf("%s: nothing noted", o.Info().Name)
				}
			}
		}
		// Those that hang hold up all others, none of which is said to be dead.
		round(0)
		if got := p.c.Book.Changed(); got != 4 {
			t.Errorf("%d notes", got)
		}
		// From then on they come last.
		round(15)
		if m := busy.most.Load(); m > 4 {
			t.Errorf("%d at once", m)
		}
		if r := p.Test(t.Context(), nil, Probe{URL: testURL}, time.Second); len(r) != 0 {
			t.Error(r)
		}
	})
}

// TestStop ends what runs and what waits, and notes nothing of it.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlanner(Config{Book: NewBook(), Most: 1})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Serve(ctx) }()
		a, b := fast("a"), fast("b")
		a.answers = nil
		results := make(chan []Result)
		go func() {
			results <- p.Test(t.Context(), []outbound.Outbound{a, b}, Probe{URL: testURL}, 5*time.Second)
		}()
		time.Sleep(time.Second)
		cancel()
		r := <-results
		if !errors.Is(r[0].Err, context.Canceled) || !errors.Is(r[1].Err, ErrStopped) {
			t.Errorf("%v, %v", r[0].Err, r[1].Err)
		}
		if err := <-done; err != nil || p.c.Book.Changed() != 0 {
			t.Errorf("%v, %d notes", err, p.c.Book.Changed())
		}
		if _, err := p.One(t.Context(), a, Probe{URL: testURL}, time.Second); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		p.Use(all(want(a, time.Second, nil)))
		p.Trigger(a, testURL)
	})
}

// TestBusy refuses what would wait in too long a queue.
func TestBusy(t *testing.T) {
	p := NewPlanner(Config{Book: NewBook()}) // nobody serves
	n := fast("n")
	for i := range maxWaiting {
		if _, err := p.ask(n, &Probe{URL: fmt.Sprintf("%s%d", testURL, i)}, time.Hour, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.One(t.Context(), n, Probe{URL: testURL}, time.Minute); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// TestPlannerOverSockets tests a real node with a real server.
func TestPlannerOverSockets(t *testing.T) {
	leak.Check(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	defer s.Close()
	tested := make(chan struct{}, 1)
	p := NewPlanner(Config{
		Book:   NewBook(),
		Client: func() Client { return Client{UserAgent: "tester/1"} },
		Tested: func() {
			select {
			case tested <- struct{}{}:
			default:
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Serve(ctx) }()
	d := direct()
	p.Use(all(Want{Node: d, Probe: Probe{URL: s.URL, Unified: true}, Interval: time.Hour}))
	<-tested
	if alive, delay := p.c.Book.Result(d.Info(), s.URL); !alive || delay < 1 || delay == noDelay {
		t.Errorf("%v, %d", alive, delay)
	}
	if delay, err := p.One(t.Context(), d, Probe{URL: s.URL}, time.Minute); delay < 1 || err != nil {
		t.Errorf("%d, %v", delay, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
