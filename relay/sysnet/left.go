package sysnet

import (
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Inherit takes the sockets that another process has left. The descriptors that are no sockets as described are
// closed, and returned.
func (s *Sockets) Inherit(list []Socket) (refused []Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range list {
		if err := verify(k); err != nil {
			refused = append(refused, k)
			closeFD(k.FD)
			continue
		}
		s.left = append(s.left, k)
	}
	return refused
}

// CloseListed closes the descriptors of list that are the sockets which it describes, and no others.
func CloseListed(list []Socket) {
	for _, k := range list {
		if k.FD > 2 && verify(k) == nil {
			closeFD(k.FD)
		}
	}
}

// Borrow is Inherit for a process that may still have to leave them where they are. Until Own all sockets are held
// still, and those that were left stay as the other process has made them: they keep their options, and what they
// have in the file system when they close.
func (s *Sockets) Borrow(list []Socket) (refused []Socket) {
	s.borrowed.Store(true)
	s.Shut()
	return s.Inherit(list)
}

// Own ends that sockets are borrowed, and serves. The process that has lent them serves no more.
func (s *Sockets) Own() {
	s.mu.Lock()
	later := s.onOwn
	s.onOwn = nil
	lent := s.borrowed.Swap(false)
	s.mu.Unlock()
	for _, do := range later {
		do()
	}
	if lent {
		s.Open()
	}
}

// whenOwn does what changes a socket once it is ours: now, or in Own.
func (s *Sockets) whenOwn(do func() error) error {
	if s != nil {
		s.mu.Lock()
		if s.borrowed.Load() {
			s.onOwn = append(s.onOwn, func() { _ = do() }) // of one that has closed meanwhile, nothing
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
	}
	return do()
}

// quiet is control, and keeps clients away from a new listener while sockets are borrowed: who asks it for a
// connection asks again a second later, and comes to the process that has the port by then.
func (s *Sockets) quiet(control control) control {
	if s == nil || !s.borrowed.Load() {
		return control
	}
	return func(network, addr string, c syscall.RawConn) error {
		mute(c)
		_ = s.whenOwn(func() error { unmute(c); return nil })
		if control == nil {
			return nil
		}
		return control(network, addr, c)
	}
}

// Left says whether a socket was left for an address and nobody has asked for it yet.
func (s *Sockets) Left(network, asked string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.left, func(k Socket) bool { return k.Network == network && k.Asked == asked })
}

// CloseLeft closes what was left and nobody has asked for, and returns it.
func (s *Sockets) CloseLeft() []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.left
	s.left = nil
	for _, k := range left {
		closeFD(k.FD)
		if k.Network == "unix" && !s.borrowed.Load() {
			k.unlink()
		}
	}
	return left
}

// LeftOn takes the TCP sockets on a port that were left for owner and nobody has asked for. They are the caller's.
func (s *Sockets) LeftOn(owner, port string, o Options) (list []*TCPListener) {
	if s == nil || s.borrowed.Load() {
		return nil
	}
	o.Sockets = nil // which is s, and is locked
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = slices.DeleteFunc(s.left, func(k Socket) bool {
		if k.Network != "tcp" || k.Owner != owner || !k.onPort(port) {
			return false
		}
		if ln, err := adoptListener(k, o); err == nil {
			list = append(list, soleListener(ln, k, o))
		}
		return true
	})
	return list
}

func (k Socket) onPort(port string) bool { return strings.HasSuffix(k.Bound, ":"+port) }

// unlink removes the path of a Unix socket, unless it leads to another one by now.
func (k Socket) unlink() {
	if fileID(k.Bound) == k.File {
		_ = os.Remove(k.Bound)
	}
}

// take gives the descriptor that was left for an address: to the one who had it, where there is a choice. Who leaves
// the port to the system gets no one else's.
func (s *Sockets) take(network, asked string, o Options) (k Socket, ok bool) {
	if s == nil {
		return k, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := func(k Socket) bool {
		return k.Network == network && k.Asked == asked && (network != "tcp" || k.Multipath == o.Multipath)
	}
	i := slices.IndexFunc(s.left, func(k Socket) bool { return fits(k) && k.Owner == o.Owner })
	if i < 0 && !anyPort(asked) {
		i = slices.IndexFunc(s.left, fits)
	}
	if i < 0 {
		return k, false
	}
	k = s.left[i]
	s.left = slices.Delete(s.left, i, i+1)
	return k, true
}

func anyPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && port == "0"
}

// share lets another socket bind beside those that were left with the port of addr, until they close. It is the one
// thing that is done to a borrowed socket: other programs of this user could bind beside it then.
func (s *Sockets) share(network, addr string) (shared bool) {
	if s == nil {
		return false
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.left {
		if k.Network == network && k.onPort(port) {
			shared = shareFD(k.FD) == nil || shared
		}
	}
	return shared
}
