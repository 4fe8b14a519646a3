package provider

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/fetch"
)

const (
	firstRetry    = 5 * time.Second
	maxRetry      = 10 * time.Minute
	maxRetryAfter = time.Hour // of what a server asks for
)

// Run refreshes the source, when it is due and when w sees its file change, until ctx is done; then
// it returns nil. A nil w sees nothing. What goes wrong is in State and in the log.
func (s *Source[T]) Run(ctx context.Context, w *Watcher) error {
	changed := make(chan struct{}, 1)
	if s.c.Kind == File {
		defer w.Watch(s.c.Path, func() { poke(changed) })()
	}
	for s.pause(ctx, changed) {
		_ = s.Update(ctx)
	}
	return nil
}

// pause waits until it is time for an Update. It returns false when ctx is done.
func (s *Source[T]) pause(ctx context.Context, changed <-chan struct{}) bool {
	for ctx.Err() == nil {
		var alarm <-chan time.Time
		if next := s.State().NextAt; !next.IsZero() {
			wait := next.Sub(s.c.Now())
			if wait <= 0 {
				return true
			}
			alarm = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-changed:
			if s.news() {
				return true
			}
		case <-s.moved:
		case <-alarm:
		}
	}
	return false
}

// due is when the next attempt begins by itself, or zero. s.mu is held.
func (s *Source[T]) due() time.Time {
	st := &s.state
	switch {
	case !s.retryAt.IsZero():
		return s.retryAt
	case s.c.Kind == HTTP && st.UpdatedAt.IsZero(), s.c.Kind != HTTP && st.TriedAt.IsZero():
		return s.c.Now()
	case s.c.Kind == Inline || s.c.Interval <= 0:
		return time.Time{}
	case s.c.Kind == HTTP:
		return st.UpdatedAt.Add(s.c.Interval)
	}
	return st.TriedAt.Add(s.c.Interval)
}

// retryWait is how long to wait after a number of failures in a row, the last of them err.
func retryWait(fails int, interval time.Duration, err error) time.Duration {
	longest := maxRetry
	if interval > 0 {
		longest = min(longest, interval)
	}
	wait := firstRetry
	for i := 1; i < fails && wait < longest; i++ {
		wait *= 2
	}
	wait = min(wait, longest)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64())) // lest many come at once
	if s, ok := errors.AsType[*fetch.StatusError](err); ok {
		wait = max(wait, min(s.RetryAfter, maxRetryAfter))
	}
	return wait
}

// poke wakes the reader of c, if nobody else has.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
