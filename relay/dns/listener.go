package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// answerTimeout is how long an answer may take that has to be asked for.
const answerTimeout = queryTimeout + time.Second

// Listener answers clients on one address, over UDP and TCP.
type Listener struct {
	udp     *sysnet.UDPConn
	tcp     *sysnet.TCPListener
	log     *slog.Logger
	handler atomic.Pointer[Handler]
	waiting waiting
	streams streams
	panics  atomic.Int64

	crowdLogged, streamsLogged, deafLogged rarely
}

// Listen binds addr for both, or for none. With ReusePort another listener has the port, and shares it (see
// Share).
func Listen(addr string, o sysnet.Options, log *slog.Logger) (*Listener, error) {
	udp, tcp, err := bind(addr, o)
	if err != nil {
		return nil, err
	}
	return &Listener{udp: udp, tcp: tcp, log: log}, nil
}

// bind binds addr for UDP and TCP. Where the port is left to the system it is the same for both.
func bind(addr string, o sysnet.Options) (*sysnet.UDPConn, *sysnet.TCPListener, error) {
	for tries := 0; ; tries++ {
		udp, err := sysnet.ListenUDP(addr, o)
		if err != nil {
			return nil, nil, err
		}
		tcp, err := sysnet.ListenTCP(bound(addr, udp.AddrPort()), o)
		if err == nil {
			return udp, tcp, nil
		}
		err = errors.Join(err, udp.Close())
		if _, port, splitErr := net.SplitHostPort(addr); splitErr != nil || port != "0" || tries == 8 {
			return nil, nil, err
		}
	}
}

// bound is addr with the port that was given to it.
func bound(addr string, got netip.AddrPort) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	_, port, _ := net.SplitHostPort(got.String())
	return net.JoinHostPort(host, port)
}

// Addr is the address s is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.udp.AddrPort() }

// Use makes h the handler of the questions that come from now on. It is called before Serve.
func (l *Listener) Use(h *Handler) { l.handler.Store(h) }

// Share lets another listener bind beside l on the same port, until l closes.
func (l *Listener) Share() error { return errors.Join(l.udp.Share(), l.tcp.Share()) }

// Close frees the address of a listener that does not serve.
func (l *Listener) Close() error { return errors.Join(l.udp.Close(), l.tcp.Close()) }

// Serve answers until ctx is done, and returns once all goroutines have ended. It closes the sockets.
func (l *Listener) Serve(ctx context.Context) {
	var live sync.WaitGroup
	defer live.Wait()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	live.Go(func() { l.serveDatagrams(ctx, &live) }) // one: more would wait for each other, and wake each other
	l.accept(ctx, &live)
}

// quick answers a packet where nobody has to be asked; an empty answer is that there is to be none.
// Where ok is false q is good for an answer all the same.
func (l *Listener) quick(out []byte, q *wire.Query, packet []byte, datagram bool) (answer []byte, ok bool) {
	defer l.recovered(&answer, &ok)
	if err := q.Parse(packet); err != nil {
		return refuse(out, q, err), true
	}
	return l.handler.Load().Quick(out, q, limit(q, datagram))
}

// slow answers a packet for which somebody may have to be asked.
func (l *Listener) slow(ctx context.Context, packet []byte, datagram bool) (answer []byte) {
	done := false
	defer l.recovered(&answer, &done)
	return Respond(ctx, l.handler.Load(), packet, datagram)
}

// recovered makes a bug the end of one question.
func (l *Listener) recovered(answer *[]byte, ok *bool) {
	if v := recover(); v != nil {
		l.panics.Add(1)
		if r := l.handler.Load().Resolver; r != nil {
			r.c.Life.panicked()
		}
		l.log.Error("panic while answering a question", "panic", v)
		*answer, *ok = nil, true
	}
}

// Respond answers the message packet as h does. The answer to a datagram is as long as its sender
// takes. No answer is that the packet is none that is answered.
func Respond(ctx context.Context, h *Handler, packet []byte, datagram bool) []byte {
	var q wire.Query
	if err := q.Parse(packet); err != nil {
		return refuse(nil, &q, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return h.Answer(ctx, make([]byte, 0, 512), &q, limit(&q, datagram))
}

// limit is the most bytes of an answer.
func limit(q *wire.Query, datagram bool) int {
	if datagram {
		return int(q.Size)
	}
	return wire.MaxSize
}

// refuse answers what is no question that can be answered.
func refuse(out []byte, q *wire.Query, err error) []byte {
	switch {
	case errors.Is(err, wire.ErrFormat):
		return q.AppendEmpty(out, wire.FormatError)
	case errors.Is(err, wire.ErrOpcode):
		return q.AppendEmpty(out, wire.NotImplemented)
	case errors.Is(err, wire.ErrVersion):
		return q.AppendEmpty(out, wire.BadVersion)
	}
	return nil
}
