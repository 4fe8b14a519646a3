// Package nat keeps UDP associations: which source speaks with which target through which
// outbound, and for how long after its last datagram.
package nat

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

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

// enter admits one goroutine, unless the table is closed.
func (t *Table) enter() bool {
	t.gate.Lock()
	defer t.gate.Unlock()
	if !t.closed {
		t.wait.Add(1)
	}
	return !t.closed
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
