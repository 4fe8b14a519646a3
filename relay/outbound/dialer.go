package outbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// Family is which addresses of a name are used, and in which order.
type Family uint8

// The families; Dual takes the addresses as the resolver orders them.
const (
	Dual Family = iota
	IPv4Only
	IPv6Only
	IPv4First
	IPv6First
)

// DialTimeout bounds one whole dial: resolving, every attempt, and an outbound's handshake.
const DialTimeout = 5 * time.Second

// stagger is the head start an attempt has before the next address is tried beside it (RFC 8305).
const stagger = 250 * time.Millisecond

// Dialer makes the sockets of one outbound. It is fixed once in use.
type Dialer struct {
	Socket     sysnet.Options
	Family     Family
	IPv6       bool // whether IPv6 may be used at all
	Concurrent bool // try all addresses at once
	// Lookup resolves a name.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Selves, where set, is told of connections to this machine.
	Selves *flow.Selves
	// Via, where set, is the outbound that this one's connections go through.
	Via func() (Outbound, error)
}

// Through is d with its connections made by via.
func (d *Dialer) Through(via Outbound) *Dialer {
	c := *d
	c.Via = func() (Outbound, error) { return via, nil }
	return &c
}

// Dial connects to to: at the best address of its name, where it has one. The address a rule has
// looked up decides about the rule and not about the dial, which may use all of them.
func (d *Dialer) Dial(ctx context.Context, to flow.Addr) (flow.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.Via != nil {
		via, ctx, err := d.via(ctx)
		if err != nil {
			return nil, err
		}
		return via.Dial(ctx, &flow.Flow{Network: flow.TCP, Kind: flow.Inner, To: to})
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	if to.Host == "" {
		if err := d.allows(to.IP); err != nil {
			return nil, err
		}
		return d.connect(ctx, to.AddrPort())
	}
	addrs, err := d.Resolve(ctx, to.Host)
	if err != nil {
		return nil, err
	}
	return d.race(ctx, addrs, to.Port)
}

// connect keeps a nil *TCPConn from becoming a Conn that is not nil.
func (d *Dialer) connect(ctx context.Context, to netip.AddrPort) (flow.Conn, error) {
	c, err := sysnet.Dial(ctx, to, d.Socket)
	if err != nil {
		return nil, err
	}
	if local := c.LocalAddrPort(); d.Selves != nil && (to.Addr().IsLoopback() || local.Addr() == to.Addr()) {
		c.OnClose(d.Selves.Add(local, to))
	}
	return c, nil
}

func (d *Dialer) allows(ip netip.Addr) error {
	v6 := ip.Is6()
	if v6 && (!d.IPv6 || d.Family == IPv4Only) || !v6 && d.Family == IPv6Only {
		return fmt.Errorf("%s: its family is switched off (ipv6, ip-version)", ip)
	}
	return nil
}

// Resolve returns the addresses of host that may be used, best first; there is at least one.
func (d *Dialer) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := d.Lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	usable := make([]netip.Addr, 0, len(addrs))
	for _, ip := range addrs {
		if d.allows(ip) == nil {
			usable = append(usable, ip)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("resolve %s: no usable address", host)
	}
	first := func(v6 bool) {
		slices.SortStableFunc(usable, func(a, b netip.Addr) int {
			switch {
			case a.Is6() == b.Is6():
				return 0
			case a.Is6() == v6:
				return -1
			}
			return 1
		})
	}
	switch d.Family {
	case IPv4First:
		first(false)
	case IPv6First:
		first(true)
	}
	return usable, nil
}

// maxAttempts bounds the addresses of one name that are tried.
const maxAttempts = 16

// errPanic means that a bug ended one attempt.
var errPanic = errors.New("panic while dialing")

type attempt struct {
	conn flow.Conn
	err  error
}

// race tries the addresses one after another, each with a head start, until one answers.
func (d *Dialer) race(ctx context.Context, addrs []netip.Addr, port uint16) (flow.Conn, error) {
	if len(addrs) == 1 {
		return d.connect(ctx, netip.AddrPortFrom(addrs[0], port))
	}
	addrs = addrs[:min(len(addrs), maxAttempts)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(addrs))
	start := func(ip netip.Addr) {
		go func() {
			a := attempt{err: errPanic}
			defer func() {
				if v := recover(); v != nil {
					a.err = fmt.Errorf("%w: %v", errPanic, v)
				}
				results <- a
			}()
			a.conn, a.err = d.connect(ctx, netip.AddrPortFrom(ip, port))
		}()
	}
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	next, running := 0, 0
	begin := func() {
		start(addrs[next])
		next, running = next+1, running+1
	}
	begin()
	for d.Concurrent && next < len(addrs) {
		begin()
	}
	var errs []error
	for running > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				go discard(results, running)
				return r.conn, nil
			}
			errs = append(errs, r.err)
		case <-timer.C:
		}
		if next < len(addrs) {
			begin()
			timer.Reset(stagger)
		}
	}
	return nil, errors.Join(errs...)
}

// discard closes what the losers of a race still bring.
func discard(results <-chan attempt, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			_ = r.conn.Close()
		}
	}
}

// DialPacket makes a socket for datagrams to anywhere, or to peer's family where peer is valid.
func (d *Dialer) DialPacket(ctx context.Context, peer netip.Addr) (flow.PacketConn, error) {
	if d.Via != nil {
		via, ctx, err := d.via(ctx)
		if err != nil {
			return nil, err
		}
		return via.DialPacket(ctx, &flow.Flow{Network: flow.UDP, Kind: flow.Inner})
	}
	if !peer.IsValid() && (!d.IPv6 || d.Family == IPv4Only) {
		peer = netip.IPv4Unspecified()
	}
	c, err := sysnet.DialUDP(peer, d.Socket)
	if err != nil {
		return nil, err
	}
	return &packetConn{UDPConn: c, dialer: d}, nil
}

// packetConn sends datagrams from one socket.
type packetConn struct {
	*sysnet.UDPConn
	dialer *Dialer
}

// ReadPacket implements flow.PacketConn.
func (c *packetConn) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	n, from, _, err := c.Receive(p)
	return n, from, err
}

// WritePacket implements flow.PacketConn. A name without an address is resolved first.
func (c *packetConn) WritePacket(p []byte, to *flow.Addr) error {
	if !to.IP.IsValid() || to.Host != "" && c.dialer.allows(to.IP) != nil {
		ctx, cancel := context.WithTimeout(context.Background(), DialTimeout)
		defer cancel()
		addrs, err := c.dialer.Resolve(ctx, to.Host)
		if err != nil {
			return err
		}
		to.IP = addrs[0]
	}
	if err := c.dialer.allows(to.IP); err != nil {
		return err
	}
	_, err := c.Send(p, to.AddrPort(), netip.Addr{})
	return err
}
