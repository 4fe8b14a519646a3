package inbound

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// Listener is a bound TCP port. What it serves can be changed while it accepts.
type Listener struct {
	tcp     *sysnet.TCPListener
	conns   *Conns
	log     *slog.Logger
	service atomic.Pointer[Service]
}

// Listen binds addr. Nothing is accepted before Serve.
func Listen(addr string, o sysnet.Options, conns *Conns, log *slog.Logger) (*Listener, error) {
	tcp, err := sysnet.ListenTCP(addr, o)
	if err != nil {
		return nil, err
	}
	return &Listener{tcp: tcp, conns: conns, log: log}, nil
}

// Use makes s serve the connections that are accepted from now on.
func (l *Listener) Use(s *Service) { l.service.Store(s) }

// Share lets another socket of this process bind the same port.
func (l *Listener) Share() error { return l.tcp.Share() }

// Addr is the address l is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.tcp.AddrPort() }

// acceptPause is how long a listener rests when the system has no descriptor left.
const acceptPause = 100 * time.Millisecond

// Serve accepts until ctx is done, takes what waits in the queue, and closes the socket. The
// connections it accepted go on: they belong to conns, and to flows, their context.
func (l *Listener) Serve(ctx, flows context.Context) {
	l.tcp.Unmute()
	defer l.tcp.Close()
	stop := context.AfterFunc(ctx, l.tcp.Interrupt)
	defer stop()
	for {
		c, err := l.tcp.Accept()
		switch {
		case err == nil:
			l.serve(flows, c)
		case ctx.Err() != nil:
			l.tcp.Drain(func(c *sysnet.TCPConn) { l.serve(flows, c) })
			return
		default: // out of descriptors, or a client that left already: wait, do not die
			l.log.Warn("accept", "listener", l.tcp.Addr().String(), "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		}
	}
}

// Succeed takes what waits for old, a socket that a process before this one had on the same port, and closes it.
func (l *Listener) Succeed(flows context.Context, old *sysnet.TCPListener) {
	old.Drain(func(c *sysnet.TCPConn) { l.serve(flows, c) })
	_ = old.Close()
}

// Close releases the socket of a listener that never served.
func (l *Listener) Close() error { return l.tcp.Close() }

func (l *Listener) serve(ctx context.Context, c *sysnet.TCPConn) {
	s := l.service.Load()
	l.conns.run(c, func(end func()) (ended bool) {
		k := client{service: s, conn: c, from: c.RemoteAddrPort(), local: c.LocalAddrPort(), end: end}
		defer func() {
			if v := recover(); v != nil {
				s.Handler.Recovered(v)
				ended = k.end != nil
			}
		}()
		if s.admits(k.from.Addr()) {
			k.serve(ctx)
		}
		return k.end != nil
	})
}

// client is one connection that is being served.
type client struct {
	service     *Service
	conn        *sysnet.TCPConn
	from, local netip.AddrPort
	user        string
	end         func() // ends the connection; nil once a relay will call it
}

const (
	// handshakeTime bounds a SOCKS handshake and, from its first byte, the head of a request.
	handshakeTime = 10 * time.Second
	// idleTime bounds the wait for the first byte of a request.
	idleTime = time.Minute
)

func (k *client) serve(ctx context.Context) {
	r := reader{conn: k.conn}
	defer r.release()
	_ = k.conn.SetReadDeadline(time.Now().Add(handshakeTime))
	if err := r.fill(); err != nil {
		return
	}
	first := r.bytes()[0]
	switch {
	case first == 5 && k.service.Protocol != HTTP:
		k.socks5(ctx, &r)
	case first == 4 && k.service.Protocol != HTTP:
		k.socks4(ctx, &r)
	case k.service.Protocol != SOCKS:
		k.http(ctx, &r)
	}
}

// flow describes what the client asks for.
func (k *client) flow(kind flow.Kind, to flow.Addr) *flow.Flow {
	return &flow.Flow{
		Network: flow.TCP, Kind: kind, Source: k.from, Local: k.local,
		Inbound: k.service.Name, User: k.user, To: to,
	}
}

// relay hands the client over to an opened stream, with what was read ahead, and keeps nothing: it
// is the last thing done with a client.
func (k *client) relay(s flow.Stream, r *reader) {
	_ = k.conn.SetDeadline(time.Time{})
	if head := r.bytes(); len(head) > 0 {
		if _, err := s.Write(head); err != nil {
			flow.Reset(k.conn)
			_ = s.Close()
			return
		}
	}
	r.release()
	end := k.end
	k.end = nil
	s.Relay(k.conn, end)
}

// dropTime is how long a client of a dropped flow may wait for nothing.
const dropTime = time.Minute

// hold answers a client nothing, until it leaves or its time is up.
func (k *client) hold() {
	_ = k.conn.SetReadDeadline(time.Now().Add(dropTime))
	for b := [512]byte{}; ; {
		if _, err := k.conn.Read(b[:]); err != nil {
			return
		}
	}
}

// reader reads ahead from a connection into a buffer that it borrows only while it holds bytes.
type reader struct {
	conn flow.Conn
	b    *buf.Buf
	r, w int

	// onTimeout, where set, is asked when a deadline interrupts a read: nil reads again.
	onTimeout func(err error) error
}

func (r *reader) bytes() []byte {
	if r.b == nil {
		return nil
	}
	return r.b.B[r.r:r.w]
}

func (r *reader) skip(n int) {
	if r.r += n; r.r == r.w {
		r.r, r.w = 0, 0
	}
}

func (r *reader) release() {
	if r.b != nil {
		buf.Put(r.b)
		r.b, r.r, r.w = nil, 0, 0
	}
}

// full says that there is no room to read more behind what is held.
func (r *reader) full() bool { return r.b != nil && r.r == 0 && r.w == len(r.b.B) }

// fill reads once, behind what is held. There must be room.
func (r *reader) fill() error {
	if r.b == nil {
		r.b = buf.Get()
	}
	if r.r > 0 {
		r.w = copy(r.b.B[:], r.b.B[r.r:r.w])
		r.r = 0
	}
	n, err := r.conn.Read(r.b.B[r.w:])
	for n == 0 && r.onTimeout != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if err = r.onTimeout(err); err == nil {
			n, err = r.conn.Read(r.b.B[r.w:])
		}
	}
	r.w += n
	if n > 0 {
		return nil
	}
	if r.w == 0 {
		r.release()
	}
	return err
}
