package nat

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// errGone ends the opening of a session that was ended before it had a connection.
var errGone = errors.New("the session has ended")

// source is one client's socket and all it speaks with.
type source struct {
	client
	table  *Table
	local  netip.Addr
	mu     sync.Mutex
	dead   bool // no longer in the table
	live   map[flow.Addr]*session
	byPeer map[peer]*session
	conns  map[any]*shared
}

// peer is a far end as one connection sees it: two names may lead to it, each by a connection of its own.
type peer struct {
	via  *shared
	addr netip.AddrPort
}

// shared is one connection of a source through one outbound; all its sessions there use it, so
// that the source keeps one port towards the world.
type shared struct {
	once sync.Once
	conn flow.PacketConn
	err  error
	uses int // guarded by source.mu
	last atomic.Pointer[session]
}

type session struct {
	key    flow.Addr
	s      atomic.Pointer[Session] // nil while it opens
	shared *shared
	used   atomic.Int64
	ready  bool     // guarded by source.mu: nothing is queued any more
	queue  [][]byte // guarded by source.mu
	gone   bool     // guarded by source.mu
	peer   netip.AddrPort
}

// begin lists a session for f and opens it in the background, or returns nil at a limit.
func (src *source) begin(f *flow.Flow) *session {
	t := src.table
	if len(src.live) >= t.c.MaxPerSource || t.count.Load() >= int64(t.c.MaxSessions) || !t.enter() {
		return nil
	}
	se := &session{key: f.To, queue: make([][]byte, 0, 2)}
	src.live[f.To] = se
	t.count.Add(1)
	opened := *f // the flow outlives the datagram
	go src.open(se, &opened)
	return se
}

// send forwards one datagram.
func (se *session) send(s *Session, p []byte) error {
	se.shared.last.Store(se)
	err := s.Conn.WritePacket(p, &s.To)
	if err == nil {
		s.Up.Add(int64(len(p)))
	}
	return err
}

// open routes and dials a new session, sends what was queued, and ends.
func (src *source) open(se *session, f *flow.Flow) {
	t := src.table
	defer t.wait.Done()
	defer t.guard(func() { src.end(se, false) })
	s, err := t.c.Open(t.ctx, f, func(key any, dial func() (flow.PacketConn, error)) (flow.PacketConn, error) {
		return src.dial(se, key, dial)
	}, func() { src.end(se, false) })
	if err != nil {
		src.end(se, false)
		return
	}
	src.mu.Lock()
	se.s.Store(s)
	gone := se.gone
	src.list(se, s) // before the first datagram: its answer may be here at once
	src.mu.Unlock()
	if gone { // ended while it opened, when nobody knew s
		s.Closed(false)
		return
	}
	for { // in order: later datagrams join the queue until it is empty
		src.mu.Lock()
		queue := se.queue
		se.queue = make([][]byte, 0, 2)
		if len(queue) == 0 {
			se.queue, se.ready = nil, true
			src.list(se, s)
			src.mu.Unlock()
			return
		}
		src.mu.Unlock()
		for _, p := range queue {
			if se.send(s, p) != nil && s.Up.Load() == 0 {
				src.end(se, false) // the next datagram tries anew
				return
			}
		}
	}
}

// list makes se known by the address it sends to, once there is one. src.mu is held.
func (src *source) list(se *session, s *Session) {
	if s.To.IP.IsValid() && !se.gone {
		se.peer = s.To.AddrPort()
		src.byPeer[peer{se.shared, se.peer}] = se
	}
}

