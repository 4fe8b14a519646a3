package flow

import (
	"errors"
	"net/netip"
	"sync"
)

// ErrLoop means that the daemon's connections lead back to itself, again and again.
var ErrLoop = errors.New("the proxy connects to itself in a loop: a node's server is one of its own ports")

// maxSelves is how many connections to itself a daemon may have. A chain of its own listeners is
// a fair use of some; a loop has no end.
const maxSelves = 1024

// Selves are the connections the daemon has made to this machine, by their own address: a flow that
// comes from one of them is ours. The zero value is ready.
type Selves struct {
	mu    sync.Mutex
	local map[netip.AddrPort]struct{}
}

// Add notes a connection from local; the func it returns takes it out.
func (s *Selves) Add(local netip.AddrPort) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.local == nil {
		s.local = make(map[netip.AddrPort]struct{})
	}
	s.local[local] = struct{}{}
	return func() {
		s.mu.Lock()
		delete(s.local, local)
		s.mu.Unlock()
	}
}

// Loops says whether a flow from source is one of ours too many.
func (s *Selves) Loops(source netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ours := s.local[source]
	return ours && len(s.local) > maxSelves
}
