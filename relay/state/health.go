package state

import (
	"context"
	"errors"
	"maps"
	"time"
)

// Health is how the store is.
type Health struct {
	// Err is why it could not be read or written when it was tried last, since Since; nil is that it could.
	Err   error
	Since time.Time
	// Unsaved counts the choices that are made and not stored yet.
	Unsaved int
	// PutAside names the file that was found damaged and renamed, at PutAsideAt, empty for none. What it
	// held is not remembered: that stays told until the process ends.
	PutAside   string
	PutAsideAt time.Time
}

// Health returns at once, also while the file is waited for.
func (s *Store) Health() Health {
	s.told.Lock()
	defer s.told.Unlock()
	h := s.health
	h.Unsaved = len(s.unsaved)
	return h
}

// note keeps how a use of the file went, and logs where that is not as it was before; mu is held.
func (s *Store) note(writes bool, err error) {
	if errors.Is(err, ErrFull) {
		return // the file is as well as it was
	}
	failed, changed := err != nil, false
	s.told.Lock()
	switch {
	case failed:
		changed = s.health.Err == nil
		if changed {
			s.health.Since = time.Now()
		}
		s.health.Err, s.writing = s.named(err), writes && !s.busy
	case s.health.Err != nil && (writes || !s.writing):
		changed = true
		s.health.Err, s.health.Since = nil, time.Time{}
	}
	s.told.Unlock()
	if failed {
		s.wake()
	}
	switch {
	case changed && failed:
		s.log.Warn("what is to survive a restart cannot be read or stored: choices wait until it can", "err", s.named(err))
	case changed:
		s.log.Info("what is to survive a restart is stored again", "file", s.path)
	}
}

// lost notes that the file was put aside under name: what is known of it has to be stored anew.
func (s *Store) lost(name string) {
	s.told.Lock()
	s.health.PutAside, s.health.PutAsideAt = name, time.Now()
	maps.Copy(s.unsaved, s.known)
	waits := len(s.unsaved) > 0
	s.told.Unlock()
	if waits {
		s.wake()
	}
}

func (s *Store) wake() {
	select {
	case s.trouble <- struct{}{}:
	default:
	}
}

// How long Serve waits before it tries again: at first, and at most.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Serve tries again what could not be read or stored, until ctx is done. It calls back whenever that has
// worked, or when there is nothing left that trying helps.
func (s *Store) Serve(ctx context.Context, back func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.trouble:
		}
		for wait, well := firstRetry, false; !well; wait = min(2*wait, lastRetry) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			select {
			case <-s.trouble: // what failed until now is tried again now
			default:
			}
			well = s.retry()
		}
		back()
	}
}

// retry stores the choices that wait, writes nothing where something could not be written, or opens the file, and
// says whether all is well.
func (s *Store) retry() bool {
	s.told.Lock()
	writes := len(s.unsaved) > 0 || s.health.Err != nil && s.writing
	s.told.Unlock()
	if writes {
		_ = s.update(true, nothing) // note has the error
	} else {
		_ = s.view(nothing)
	}
	s.told.Lock()
	defer s.told.Unlock()
	return len(s.unsaved) == 0 && s.health.Err == nil
}