// dial finds or makes the source's connection for key and begins to read from a new one.
func (src *source) dial(se *session, key any, open func() (flow.PacketConn, error)) (flow.PacketConn, error) {
	src.mu.Lock()
	if se.gone { // nobody would give its use of the connection back
		src.mu.Unlock()
		return nil, errGone
	}
	sh := src.conns[key]
	if sh == nil {
		sh = new(shared)
		src.conns[key] = sh
	}
	if se.shared == nil {
		sh.uses++
		se.shared = sh
	}
	src.mu.Unlock()
	sh.once.Do(func() {
		conn, err := open()
		src.mu.Lock()
		unused := sh.uses == 0 // ended while it opened
		sh.conn, sh.err = conn, err
		src.mu.Unlock()
		switch {
		case err != nil:
		case unused:
			_ = conn.Close()
		default:
			src.table.wait.Add(1)
			go src.receive(key, sh)
		}
	})
	if sh.err != nil {
		src.forget(key, sh)
		src.mu.Lock()
		if se.shared == sh && !se.gone { // the session may try another outbound
			se.shared = nil
			sh.uses--
		}
		src.mu.Unlock()
	}
	return sh.conn, sh.err
}

// forget makes the next session dial anew.
func (src *source) forget(key any, sh *shared) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.conns[key] == sh {
		delete(src.conns, key)
	}
}

// receive carries replies back until the connection closes, and ends the sessions that used it.
func (src *source) receive(key any, sh *shared) {
	defer src.table.wait.Done()
	src.readAll(sh)
	src.forget(key, sh)
	src.mu.Lock()
	var over []*session
	for _, se := range src.live {
		if se.shared == sh {
			over = append(over, se)
		}
	}
	src.mu.Unlock()
	for _, se := range over {
		src.end(se, false)
	}
}

func (src *source) readAll(sh *shared) {
	defer src.table.guard(func() { _ = sh.conn.Close() })
	b := buf.GetPacket()
	defer buf.PutPacket(b)
	for {
		n, from, err := sh.conn.ReadPacket(b.B[:])
		if err != nil {
			return
		}
		se, from := src.peer(sh, from)
		if se == nil {
			continue
		}
		s := se.s.Load()
		se.used.Store(src.table.tick.Load())
		if s != nil {
			s.Down.Add(int64(n))
		}
		_ = src.reply.Reply(b.B[:n], src.addr, src.local, from) // lost, as datagrams are
	}
}

// peer is the session that a datagram from from belongs to. A session whose target a proxy has
// resolved, out of our sight, shows its address with its first answer: it is one with that port.
// What fits none is counted with the latest. as is the address that the client knows the peer by.
func (src *source) peer(sh *shared, from netip.AddrPort) (se *session, as netip.AddrPort) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if se := src.byPeer[peer{sh, from}]; se != nil {
		return se, se.known(from)
	}
	last := sh.last.Load()
	if !from.IsValid() && last != nil {
		return last, last.key.AddrPort()
	}
	var found *session
	for key, se := range src.live {
		if se.shared == sh && !se.peer.IsValid() && key.Port == from.Port() && (found == nil || se == last) {
			found = se
		}
	}
	if found == nil {
		return last, from
	}
	found.peer = from
	src.byPeer[peer{sh, from}] = found
	return found, found.known(from)
}

// known is the address that the client sends to for the peer of se: another one, where it was given a
// fake address.
func (se *session) known(peer netip.AddrPort) netip.AddrPort {
	if se.key.IP.IsValid() {
		return se.key.AddrPort()
	}
	return peer
}

// end takes a session out, with the connection nobody else uses and the source that is empty.
func (src *source) end(se *session, idle bool) {
	t := src.table
	src.mu.Lock()
	if se.gone {
		src.mu.Unlock()
		return
	}
	se.gone = true
	delete(src.live, se.key)
	s := se.s.Load()
	if at := (peer{se.shared, se.peer}); src.byPeer[at] == se {
		delete(src.byPeer, at)
	}
	var close flow.PacketConn
	if sh := se.shared; sh != nil {
		if sh.uses--; sh.uses == 0 {
			close = sh.conn
			for k, v := range src.conns {
				if v == sh {
					delete(src.conns, k)
				}
			}
		}
	}
	src.mu.Unlock()
	t.count.Add(-1)
	if close != nil {
		_ = close.Close()
	}
	if s != nil {
		s.Closed(idle)
	}
	t.release(src)
}
