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

// Selves are the connections the daemon has made to this machine. One that comes in at a listener
// of ours is known by both its ends: a client may well have the port of another of our connections.
// The zero value is ready.
type Selves struct {
	mu   sync.Mutex
	made map[ends]bool // whether it came back to us
	back int           // how many did
}

// ends are the addresses of a connection, as the side that made it sees them.
type ends struct{ local, remote netip.AddrPort }

// Add notes a connection from local to remote; the func it returns takes it out.
func (s *Selves) Add(local, remote netip.AddrPort) (done func()) {
	k := ends{local, remote}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = make(map[ends]bool)
	}
	s.made[k] = false
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.made[k] {
			s.back--
		}
		delete(s.made, k)
	}
}

// Loops says whether a flow that came from source to the address local of ours is one of our own
// connections, and one too many.
func (s *Selves) Loops(source, local netip.AddrPort) bool {
	k := ends{source, local}
	s.mu.Lock()
	defer s.mu.Unlock()
	back, ours := s.made[k]
	if ours && !back {
		s.made[k] = true
		s.back++
	}
	return ours && s.back > maxSelves
}
