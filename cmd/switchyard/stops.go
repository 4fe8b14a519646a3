package main

import (
	"context"
	"os"
	"os/signal"
)

// stops hears the signals that want an end. It is done once one has come, or its parent is; a second signal then
// ends the process at once.
type stops struct {
	context.Context
	end         context.CancelFunc
	caught      chan os.Signal
	quit, ended chan struct{}
}

func newStops(ctx context.Context) *stops {
	s := &stops{caught: make(chan os.Signal, 1)}
	s.Context, s.end = context.WithCancel(ctx)
	context.AfterFunc(s, func() { signal.Stop(s.caught) })
	s.hear()
	return s
}

// hear begins to hear, at first and after deaf.
func (s *stops) hear() {
	s.quit, s.ended = make(chan struct{}), make(chan struct{})
	signal.Notify(s.caught, stopSignals()...)
	go func(quit, ended chan struct{}) {
		defer close(ended)
		select {
		case <-s.caught:
			s.end()
		case <-quit:
		case <-s.Done():
		}
	}(s.quit, s.ended)
}

// deaf has signals do from now on what they do by themselves, and says whether one has come before: none is lost
// in between.
func (s *stops) deaf() (came bool) {
	signal.Stop(s.caught) // returns once those that have come are in the channel
	close(s.quit)
	<-s.ended
	select {
	case <-s.caught:
		s.end()
	default:
	}
	return s.Err() != nil
}
