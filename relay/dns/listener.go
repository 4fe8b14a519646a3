package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// Limits of a listener.
const (
	maxWaiting    = 1024 // clients over UDP whose answer has to be asked for
	maxStreams    = 256  // connections
	streamIdle    = 30 * time.Second
	streamWrite   = 10 * time.Second
	maxPipelined  = 32 // questions of one connection that are being answered
	maxQuery      = 4096
	maxBatch      = 32 // datagrams taken at a time
	answerTimeout = queryTimeout + time.Second
)

// Listener answers clients on one address, over UDP and TCP.
type Listener struct {
	udp     *sysnet.UDPConn
	tcp     *sysnet.TCPListener
	log     *slog.Logger
	handler atomic.Pointer[Handler]
	waiting chan struct{}
	streams chan struct{}
	panics  atomic.Int64
}

// Listen binds addr for both, or for none. shared is that another listener has the port, and shares it
// (see Share).
func Listen(addr string, shared bool, log *slog.Logger) (*Listener, error) {
	udp, tcp, err := bind(addr, sysnet.Options{ReusePort: shared})
	if err != nil {
		return nil, err
	}
	return &Listener{
		udp: udp, tcp: tcp, log: log,
		waiting: make(chan struct{}, maxWaiting), streams: make(chan struct{}, maxStreams),
	}, nil
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
	live.Go(func() { l.servePackets(ctx, &live) }) // one: more would wait for each other, and wake each other
	l.accept(ctx, &live)
}

// servePackets answers datagrams, as many at a time as have come.
func (l *Listener) servePackets(ctx context.Context, live *sync.WaitGroup) {
	b, err := l.udp.NewBatch(maxBatch, maxQuery, wire.UDPSize)
	if err != nil {
		l.log.Error("DNS over UDP", "err", err)
		return
	}
	var q wire.Query
	for {
		n, err := b.Receive()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as what a client's system said of an earlier answer
			continue
		}
		for i := range n {
			if answer, ok := l.quick(b.Reply(i), &q, b.Packet(i)); ok {
				b.Answer(i, answer)
			} else {
				l.later(ctx, live, b, i)
			}
		}
		b.Flush()
	}
}

// later answers datagram i of a batch once somebody has been asked, unless too many wait already: then the
// client asks again.
func (l *Listener) later(ctx context.Context, live *sync.WaitGroup, b *sysnet.Batch, i int) {
	select {
	case l.waiting <- struct{}{}:
	default:
		return
	}
	packet, from, local := bytes.Clone(b.Packet(i)), b.From(i), b.Local(i)
	live.Go(func() {
		defer func() { <-l.waiting }()
		if answer := l.slow(ctx, packet, true); len(answer) > 0 {
			_, _ = l.udp.Send(answer, from, local) // a client that is gone does not matter
		}
	})
}

// quick answers a datagram where nobody has to be asked; an empty answer is that there is to be none.
func (l *Listener) quick(out []byte, q *wire.Query, packet []byte) (answer []byte, ok bool) {
	defer l.recovered(&answer, &ok)
	if err := q.Parse(packet); err != nil {
		return refuse(out, q, err), true
	}
	return l.handler.Load().Quick(out, q, int(q.Size))
}

// recovered makes a bug the end of one question.
func (l *Listener) recovered(answer *[]byte, ok *bool) {
	if v := recover(); v != nil {
		l.panics.Add(1)
		l.log.Error("panic while answering a question", "panic", v)
		*answer, *ok = nil, true
	}
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

// slow answers a packet for which somebody may have to be asked.
func (l *Listener) slow(ctx context.Context, packet []byte, datagram bool) (answer []byte) {
	done := false
	defer l.recovered(&answer, &done)
	return Respond(ctx, l.handler.Load(), packet, datagram)
}

// Respond answers the message packet as h does. The answer to a datagram is as long as its sender
// takes. No answer is that the packet is none that is answered.
func Respond(ctx context.Context, h *Handler, packet []byte, datagram bool) []byte {
	var q wire.Query
	if err := q.Parse(packet); err != nil {
		return refuse(nil, &q, err)
	}
	limit := wire.MaxSize
	if datagram {
		limit = int(q.Size)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return h.Answer(ctx, make([]byte, 0, 512), &q, limit)
}

// accept serves connections.
func (l *Listener) accept(ctx context.Context, live *sync.WaitGroup) {
	for {
		c, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors: wait, do not die
			l.log.Warn("accept", "listener", "dns", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case l.streams <- struct{}{}:
			live.Go(func() {
				defer func() { <-l.streams }()
				ServeStream(ctx, c, l.slow)
			})
		default:
			_ = c.Close()
		}
	}
}

// ServeStream answers the questions that come over c, in the order in which the answers are there
// (RFC 7766), until it is idle or ctx is done. It closes c.
func ServeStream(ctx context.Context, c net.Conn, answer func(ctx context.Context, packet []byte, datagram bool) []byte) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	var live sync.WaitGroup
	defer live.Wait()
	defer cancel()
	var writing sync.Mutex
	slots := make(chan struct{}, maxPipelined)
	for {
		_ = c.SetReadDeadline(time.Now().Add(streamIdle))
		packet, err := readMessage(c)
		if err != nil {
			// Who has closed its side may still wait for answers.
			live.Wait()
			return
		}
		slots <- struct{}{}
		live.Go(func() {
			defer func() { <-slots }()
			m := answer(ctx, packet, false)
			if len(m) == 0 {
				return
			}
			m = append(binary.BigEndian.AppendUint16(make([]byte, 0, len(m)+2), uint16(len(m))), m...)
			writing.Lock()
			defer writing.Unlock()
			_ = c.SetWriteDeadline(time.Now().Add(streamWrite))
			if _, err := c.Write(m); err != nil {
				cancel()
			}
		})
	}
}

// readMessage reads a question with its size in front. One that is longer than questions are is an
// error.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < wire.HeaderSize || n > maxQuery {
		return nil, wire.ErrFormat
	}
	packet := make([]byte, n)
	_, err := io.ReadFull(r, packet)
	return packet, err
}
