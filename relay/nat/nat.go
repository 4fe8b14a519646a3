// Package nat keeps UDP associations: which source speaks with which target through which
// outbound, and for how long after its last datagram.
package nat

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Session is one source speaking with one target, as the engine opened it.
type Session struct {
	To       flow.Addr // what datagrams are sent to; WritePacket may fill in the address
	Conn     flow.PacketConn
	Up, Down *atomic.Int64
	Closed   func(idle bool) // called once, when the session is over
}

// Config says how a table opens sessions and when it ends them. A zero number is the default.
type Config struct {
	// Open routes f and calls dial, which returns the connection this source already has through
	// the outbound named by key, or makes one. end ends the session, at any time. Open may block;
	// ctx ends with the table.
	Open func(ctx context.Context, f *flow.Flow, dial Dial, end func()) (*Session, error)
	// Recovered, where set, is told of a panic, which ends one session or connection.
	Recovered func(v any)
	Idle      time.Duration // default one minute
	// MaxSessions bounds the sessions of the whole table, MaxPerSource those of one source.
	MaxSessions, MaxPerSource int
}

// Dial makes the connection for key, or returns the one that is there.
type Dial func(key any, open func() (flow.PacketConn, error)) (flow.PacketConn, error)

// errGone ends the opening of a session that was ended before it had a connection.
var errGone = errors.New("the session has ended")

const (
	defaultIdle         = time.Minute
	defaultMaxSessions  = 32 << 10
	defaultMaxPerSource = 4 << 10
	queueLength         = 16 // datagrams kept while a session opens
	sweeps              = 8  // looks at the clock per idle time
)

// Table holds the associations. Serve must run for sessions to end.
type Table struct {
	c       Config
	tick    atomic.Int64 // advanced by Serve
	count   atomic.Int64
	dropped atomic.Int64
	ctx     context.Context
	cancel  context.CancelFunc

	gate   sync.Mutex // taken with or without a source's lock
	closed bool
	wait   sync.WaitGroup

	mu      sync.Mutex // taken before a source's lock
	sources map[client]*source
}

// client is a source as one inbound sees it.
type client struct {
	addr  netip.AddrPort
	reply flow.Replier
}

// New makes an empty table.
func New(c Config) *Table {
	if c.Idle == 0 {
		c.Idle = defaultIdle
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = defaultMaxSessions
	}
	if c.MaxPerSource == 0 {
		c.MaxPerSource = defaultMaxPerSource
	}
	t := &Table{c: c, sources: make(map[client]*source)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

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

// Send carries one datagram of f's source towards f.To; replies go to r. It never blocks on the
// network: datagrams of a session that still opens are queued, and dropped when they are many.
func (t *Table) Send(f flow.Flow, local netip.Addr, p []byte, r flow.Replier) {
	src := t.lockedSource(client{f.Source, r}, local)
	se := src.live[f.To]
	if se == nil {
		if se = src.begin(&f); se == nil {
			src.mu.Unlock()
			t.dropped.Add(1)
			t.release(src)
			return
		}
	}
	se.used.Store(t.tick.Load())
	ready := se.ready
	if !ready {
		if len(se.queue) < queueLength {
			se.queue = append(se.queue, append([]byte(nil), p...))
		} else {
			t.dropped.Add(1)
		}
	}
	src.mu.Unlock()
	if ready {
		_ = se.send(se.s.Load(), p) // what cannot be sent is lost, as datagrams are
	}
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

// enter admits one goroutine, unless the table is closed.
func (t *Table) enter() bool {
	t.gate.Lock()
	defer t.gate.Unlock()
	if !t.closed {
		t.wait.Add(1)
	}
	return !t.closed
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

// lockedSource finds or makes the source of c, and locks it.
func (t *Table) lockedSource(c client, local netip.Addr) *source {
	for {
		t.mu.Lock()
		src := t.sources[c]
		if src == nil {
			src = &source{
				client: c, table: t, local: local,
				live:   make(map[flow.Addr]*session),
				byPeer: make(map[peer]*session),
				conns:  make(map[any]*shared),
			}
			t.sources[c] = src
		}
		t.mu.Unlock()
		src.mu.Lock()
		if !src.dead {
			return src
		}
		src.mu.Unlock()
	}
}

// guard is deferred: it turns a panic into the end of what panicked.
func (t *Table) guard(end func()) {
	if v := recover(); v != nil {
		if t.c.Recovered != nil {
			t.c.Recovered(v)
		}
		end()
	}
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

// release takes a source without sessions out of the table.
func (t *Table) release(src *source) {
	t.mu.Lock()
	defer t.mu.Unlock()
	src.mu.Lock()
	defer src.mu.Unlock()
	if len(src.live) == 0 && !src.dead {
		src.dead = true
		delete(t.sources, src.client)
	}
}

// EndSources ends all sessions of the sources that gone picks.
func (t *Table) EndSources(gone func(netip.AddrPort, flow.Replier) bool) {
	t.each(func(src *source, se *session) {
		if gone(src.addr, src.reply) {
			src.end(se, false)
		}
	})
}

// EndTargets ends the sessions for which gone says so: asked is what the client sends to, and host the name
// that was taken for, or "".
func (t *Table) EndTargets(gone func(asked flow.Addr, host string) bool) {
	t.each(func(src *source, se *session) {
		if s := se.s.Load(); s != nil && gone(se.key, s.To.Host) { // its address may just be found out
			src.end(se, false)
		}
	})
}

func (t *Table) each(f func(*source, *session)) {
	t.mu.Lock()
	sources := make([]*source, 0, len(t.sources))
	for _, src := range t.sources {
		sources = append(sources, src)
	}
	t.mu.Unlock()
	var live []*session
	for _, src := range sources {
		src.mu.Lock()
		live = live[:0]
		for _, se := range src.live {
			live = append(live, se)
		}
		src.mu.Unlock()
		for _, se := range live {
			f(src, se)
		}
	}
}

// Dropped counts the datagrams that were lost to the table's own limits.
func (t *Table) Dropped() int64 { return t.dropped.Load() }

// Serve ends idle sessions until ctx is done; then it ends all of them and returns when their
// goroutines have.
func (t *Table) Serve(ctx context.Context) error {
	tick := time.NewTicker(t.c.Idle / sweeps)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := t.tick.Add(1)
			t.each(func(src *source, se *session) {
				if se.used.Load() < now-sweeps && se.s.Load() != nil {
					src.end(se, true)
				}
			})
		case <-ctx.Done():
			t.gate.Lock()
			t.closed = true
			t.gate.Unlock()
			t.cancel()
			t.each(func(src *source, se *session) { src.end(se, false) })
			t.wait.Wait()
			return nil
		}
	}
}
