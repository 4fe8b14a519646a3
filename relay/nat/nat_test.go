package nat

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// conn is an outbound's socket: what is written comes back.
type conn struct {
	back   chan packet
	closed chan struct{}
	once   sync.Once
}

type packet struct {
	p    []byte
	from netip.AddrPort
}

func newConn() *conn { return &conn{back: make(chan packet, 64), closed: make(chan struct{})} }

func (c *conn) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-c.back:
		return copy(p, m.p), m.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, errors.New("closed")
	}
}

func (c *conn) WritePacket(p []byte, to *flow.Addr) error {
	if !to.IP.IsValid() {
		if to.Host == "unknown" {
			return errors.New("no such name")
		}
		to.IP = netip.MustParseAddr("192.0.2.9")
	}
	c.back <- packet{append([]byte(nil), p...), to.AddrPort()}
	return nil
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// replies is an inbound that keeps what comes back.
type replies struct {
	got chan packet
}

func (r *replies) Reply(p []byte, _ netip.AddrPort, _ netip.Addr, from netip.AddrPort) error {
	r.got <- packet{append([]byte(nil), p...), from}
	return nil
}

type fixture struct {
	*Table
	replies
	dials    atomic.Int64
	up, down atomic.Int64
	ended    chan bool
}

func start(t *testing.T, c Config) *fixture {
	leak.Check(t)
	f := &fixture{replies: replies{got: make(chan packet, 64)}, ended: make(chan bool, 64)}
	c.Open = func(_ context.Context, fl *flow.Flow, dial Dial, _ func()) (*Session, error) {
		if fl.To.Port == 1 {
			return nil, errors.New("refused")
		}
		pc, err := dial("one outbound", func() (flow.PacketConn, error) {
			f.dials.Add(1)
			return newConn(), nil
		})
		if err != nil {
			return nil, err
		}
		return &Session{To: fl.To, Conn: pc, Up: &f.up, Down: &f.down, Closed: func(idle bool) { f.ended <- idle }}, nil
	}
	f.Table = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if n := f.count.Load(); n != 0 || len(f.sources) != 0 {
			t.Errorf("%d sessions, %d sources left", n, len(f.sources))
		}
	})
	return f
}

func from(port uint16) flow.Flow {
	return flow.Flow{Network: flow.UDP, Source: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)}
}

func (f *fixture) send(port uint16, to flow.Addr, text string) {
	fl := from(port)
	fl.To = to
	f.Send(fl, netip.Addr{}, []byte(text), &f.replies)
}

func TestOneSocketForASource(t *testing.T) {
	f := start(t, Config{})
	a := flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	b := flow.Addr{Host: "b.test", Port: 53}
	for _, to := range []flow.Addr{a, b, a, b} {
		f.send(1000, to, "x")
		want := to.IP
		if to.Host != "" {
			want = netip.MustParseAddr("192.0.2.9") // what the name resolved to
		}
		if p := <-f.got; p.from.Addr() != want || string(p.p) != "x" {
			t.Errorf("%q from %v; want %v", p.p, p.from, want)
		}
	}
	deadline := time.Now().Add(5 * time.Second) // datagrams are counted once they are sent
	for f.up.Load() != 4 && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if f.dials.Load() != 1 || f.up.Load() != 4 || f.down.Load() != 4 {
		t.Errorf("%d dials, %d up, %d down", f.dials.Load(), f.up.Load(), f.down.Load())
	}
	f.send(1001, a, "y") // another source has a socket of its own
	<-f.got
	if f.dials.Load() != 2 {
		t.Errorf("%d dials", f.dials.Load())
	}
	f.EndSources(func(src netip.AddrPort, _ flow.Replier) bool { return src.Port() == 1000 })
	for range 2 {
		if idle := <-f.ended; idle {
			t.Error("ended as idle")
		}
	}
}

