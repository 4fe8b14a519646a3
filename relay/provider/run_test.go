package provider

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

// fakeGet is a Get that notes when it is called.
type fakeGet struct {
	mu    sync.Mutex
	calls []time.Time
	get   getter
}

type getter func(ctx context.Context) (*fetch.Response, error)

func (g *fakeGet) do(ctx context.Context, _ fetch.Validators) (*fetch.Response, error) {
	g.mu.Lock()
	g.calls = append(g.calls, time.Now())
	get := g.get
	g.mu.Unlock()
	return get(ctx)
}

func (g *fakeGet) set(get getter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.get = get
}

// gaps are the times from start to the first call, and between calls.
func (g *fakeGet) gaps(start time.Time) []time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	var d []time.Duration
	for _, at := range g.calls {
		d = append(d, at.Sub(start))
		start = at
	}
	return d
}

// runFor runs a source for a time, and returns when it asked.
func runFor(t *testing.T, d time.Duration, c Config[string], get getter) []time.Duration {
	t.Helper()
	g := &fakeGet{get: get}
	c.Kind, c.Parse, c.Get = HTTP, parse, g.do
	s := New(c)
	must(t, s.Load())
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx, nil); err != nil {
		t.Error(err)
	}
	return g.gaps(start)
}

// wantGaps compares, with the jitter there may be.
func wantGaps(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("asked after %v; want %v", got, want)
	}
	for i := range got {
		if math.Abs(float64(got[i]-want[i])) > 0.2*float64(want[i]) {
			t.Errorf("asked after %v; want %v", got, want)
		}
	}
}

func ok(context.Context) (*fetch.Response, error) { return &fetch.Response{Body: []byte("a")}, nil }

func down(context.Context) (*fetch.Response, error) { return nil, errors.New("down") }

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "list")
		const s, m = time.Second, time.Minute
		// By default at most ten minutes, also where the source would never refresh by itself: it
		// has nothing yet.
		got := runFor(t, 33*m, Config[string]{Path: path}, down)
		if len(got) < 9 || len(got) > 11 {
			t.Fatal(got)
		}
		wantGaps(t, got[:9], 0, 5*s, 10*s, 20*s, 40*s, 80*s, 160*s, 320*s, 600*s)
		// At most the interval.
		got = runFor(t, 90*s, Config[string]{Path: path, Interval: 30 * s}, down)
		wantGaps(t, got[:5], 0, 5*s, 10*s, 20*s, 30*s)
		// The jitter is there.
		if got[1] == 5*s && got[2] == 10*s && got[3] == 20*s {
			t.Error(got)
		}
	})
}

func TestBackoffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := Config[string]{Path: filepath.Join(t.TempDir(), "list"), Interval: time.Hour}
		got := runFor(t, 3*time.Hour, c, func(ctx context.Context) (*fetch.Response, error) {
			if n++; n%2 == 1 {
				return down(ctx)
			}
			return ok(ctx)
		})
		wantGaps(t, got, 0, 5*time.Second, time.Hour, 5*time.Second, time.Hour, 5*time.Second)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	f := func(after, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			n := 0
			c := Config[string]{Path: filepath.Join(t.TempDir(), "list")}
			got := runFor(t, 2*time.Hour, c, func(ctx context.Context) (*fetch.Response, error) {
				if n++; n == 1 {
					return nil, &fetch.StatusError{Code: 429, RetryAfter: after}
				}
				return ok(ctx)
			})
			wantGaps(t, got, 0, want)
			if after > time.Minute && got[1] != want {
				t.Error(got)
			}
		})
	}
	f(0, 5*time.Second)
	f(time.Second, 5*time.Second)
	f(20*time.Minute, 20*time.Minute)
	f(24*time.Hour, time.Hour)
}

func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config[string]{Path: filepath.Join(t.TempDir(), "list"), Interval: 20 * time.Minute}
		wantGaps(t, runFor(t, time.Hour-1, c, ok), 0, 20*time.Minute, 20*time.Minute)

		// A restart goes on where the last run ended.
		at := time.Now().Add(-15 * time.Minute)
		must(t, os.Chtimes(c.Path, at, at))
		got := runFor(t, 24*time.Minute, c, ok)
		wantGaps(t, got, 5*time.Minute)
		if got[0] != 5*time.Minute {
			t.Error(got)
		}

		// Without an interval what is there stays, whatever becomes of an Update.
		c.Interval = 0
		wantGaps(t, runFor(t, 1000*time.Hour, c, down))
		g := &fakeGet{get: down}
		c.Kind, c.Get, c.Parse = HTTP, g.do, parse
		s := New(c)
		must(t, s.Load())
		if s.Update(t.Context()) == nil || !s.State().NextAt.IsZero() {
			t.Errorf("%+v", s.State())
		}
	})
}

// TestUpdateMovesTheNext has an Update from outside while Run waits.
func TestUpdateMovesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: ok}
		s := New(Config[string]{
			Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Interval: time.Hour, Parse: parse, Get: g.do,
		})
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		go func() { _ = s.Run(ctx, nil) }()
		time.Sleep(40 * time.Minute)
		must(t, s.Update(ctx)) // the next is an hour from now
		time.Sleep(50 * time.Minute)
		g.set(down)
		if s.Update(ctx) == nil { // the next is soon
			t.Error("no error")
		}
		g.set(ok)
		time.Sleep(10 * time.Second)
		cancel()
		synctest.Wait()
		wantGaps(t, g.gaps(start), 0, 40*time.Minute, 50*time.Minute, 5*time.Second)
	})
}

func TestFileInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "list")
		s := New(Config[string]{Kind: File, Path: path, Interval: time.Minute, Parse: parse})
		if s.Load() == nil {
			t.Error("no error")
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = s.Run(ctx, nil) }()
		for _, text := range []string{"a", "b"} {
			write(t, path, text)
			time.Sleep(time.Minute)
			synctest.Wait()
			wantValue(t, s, "list "+text)
		}
		cancel()
	})
}

// TestSilentServer has one that never answers: the source gives up, and tries again.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config[string]{Path: filepath.Join(t.TempDir(), "list")}
		got := runFor(t, 5*time.Minute+7*time.Second, c, func(ctx context.Context) (*fetch.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		wantGaps(t, got, 0, 5*time.Minute+5*time.Second)
	})
}
