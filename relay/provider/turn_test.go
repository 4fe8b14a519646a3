package provider

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

// slow answers after a minute.
func slow(ctx context.Context) (*fetch.Response, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Minute):
		return ok(ctx)
	}
}

func TestUpdatesShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: slow}
		s := New(Config[string]{Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse, Get: g.do})
		start := time.Now()
		done := make(chan error)
		for range 5 {
			go func() { done <- s.Update(t.Context()) }()
			time.Sleep(time.Second)
		}
		if st := s.State(); st.Loaded || st.Err != nil {
			t.Errorf("%+v", st)
		}
		for range 5 {
			must(t, <-done)
		}
		wantGaps(t, g.gaps(start), 0)
		// One that comes later has a run of its own, and Load waits for it.
		go func() { done <- s.Update(t.Context()) }()
		synctest.Wait()
		must(t, s.Load())
		must(t, <-done)
		wantGaps(t, g.gaps(start), 0, time.Minute)
	})
}

// TestRefresh does not take what a run brings that began before it.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: slow}
		s := New(Config[string]{Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse, Get: g.do})
		start := time.Now()
		done := make(chan error)
		go func() { done <- s.Update(t.Context()) }()
		time.Sleep(time.Second)
		for range 3 { // which share one
			go func() { done <- s.Refresh(t.Context()) }()
		}
		gone, cancel := context.WithCancel(t.Context())
		go func() { done <- s.Refresh(gone) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range 4 {
			must(t, <-done)
		}
		wantGaps(t, g.gaps(start), 0, time.Minute)
		must(t, s.Refresh(t.Context()))
	})
}

func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: func(ctx context.Context) (*fetch.Response, error) {
			_, _ = slow(ctx)
			return down(ctx)
		}}
		s := New(Config[string]{Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse, Get: g.do})
		start := time.Now()
		done := make(chan error)
		for range 3 {
			go func() { done <- s.Update(t.Context()) }()
		}
		for range 3 {
			wantErr(t, <-done, "down")
		}
		wantGaps(t, g.gaps(start), 0)
	})
}

// TestCancelledUpdate has the caller whose ctx a run has go away: the others are served all the
// same, and those who only wait may go, too.
func TestCancelledUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: slow}
		s := New(Config[string]{Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse, Get: g.do})
		start := time.Now()
		first, cancelFirst := context.WithCancel(t.Context())
		third, cancelThird := context.WithCancel(t.Context())
		update := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() { done <- s.Update(ctx) }()
			synctest.Wait()
			return done
		}
		a, b, c := update(first), update(t.Context()), update(third)
		time.Sleep(time.Second)
		cancelThird()
		if err := <-c; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cancelFirst()
		if err := <-a; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if st := s.State(); st.Err != nil || !st.TriedAt.IsZero() {
			t.Errorf("a cancelled attempt is counted: %+v", st)
		}
		must(t, <-b)
		wantGaps(t, g.gaps(start), 0, time.Second)
		if err := s.Update(first); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestImpatientUpdate has a deadline pass, which is a failure for the one who set it alone.
func TestImpatientUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &fakeGet{get: slow}
		s := New(Config[string]{Kind: HTTP, Path: filepath.Join(t.TempDir(), "list"), Parse: parse, Get: g.do})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		patient := make(chan error)
		go func() {
			synctest.Wait()
			patient <- s.Update(t.Context())
		}()
		if err := s.Update(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(s.State().Err, err) {
			t.Errorf("%v; %+v", err, s.State())
		}
		must(t, <-patient)
		if st := s.State(); st.Err != nil {
			t.Error(st.Err)
		}
	})
}
