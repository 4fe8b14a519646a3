// Package dns is the outbound that answers questions itself: what is sent through it, to whatever
// server, is answered as the daemon's own DNS server does.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Answer answers a message, or with nil does not. datagram is that the answer has to fit one.
type Answer func(ctx context.Context, message []byte, datagram bool) []byte

// Serve answers the messages of a stream until it ends, and closes it.
type Serve func(ctx context.Context, c net.Conn, answer Answer)

// Proxy is an outbound.Outbound.
type Proxy struct {
	info   outbound.Info
	answer Answer
	serve  Serve
}

// New makes the outbound.
func New(info outbound.Info, answer Answer, serve Serve) *Proxy {
	return &Proxy{info: info, answer: answer, serve: serve}
}

// Info implements outbound.Outbound.
func (p *Proxy) Info() *outbound.Info { return &p.info }

// Dial implements outbound.Outbound: the other end of the connection is in here, and ends with it.
func (p *Proxy) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	upHere, upThere := net.Pipe()
	downHere, downThere := net.Pipe()
	to := net.TCPAddrFromAddrPort(f.To.AddrPort())
	go p.serve(context.WithoutCancel(ctx), &duplex{in: upThere, out: downThere, to: to}, p.answer)
	return &duplex{in: downHere, out: upHere, to: to}, nil
}

// duplex is one end of two pipes, of which each can end alone.
type duplex struct {
	in, out net.Conn
	to      net.Addr
}

// Read implements net.Conn.
func (d *duplex) Read(b []byte) (int, error) { return d.in.Read(b) }

// Write implements net.Conn.
func (d *duplex) Write(b []byte) (int, error) { return d.out.Write(b) }

// CloseWrite implements flow.Conn.
func (d *duplex) CloseWrite() error { return d.out.Close() }

// Close implements net.Conn.
func (d *duplex) Close() error { return errors.Join(d.in.Close(), d.out.Close()) }

// LocalAddr is none that means anything outside.
func (d *duplex) LocalAddr() net.Addr { return new(net.TCPAddr) }

// RemoteAddr is where the client wanted to go.
func (d *duplex) RemoteAddr() net.Addr { return d.to }

// SetDeadline implements net.Conn.
func (d *duplex) SetDeadline(t time.Time) error {
	return errors.Join(d.SetReadDeadline(t), d.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (d *duplex) SetReadDeadline(t time.Time) error { return d.in.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (d *duplex) SetWriteDeadline(t time.Time) error { return d.out.SetWriteDeadline(t) }

// maxAsked is how many questions of one association are answered at the same time.
const maxAsked = 64

// DialPacket implements outbound.Outbound.
func (p *Proxy) DialPacket(ctx context.Context, _ *flow.Flow) (flow.PacketConn, error) {
	c := &packetConn{
		answer: p.answer, slots: make(chan struct{}, maxAsked), answers: make(chan answered, maxAsked),
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return c, nil
}

// packetConn answers the datagrams that are sent through it.
type packetConn struct {
	answer  Answer
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	slots   chan struct{}
	answers chan answered
	named   atomic.Uint32 // targets that were names
}

type answered struct {
	data []byte
	from netip.AddrPort
}

// invented is an address for the n-th target that is a name, which tells its answers from those of
// others: nobody is asked for its own, and nobody has one of 0.0.0.0/8 (RFC 1122, section 3.2.1.3).
func invented(n uint32) netip.Addr {
	n = (n-1)%(1<<24-1) + 1 // 0.0.0.0 is none
	return netip.AddrFrom4([4]byte{0, byte(n >> 16), byte(n >> 8), byte(n)})
}

// WritePacket implements flow.PacketConn. Questions beyond what is answered at a time are lost. A target
// without an address is given an invented one, which its answers come from.
func (c *packetConn) WritePacket(p []byte, to *flow.Addr) error {
	if c.ctx.Err() != nil {
		return net.ErrClosed
	}
	if !to.IP.IsValid() {
		to.IP = invented(c.named.Add(1))
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return nil
	}
	question, from := append([]byte(nil), p...), to.AddrPort()
	go func() {
		defer func() { <-c.slots }()
		if m := c.answer(c.ctx, question, true); len(m) > 0 {
			select {
			case c.answers <- answered{m, from}:
			case <-c.ctx.Done():
			}
		}
	}()
	return nil
}

// ReadPacket implements flow.PacketConn.
func (c *packetConn) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	select {
	case a := <-c.answers:
		return copy(p, a.data), a.from, nil
	case <-c.ctx.Done():
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// Close implements flow.PacketConn.
func (c *packetConn) Close() error {
	c.cancel()
	return nil
}
