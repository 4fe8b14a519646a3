package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const testURL = "http://test.test/"

// bubble runs f with a planner that serves, and joins it.
func bubble(t *testing.T, c Config, f func(t *testing.T, p *Planner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		if c.Book == nil {
			c.Book = NewBook()
		}
		p := NewPlanner(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		defer cancel()
		go func() { done <- p.Serve(ctx) }()
		f(t, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // until the servers have seen it
	})
}

func want(n outbound.Outbound, interval time.Duration, used func() time.Time) Want {
	return Want{Node: n, Probe: Probe{URL: testURL}, Interval: interval, Used: used}
}

// about compares times in milliseconds; the planner may be a little late.
func about(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(g, w int) bool { return w <= g && g <= w+int(coarse.Milliseconds()) }) {
		t.Errorf("%s at %v; want %v", what, got, want)
	}
}

// TestShared tests a node once, however many want it, at the shortest interval.
func TestShared(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		a, b, began := fast("a"), fast("b"), time.Now()
		other := want(a, 20*time.Second, nil)
		other.Probe.URL = "http://other.test/"
		p.Use(all(want(a, 60*time.Second, nil), want(a, 30*time.Second, nil), want(a, 40*time.Second, nil), want(b, 0, nil)))
		time.Sleep(100 * time.Second)
		about(t, "tests", a.since(began), 0, 30000, 60000, 90000)
		if b.count() != 0 {
			t.Error("no interval, and tested")
		}
		p.Use(all(want(a, 30*time.Second, nil), other)) // another URL is another test
		time.Sleep(30 * time.Second)
		about(t, "tests", a.since(began), 0, 30000, 60000, 90000, 100000, 120000, 120000)
		if s := p.c.Book.State(a.Info()); len(s.Extra) != 2 || len(s.History) != 7 || s.History[0].Delay != 10 {
			t.Errorf("%+v", s)
		}
	})
}

// TestSpread begins the first tests soon and without a rush, and all others evenly.
func TestSpread(t *testing.T) {
	f := func(n int, interval, first time.Duration) {
		t.Helper()
		bubble(t, Config{}, func(t *testing.T, p *Planner) {
			var nodes []*node
			var wants []Want
			for i := range n {
				nodes = append(nodes, fast(fmt.Sprint(i)))
				wants = append(wants, want(nodes[i], interval, nil))
			}
			began := time.Now()
			p.Use(slices.Values(wants))
			time.Sleep(5*interval - time.Second/10)
			perTenth := make(map[int]int)
			for _, node := range nodes {
				at := node.since(began)
				if len(at) < 4 || len(at) > 6 || at[0] > int(first.Milliseconds()) {
					t.Fatalf("%s of %d every %v: %v", node.info.Name, n, interval, at)
				}
				for i := range at[1:] {
					gap := time.Duration(at[i+1]-at[i]) * time.Millisecond
					if gap < interval/2-coarse || gap > interval*3/2+coarse || i > 0 && (gap < interval-coarse || gap > interval+coarse) {
						t.Errorf("%s of %d every %v: %v", node.info.Name, n, interval, at)
					}
				}
				for _, ms := range at {
					perTenth[int(time.Duration(ms)*time.Millisecond*10/interval)]++
				}
			}
			for tenth := 20; tenth < 48; tenth++ {
				if got := perTenth[tenth]; n >= 10 && (got < n/10-1 || got > n/10+1) {
					t.Errorf("%d every %v: %d in the tenth %d", n, interval, got, tenth)
				}
			}
		})
	}
	f(1, 10*time.Second, 0)
	f(3, 300*time.Second, time.Second/4)
	f(20, 2*time.Second, 2*time.Second)
	f(100, 300*time.Second, 3*time.Second)
	f(100, time.Second, time.Second)
}

