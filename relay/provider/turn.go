package provider

import "sync"

// turns lets one in at a time. Whoever comes meanwhile can wait for the outcome.
type turns struct {
	mu  sync.Mutex
	now *turn
}

// turn is one stay.
type turn struct {
	done chan struct{} // closed at the end
	// The outcome may be read once done is closed.
	err    error
	shared bool // it is one for those who waited, too
}

// enter returns a new turn, which is the caller's and ends with leave, or the one under way.
func (ts *turns) enter() (t *turn, mine bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.now != nil {
		return ts.now, false
	}
	ts.now = &turn{done: make(chan struct{})}
	return ts.now, true
}

// own waits for a turn of the caller's.
func (ts *turns) own() *turn {
	for {
		t, mine := ts.enter()
		if mine {
			return t
		}
		<-t.done
	}
}

func (ts *turns) leave(t *turn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.now = nil
	close(t.done)
}
