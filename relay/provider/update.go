package provider

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// outcome is what an attempt has come to.
type outcome struct {
	at      time.Time // when the value was the newest; zero: the attempt brought nothing
	changed bool      // there is a new value
	err     error     // beside a valid at it is one of keeping the value for the next start
	stack   []byte    // of a panic
}

// failed is an attempt that brought nothing.
func failed(err error) outcome { return outcome{err: err} }

// Load reads what is on disk, or Inline, now. It does not touch the network. For HTTP it returns
// no error: a kept file that is missing is nothing unusual, and State tells of one that is of no
// use; Run downloads another.
func (s *Source[T]) Load() error {
	t := s.turns.own()
	defer s.turns.leave(t)
	began := s.c.Now()
	o := s.guard(s.load)
	o.changed = false // a start is no news

	s.mu.Lock()
	s.state.Err = o.err
	if !o.at.IsZero() {
		s.state.UpdatedAt = o.at
	}
	if s.c.Kind != HTTP {
		s.state.TriedAt = began
	}
	s.mu.Unlock()
	s.report(o)
	poke(s.moved)
	if s.c.Kind == HTTP {
		return nil
	}
	return o.err
}

func (s *Source[T]) load() outcome {
	if s.c.Kind == HTTP {
		return s.loadKept()
	}
	o, written := s.read()
	if o.err == nil {
		o.at = s.past(written)
	}
	return o
}

// past is t, but never in the future: a file written under a wrong clock would be the newest for
// ages.
func (s *Source[T]) past(t time.Time) time.Time {
	if now := s.c.Now(); t.After(now) {
		return now
	}
	return t
}

// Update fetches, or reads again, now. It is no error when the value is the newest and only could not be
// kept for the next start; State has that. Calls that come while one is under way share its outcome;
// when the caller whose ctx it runs with gives up, another goes on in its stead. An attempt that
// is cancelled counts as none.
func (s *Source[T]) Update(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, mine := s.turns.enter()
		if mine {
			return s.attempt(ctx, t)
		}
		select {
		case <-t.done:
			if t.shared {
				return t.err
			}
		case <-ctx.Done():
		}
	}
}

// Refresh is Update for one who knows that the source has something new: it is not content with a run
// that began before the call.
func (s *Source[T]) Refresh(ctx context.Context) error {
	t, mine := s.turns.enter()
	if mine {
		return s.attempt(ctx, t)
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Update(ctx)
}

// attempt does what Update promises, in a turn of its own.
func (s *Source[T]) attempt(ctx context.Context, t *turn) error {
	defer s.turns.leave(t)
	began := s.c.Now()
	o := s.guard(func() outcome { return s.refresh(ctx) })
	gaveUp := o.at.IsZero() && ctx.Err() != nil
	if gaveUp && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	s.settle(began, o)
	s.report(o)
	poke(s.moved)
	if o.at.IsZero() {
		t.err = o.err // else the value is the newest, and State says what became of the file
	}
	t.shared = !gaveUp
	return t.err
}

// guard turns a panic into the outcome of the attempt.
func (s *Source[T]) guard(f func() outcome) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			o = failed(fmt.Errorf("panic: %v", v))
			o.stack = debug.Stack()
		}
	}()
	return f()
}

func (s *Source[T]) refresh(ctx context.Context) outcome {
	if s.c.Kind == HTTP {
		return s.download(ctx)
	}
	o, _ := s.read()
	return o
}

// settle notes an attempt's outcome, and when the next is due.
func (s *Source[T]) settle(began time.Time, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.TriedAt, s.state.Err, s.retryAt = began, o.err, time.Time{}
	if !o.at.IsZero() {
		s.state.UpdatedAt, s.fails = o.at, 0
		return
	}
	s.fails++
	if s.c.Kind == HTTP && (s.c.Interval > 0 || s.state.UpdatedAt.IsZero()) {
		s.retryAt = s.c.Now().Add(retryWait(s.fails, s.c.Interval, o.err))
	}
}

// take parses a body, makes its value the one there is, and tells Use. The body that the value is
// from already brings nothing new.
func (s *Source[T]) take(body []byte) (changed bool, err error) {
	sum := sumOf(body)
	if sum == s.sum {
		return false, nil
	}
	v, err := s.c.Parse(body)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	s.value, s.state.Loaded = v, true
	s.mu.Unlock()
	s.sum = "" // should Use panic, the same body is new the next time
	s.c.Use(v)
	s.sum = sum
	return true, nil
}
