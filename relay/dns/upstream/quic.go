package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// silence is how long nothing may be heard from a server that was asked: after that its path may be gone,
// or it has started anew and knows nothing of the connection.
const silence = 1500 * time.Millisecond

const closeTime = time.Second // that the last packet of a connection may take

// line is a QUIC connection and the socket below it, which it owns.
type line struct {
	conn    *quic.Conn
	socket  net.PacketConn
	http    *http3.ClientConn // nil in DNS over QUIC
	bye     quic.ApplicationErrorCode
	silence time.Duration
	spent   atomic.Bool   // it takes no new exchanges
	useful  atomic.Bool   // an exchange has succeeded
	gone    chan struct{} // closed when the socket is
}

// lines makes QUIC connections to one server.
type lines struct {
	server  *nameserver.Server
	c       Config
	tls     *tls.Config
	bye     quic.ApplicationErrorCode // the protocol's way to say that nothing is wrong
	silence time.Duration
}

func newLines(s *nameserver.Server, c Config, protocol string, bye quic.ApplicationErrorCode) *lines {
	return &lines{server: s, c: c, tls: tlsConfig(s, c, protocol), bye: bye, silence: silence}
}

// open shakes hands. Without 0-RTT: what is sent there can be sent again by anybody.
func (n *lines) open(ctx context.Context) (*line, error) {
	pc, to, err := n.c.ListenPacket(ctx, n.server.Addr)
	if err != nil {
		return nil, &safeError{err}
	}
	t := &quic.Transport{Conn: plainSocket{pc}}
	conn, err := t.Dial(ctx, to, n.tls, &quic.Config{
		HandshakeIdleTimeout:           dialTime,
		MaxIdleTimeout:                 idleTime + dialTime, // the pool is faster, and says good-bye
		InitialStreamReceiveWindow:     2 * wire.MaxSize,
		MaxStreamReceiveWindow:         2 * wire.MaxSize,
		InitialConnectionReceiveWindow: 1 << 20,
		MaxConnectionReceiveWindow:     1 << 20,
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          8, // HTTP/3 has three
		DisablePathMTUDiscovery:        true,
	})
	if err != nil {
		pc.Close()
		t.Close()
		return nil, err
	}
	l := &line{conn: conn, socket: pc, bye: n.bye, silence: n.silence, gone: make(chan struct{})}
	context.AfterFunc(conn.Context(), func() {
		defer close(l.gone)
		pc.Close()
		t.Close()
	})
	return l, nil
}

func (l *line) Err() error { return context.Cause(l.conn.Context()) }

func (l *line) Available() int {
	if l.spent.Load() || l.Err() != nil {
		return 0
	}
	return 1 << 10 // the server says how many; then exchanges wait
}

func (l *line) Reserve() error {
	if l.Available() == 0 {
		return errBusy
	}
	return nil
}

func (l *line) Close() error {
	l.end(l.bye)
	<-l.gone
	return nil
}

// end says good-bye, where the socket takes that in time.
func (l *line) end(code quic.ApplicationErrorCode) {
	defer time.AfterFunc(closeTime, func() { l.socket.Close() }).Stop()
	l.conn.CloseWithError(code, "")
}

// exchange has ask ask, and judges what comes of it.
func (l *line) exchange(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	asking, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { l.watch(asking, cancel) })
	resp, err := ask(asking)
	if err != nil && errors.Is(context.Cause(asking), errSilent) {
		err = errSilent
	}
	cancel(nil)
	watch.Wait()
	if err == nil {
		l.useful.Store(true)
	} else if ctx.Err() == nil {
		l.judge(err)
	}
	return resp, err
}

var errSilent = &safeError{errors.New("the server is silent")}

// watch cancels an exchange while which nothing is heard from the server. A server that only takes its
// time acknowledges what it gets, once; so does one that was still sending when it vanished. So a
// connection that was of use before has to be heard all the time, or the exchange is better off on a new one.
func (l *line) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	heard := func() uint64 { return l.conn.ConnectionStats().PacketsReceived }
	useful, before := l.useful.Load(), heard()
	tick := time.NewTicker(l.silence)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := heard()
		if now == before {
			l.spent.Store(true)
			cancel(errSilent)
			return
		}
		if !useful {
			return
		}
		before = now
	}
}

// judge has the connection used no more after an error that is not about its exchange alone: it may be
// ending, or the server be about to leave (RFC 9114, section 5.2).
func (l *line) judge(err error) {
	if _, ok := errors.AsType[*safeError](err); ok {
		return
	}
	e, ok := errors.AsType[*quic.StreamError](err)
	if !ok || e.ErrorCode == quic.StreamErrorCode(http3.ErrCodeRequestRejected) {
		l.spent.Store(true)
	}
}

// plainSocket hides that a socket may be the system's: quic-go would change its buffers, and write to the
// standard log where it cannot.
type plainSocket struct{ net.PacketConn }

func (plainSocket) SetReadBuffer(int) error  { return nil }
func (plainSocket) SetWriteBuffer(int) error { return nil }

// quicError returns an error of QUIC without what the server has written, or nil where err is another.
func quicError(err error) error {
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return closing("the connection was closed", e.Remote, uint64(e.ErrorCode), e.ErrorMessage)
	}
	if e, ok := errors.AsType[*http3.Error](err); ok {
		return closing("the request was ended", e.Remote, uint64(e.ErrorCode), e.ErrorMessage)
	}
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		return closing("the stream was reset", e.Remote, uint64(e.ErrorCode), "")
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok && e.Remote {
		return fmt.Errorf("the connection was closed by the server: %s", e.ErrorCode)
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*quic.VersionNegotiationError](err); ok {
		return e
	}
	return nil
}

func closing(what string, remote bool, code uint64, message string) error {
	switch {
	case remote:
		return fmt.Errorf("%s by the server with code %#x", what, code)
	case message != "":
		return fmt.Errorf("%s: %s", what, message)
	}
	return errors.New(what)
}