// TestEndTargets ends the sessions that go to what an address stands for no more.
func TestEndTargets(t *testing.T) {
	f := start(t, Config{})
	a := flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	b := flow.Addr{IP: netip.MustParseAddr("192.0.2.2"), Port: 53}
	for _, to := range []flow.Addr{a, b} {
		f.send(1000, to, "x")
		<-f.got
	}
	f.EndTargets(func(asked flow.Addr, host string) bool { return asked == a && host == "" })
	<-f.ended
	if n := f.count.Load(); n != 1 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestNamesAreKnownByTheirPort counts answers with the session they belong to, where a proxy has
// resolved the names and only the ports tell.
func TestNamesAreKnownByTheirPort(t *testing.T) {
	leak.Check(t)
	var down [2]atomic.Int64
	far := remote{newConn(), make(chan struct{}, 4)}
	table := New(Config{Open: func(_ context.Context, fl *flow.Flow, dial Dial, _ func()) (*Session, error) {
		pc, err := dial("far", func() (flow.PacketConn, error) { return far, nil })
		up := new(atomic.Int64)
		return &Session{To: fl.To, Conn: pc, Up: up, Down: &down[fl.To.Port-1], Closed: func(bool) {}}, err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.Serve(ctx) }()
	r := &replies{got: make(chan packet, 4)}
	for port := range uint16(2) {
		fl := from(1000)
		fl.To = flow.Addr{Host: "a.test", Port: port + 1}
		table.Send(fl, netip.Addr{}, []byte("x"), r)
		<-far.sent
	}
	for range 2 {
		far.back <- packet{[]byte("first"), netip.MustParseAddrPort("192.0.2.1:1")}
		<-r.got
	}
	if down[0].Load() != 10 || down[1].Load() != 0 {
		t.Errorf("%d, %d; want 10, 0", down[0].Load(), down[1].Load())
	}
	cancel()
	<-done
}

// remote is a conn through a proxy: it never tells what a name resolved to.
type remote struct {
	*conn
	sent chan struct{}
}

func (c remote) WritePacket([]byte, *flow.Addr) error {
	c.sent <- struct{}{}
	return nil
}

// TestSecondOutbound dials another outbound when the first fails; both are given back.
func TestSecondOutbound(t *testing.T) {
	leak.Check(t)
	var up, down atomic.Int64
	table := New(Config{Open: func(_ context.Context, fl *flow.Flow, dial Dial, _ func()) (*Session, error) {
		if _, err := dial("first", func() (flow.PacketConn, error) { return nil, flow.ErrNoUDP }); err == nil {
			t.Error("the first does not fail")
		}
		pc, err := dial("second", func() (flow.PacketConn, error) { return newConn(), nil })
		return &Session{To: fl.To, Conn: pc, Up: &up, Down: &down, Closed: func(bool) {}}, err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.Serve(ctx) }()
	fl := from(1)
	fl.To = flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	r := &replies{got: make(chan packet, 1)}
	table.Send(fl, netip.Addr{}, []byte("x"), r)
	if p := <-r.got; string(p.p) != "x" {
		t.Errorf("%q", p.p)
	}
	cancel()
	if <-done; len(table.sources) != 0 {
		t.Error("a source is left")
	}
}

// broken panics when it is read.
type broken struct{ *conn }

func (broken) ReadPacket([]byte) (int, netip.AddrPort, error) { panic("a bug") }

// TestPanics ends what panicked, a session or a connection, and nothing else.
func TestPanics(t *testing.T) {
	leak.Check(t)
	recovered, ended := make(chan any, 2), make(chan bool, 1)
	table := New(Config{
		Recovered: func(v any) { recovered <- v },
		Open: func(_ context.Context, fl *flow.Flow, dial Dial, _ func()) (*Session, error) {
			if fl.To.Port == 1 {
				panic("a bug in Open")
			}
			pc, err := dial("broken", func() (flow.PacketConn, error) { return broken{newConn()}, nil })
			return &Session{
				To: fl.To, Conn: pc, Up: new(atomic.Int64), Down: new(atomic.Int64),
				Closed: func(idle bool) { ended <- idle },
			}, err
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.Serve(ctx) }()
	for _, port := range []uint16{1, 2} {
		fl := from(1000)
		fl.To = flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: port}
		table.Send(fl, netip.Addr{}, []byte("x"), &replies{})
		<-recovered
	}
	<-ended
	cancel()
	if <-done; table.count.Load() != 0 || len(table.sources) != 0 {
		t.Errorf("%d sessions, %d sources left", table.count.Load(), len(table.sources))
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	f := start(t, Config{})
	f.send(1, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 1}, "refused")
	f.send(1, flow.Addr{Host: "unknown", Port: 2}, "no such name")
	if idle := <-f.ended; idle {
		t.Error("ended as idle")
	}
}

// TestEndedBeforeItHasAConnection ends the table while a session decides where to go: the
// connection it would have got is never made, and nothing waits for it.
func TestEndedBeforeItHasAConnection(t *testing.T) {
	leak.Check(t)
	opening, dials := make(chan struct{}), 0
	table := New(Config{Open: func(ctx context.Context, _ *flow.Flow, dial Dial, _ func()) (*Session, error) {
		close(opening)
		<-ctx.Done()
		_, err := dial("one", func() (flow.PacketConn, error) {
			dials++
			return newConn(), nil
		})
		return nil, errors.Join(ctx.Err(), err) // also where the connection came first
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.Serve(ctx) }()
	fl := from(1)
	fl.To = flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	table.Send(fl, netip.Addr{}, []byte("x"), &replies{})
	<-opening
	cancel()
	if err := <-done; err != nil || len(table.sources) != 0 || dials > 1 {
		t.Errorf("%v, %d sources, %d dials", err, len(table.sources), dials)
	}
}

func TestLimits(t *testing.T) {
	f := start(t, Config{MaxPerSource: 2, MaxSessions: 3})
	for i := range uint16(5) {
		f.send(1000, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 100 + i}, "x")
		f.send(1001, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 100 + i}, "x")
	}
	if f.Dropped() != 7 {
		t.Errorf("%d dropped; want 7 of 10", f.Dropped())
	}
}

func TestIdle(t *testing.T) {
	f := start(t, Config{Idle: 8e6}) // eight milliseconds
	f.send(1, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}, "x")
	<-f.got
	if idle := <-f.ended; !idle {
		t.Error("not ended as idle")
	}
}

func TestAfterTheEnd(t *testing.T) {
	f := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = f.Serve(ctx)
	f.send(1, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}, "x")
	if f.Dropped() != 1 {
		t.Errorf("%d dropped", f.Dropped())
	}
}