// TestBudget never runs more tests at once than it may, though all of them are slow.
func TestBudget(t *testing.T) {
	var rounds atomic.Int64
	c := Config{Most: 4, Tested: func() { rounds.Add(1) }}
	bubble(t, c, func(t *testing.T, p *Planner) {
		busy := new(gauge)
		var nodes []*node
		var wants []Want
		for i := range 40 {
			n := fast(fmt.Sprintf("%02d", i))
			n.busy, n.answers = busy, []time.Duration{time.Second}
			nodes, wants = append(nodes, n), append(wants, want(n, 30*time.Second, nil))
		}
		p.Use(slices.Values(wants))
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		s := p.State()
		if s.Most != 4 || len(s.InFlight) != 4 || len(s.Queue) != 24 || len(s.Next) != 40 {
			t.Errorf("%d in flight, %d wait, %d planned, most %d", len(s.InFlight), len(s.Queue), len(s.Next), s.Most)
		}
		if s.InFlight[0] != (Pair{"12", testURL}) || s.Queue[0] != (Pair{"16", testURL}) || s.Next[0].At.Before(time.Now()) {
			t.Errorf("first %v, %v, %v", s.InFlight[0], s.Queue[0], s.Next[0])
		}
		time.Sleep(8 * time.Second)
		for _, n := range nodes {
			if n.count() != 1 {
				t.Errorf("%s: %d tests", n.info.Name, n.count())
			}
		}
		time.Sleep(time.Minute)
		if m := busy.most.Load(); m != 4 {
			t.Errorf("%d at once", m)
		}
		if r := rounds.Load(); r == 0 || uint64(r) > p.c.Book.Changed() {
			t.Errorf("told %d times of %d tests", r, p.c.Book.Changed())
		}
	})
}

// TestOverload tests nodes that never answer as often as the budget allows, each in its turn.
func TestOverload(t *testing.T) {
	bubble(t, Config{Most: 2}, func(t *testing.T, p *Planner) {
		var nodes []*node
		var wants []Want
		for i := range 10 {
			n := fast(fmt.Sprint(i))
			n.answers = nil
			nodes, wants = append(nodes, n), append(wants, want(n, time.Second, nil))
		}
		p.Use(slices.Values(wants))
		time.Sleep(100 * time.Second) // room for 2 * 100 / 5
		for _, n := range nodes {
			if c := n.count(); c < 3 || c > 5 {
				t.Errorf("%s: %d tests", n.info.Name, c)
			}
		}
	})
}

// TestLazy leaves out what nobody uses, but for the first test and for one that is triggered.
func TestLazy(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		began := time.Now()
		var used atomic.Pointer[time.Time]
		used.Store(new(time.Time))
		first, second := func() time.Time { return time.Time{} }, func() time.Time { return *used.Load() }
		n, both := fast("n"), fast("both")
		p.Use(all(
			want(n, 10*time.Second, first),
			want(n, 10*time.Second, second),
			want(both, 10*time.Second, first),
			want(both, 20*time.Second, nil),
		))
		time.Sleep(25 * time.Second)
		about(t, "unused", n.since(began), 0)
		now := time.Now()
		used.Store(&now) // one of those who want it is enough
		time.Sleep(20 * time.Second)
		about(t, "used at 25 s", n.since(began), 0, 30000)
		p.Trigger(n, testURL)
		time.Sleep(20 * time.Second)
		about(t, "triggered", n.since(began), 0, 30000, 45000)
		if got := both.count(); got < 6 || got > 7 {
			t.Errorf("wanted anyway: %d tests", got)
		}
		if s := p.State(); len(s.Next) != 2 || s.Next[0].Lazy != (s.Next[0].Name == "n") || s.Next[0].Lazy == s.Next[1].Lazy {
			t.Errorf("%+v", s.Next)
		}
	})
}

// TestTrigger tests at once, joins what runs, and is not to be hurried beyond a test each second.
func TestTrigger(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		began, n, rare := time.Now(), fast("n"), fast("rare")
		n.answers = []time.Duration{300 * time.Millisecond}
		p.Use(all(want(n, 100*time.Second, nil), want(rare, 0, nil)))
		time.Sleep(100 * time.Millisecond)
		p.Trigger(n, testURL) // it runs
		time.Sleep(300 * time.Millisecond)
		for range 10 {
			p.Trigger(n, testURL) // too soon
			p.Trigger(rare, testURL)
			p.Trigger(rare, "http://unwanted.test/")
			p.Trigger(fast("stranger"), testURL)
		}
		time.Sleep(9600 * time.Millisecond)
		about(t, "joined and put off", n.since(began), 0, 1000)
		about(t, "triggered alone", rare.since(began), 400)
		p.Trigger(n, testURL)
		p.Trigger(n, testURL)
		time.Sleep(200 * time.Second)
		about(t, "as planned again", n.since(began), 0, 1000, 10000, 100000, 200000)
		about(t, "triggered alone", rare.since(began), 400)
	})
}

