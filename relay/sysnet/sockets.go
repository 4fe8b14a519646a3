package sysnet

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Socket is a listening socket as one process describes it to the next.
type Socket struct {
	Network   string // "tcp", "udp" or "unix"
	Owner     string // who asked for it; see Options
	Asked     string // the address that was asked for, whose port may be 0
	Bound     string // the address that it has
	File      string // of a Unix socket, which file its path led to when it was bound
	Multipath bool   // multipath TCP was asked for
	FD        int
}

// Sockets are the listening sockets of a daemon: those that a process before it has left, until somebody asks
// for their address, and those that are open. They can be held still all at once: what clients send then waits
// in the kernel, for this process or the next. The zero value is ready, and so is nil, where nothing is left or
// held. It must not be copied.
type Sockets struct {
	mu       sync.Mutex
	left     []Socket
	open     map[*held]struct{}
	shut     atomic.Bool
	given    atomic.Bool
	borrowed atomic.Bool   // what was left is still another's
	onOwn    []func()      // what is done to sockets once they are ours
	opened   chan struct{} // closed when the gate opens; made when it shuts
}

// held is one open socket.
type held struct {
	all      *Sockets // nil: nobody keeps account
	socket   Socket
	raw      syscall.RawConn
	deadline func(time.Time) error // of accepting and reading
	adopted  bool                  // it was left by another process

	over  atomic.Bool // deadline has passed for good
	gone  atomic.Bool // it closes
	ended chan struct{}
	once  sync.Once
}

// longAgo is a deadline that ends what waits.
var longAgo = time.Unix(1, 0)

// hold lists a socket that is open. adopted is that another process has left it.
func (s *Sockets) hold(k Socket, adopted bool, raw syscall.RawConn, deadline func(time.Time) error) *held {
	h := &held{all: s, socket: k, adopted: adopted, raw: raw, deadline: deadline, ended: make(chan struct{})}
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
	if s.given.Load() || s.borrowed.Load() || !s.shut.Load() {
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

// HasUnix says whether a Unix socket that is open is the one that path leads to.
func (s *Sockets) HasUnix(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.open {
		if k := h.socket; k.Network == "unix" && k.Bound == path && fileID(path) == k.File {
			return true
		}
	}
	return false
}

// Holds says whether a socket that is open was asked for at addr, or has it.
func (s *Sockets) Holds(network, addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.open {
		if k := &h.socket; k.Network == network && (k.Asked == addr || k.Bound == addr) {
			return true
		}
	}
	return false
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

// last is err as the reader of a socket that closes should have it: who was held still has run out of time first.
func (h *held) last(err error) error {
	if h != nil && h.gone.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return net.ErrClosed
	}
	return err
}

// isShut says whether what waits in the queue is not ours.
func (h *held) isShut() bool { return h.all != nil && h.all.shut.Load() }

// isOthers says whether the socket goes on in another process when it closes here.
func (h *held) isOthers() bool {
	return h.all != nil && (h.all.given.Load() || h.adopted && h.all.borrowed.Load())
}

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
	h.gone.Store(true)
	h.end(func() {
		if h.all != nil {
			delete(h.all.open, h)
		}
	})
}
