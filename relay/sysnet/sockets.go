package sysnet

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Socket is a listening socket as one process describes it to the next.
type Socket struct {
	Network   string // "tcp", "udp" or "unix"
	Asked     string // the address that was asked for, whose port may be 0
	Bound     string // the address that it has
	Multipath bool   // multipath TCP was asked for
	FD        int
}

// Sockets are the listening sockets of a daemon: those that a process before it has left, until somebody asks
// for their address, and those that are open. They can be held still all at once: what clients send then waits
// in the kernel, for this process or the next. The zero value is ready, and so is nil, where nothing is left or
// held. It must not be copied.
type Sockets struct {
	mu     sync.Mutex
	left   []Socket
	open   map[*held]struct{}
	shut   atomic.Bool
	given  atomic.Bool
	opened chan struct{} // closed when the gate opens; made when it shuts
}

// held is one open socket.
type held struct {
	all      *Sockets // nil: nobody keeps account
	socket   Socket
	raw      syscall.RawConn
	deadline func(time.Time) error // of accepting and reading

	over  atomic.Bool // deadline has passed for good
	ended chan struct{}
	once  sync.Once
}

// longAgo is a deadline that ends what waits.
var longAgo = time.Unix(1, 0)

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
	}
	return left
}

// take gives the descriptor that was left for an address.
func (s *Sockets) take(network, asked string, multipath bool) (k Socket, ok bool) {
	if s == nil {
		return k, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.left, func(k Socket) bool {
		return k.Network == network && k.Asked == asked && k.Multipath == multipath
	})
	if i < 0 {
		return k, false
	}
	k = s.left[i]
	s.left = slices.Delete(s.left, i, i+1)
	return k, true
}

// share lets another socket bind beside those that were left with the port of addr, until they close.
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
		if k.Network == network && strings.HasSuffix(k.Bound, ":"+port) {
			shared = shareFD(k.FD) == nil || shared
		}
	}
	return shared
}

// hold lists a socket that is open.
func (s *Sockets) hold(k Socket, raw syscall.RawConn, deadline func(time.Time) error) *held {
	h := &held{all: s, socket: k, raw: raw, deadline: deadline, ended: make(chan struct{})}
	if s == nil {
		return h
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*held]struct{})
	}
	s.open[h] = struct{}{}
	if s.shut.Load() {
		_ = deadline(longAgo)
	}
	return h
}

// Shut holds all sockets still: nothing is accepted and no datagram read. What has been accepted goes on.
func (s *Sockets) Shut() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut.Swap(true) {
		return
	}
	s.opened = make(chan struct{})
	for h := range s.open {
		_ = h.deadline(longAgo)
	}
}

// Open takes Shut back.
func (s *Sockets) Open() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given.Load() || !s.shut.Load() {
		return
	}
	for h := range s.open {
		if !h.over.Load() {
			_ = h.deadline(time.Time{})
		}
	}
	s.shut.Store(false)
	close(s.opened)
}

// Give is Shut for good: the sockets are another process's, and what they have in the file system stays when
// they close here.
func (s *Sockets) Give() {
	if s != nil {
		s.Shut()
		s.given.Store(true)
	}
}

// Copies describes the open sockets, each with a descriptor that is the caller's. Programs that are started do
// not get them by themselves. errors.ErrUnsupported is that this system has no way to leave them to another
// process.
func (s *Sockets) Copies() ([]Socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Socket
	for h := range s.open {
		k := h.socket
		var err error
		if k.FD, err = copyFD(h.raw); err != nil {
			CloseAll(list)
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// CloseAll closes the descriptors of list.
func CloseAll(list []Socket) {
	for _, k := range list {
		closeFD(k.FD)
	}
}

// pass waits while the gate is shut and the socket is to go on.
func (h *held) pass() {
	if h.all == nil || !h.all.shut.Load() {
		return
	}
	h.all.mu.Lock()
	opened := h.all.opened
	h.all.mu.Unlock()
	select {
	case <-opened:
	case <-h.ended:
	}
}

// again says whether err is only that the gate was shut.
func (h *held) again(err error) bool {
	return h.all != nil && errors.Is(err, os.ErrDeadlineExceeded) && !h.over.Load()
}

// isShut says whether what waits in the queue is not ours.
func (h *held) isShut() bool { return h.all != nil && h.all.shut.Load() }

// interrupt ends what waits, for good.
func (h *held) interrupt() {
	h.end(func() { _ = h.deadline(longAgo) })
}

// end ends h, and does what has to be done with it.
func (h *held) end(how func()) {
	if h.all != nil {
		h.all.mu.Lock()
		defer h.all.mu.Unlock()
	}
	h.over.Store(true)
	how()
	h.once.Do(func() { close(h.ended) })
}

// drop takes h out of the account. It comes before the socket closes.
func (h *held) drop() {
	h.end(func() {
		if h.all != nil {
			delete(h.all.open, h)
		}
	})
}