// TestTriggerGoesFirst lets a triggered test overtake the planned ones that wait.
func TestTriggerGoesFirst(t *testing.T) {
	bubble(t, Config{Most: 1}, func(t *testing.T, p *Planner) {
		var nodes []*node
		var wants []Want
		for i := range 10 {
			n := fast(fmt.Sprint(i))
			n.answers = []time.Duration{time.Second}
			nodes, wants = append(nodes, n), append(wants, want(n, 100*time.Second, nil))
		}
		began := time.Now()
		p.Use(slices.Values(wants))
		time.Sleep(1500 * time.Millisecond)
		p.Trigger(nodes[9], testURL)
		p.Trigger(nodes[9], testURL)
		if q := p.State().Queue; len(q) != 8 || q[0].Name != "9" {
			t.Errorf("queue %v", q)
		}
		time.Sleep(20 * time.Second)
		about(t, "triggered", nodes[9].since(began), 2000)
		about(t, "planned", nodes[2].since(began), 3000)
	})
}

// TestReload keeps the time of what stays, tests what is new, and forgets what goes.
func TestReload(t *testing.T) {
	bubble(t, Config{Most: 1}, func(t *testing.T, p *Planner) {
		began, stays, goes, comes, slow := time.Now(), fast("stays"), fast("goes"), fast("comes"), fast("slow")
		p.Use(all(want(stays, 100*time.Second, nil), want(goes, 100*time.Second, nil)))
		time.Sleep(40 * time.Second)
		p.Use(all(want(stays, 100*time.Second, nil), want(comes, 100*time.Second, nil)))
		time.Sleep(100*time.Second + time.Millisecond)
		about(t, "what stays", stays.since(began), 0, 100000)
		about(t, "what goes", goes.since(began), 100)
		about(t, "what comes", comes.since(began), 40000, 140000)
		// A shorter interval is one from now on.
		p.Use(all(want(stays, 10*time.Second, nil)))
		time.Sleep(30 * time.Second)
		if at := stays.since(began); len(at) < 4 || at[2] > 156000 {
			t.Errorf("more often: %v", at)
		}
		// What waits when it goes is not tested.
		slow.answers = nil
		p.Use(all(want(slow, 100*time.Second, nil), want(goes, 100*time.Second, nil)))
		time.Sleep(time.Second)
		p.Use(all())
		time.Sleep(200 * time.Second)
		if slow.count() != 1 || goes.count() != 1 {
			t.Errorf("%d, %d tests", slow.count(), goes.count())
		}
		if s := p.State(); len(s.Queue)+len(s.InFlight)+len(s.Next) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestBadWants leaves out what cannot be tested, and survives what panics.
func TestBadWants(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		bad, bug, good := fast("bad"), fast("bug"), fast("good")
		w := want(bad, time.Second, nil)
		w.Probe.URL = "::::"
		bug.bug = true
		p.Use(all(w, want(bug, 5*time.Second, nil), want(good, 5*time.Second, nil)))
		time.Sleep(11 * time.Second)
		if bad.count() != 0 || bug.count() < 2 || good.count() < 2 {
			t.Errorf("%d, %d, %d tests", bad.count(), bug.count(), good.count())
		}
		if s := p.c.Book.State(bug.Info()); s.Alive || s.Extra[testURL].Alive {
			t.Errorf("%+v", s)
		}
		if _, err := p.One(t.Context(), bad, w.Probe, time.Second); !errors.Is(err, ErrURL) || bad.count() != 0 {
			t.Error(err)
		}
		if s := p.c.Book.State(bad.Info()); !s.Alive || len(s.Extra) != 0 {
			t.Error("a bad URL says something of a node")
		}
	})
}

func BenchmarkUse(b *testing.B) {
	p := NewPlanner(Config{Book: NewBook()})
	wants := make([]Want, 10_000)
	for i := range wants {
		wants[i] = want(fast("n"), 300*time.Second, nil)
	}
	for b.Loop() {
		p.Use(slices.Values(wants))
	}
}
