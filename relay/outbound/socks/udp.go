package socks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// DialPacket implements outbound.Outbound with a UDP association.
func (p *Proxy) DialPacket(ctx context.Context, _ *flow.Flow) (flow.PacketConn, error) {
	if !p.c.Info.UDP {
		return nil, flow.ErrNoUDP
	}
	ctx, cancel := context.WithTimeout(ctx, outbound.DialTimeout)
	defer cancel()
	control, relay, err := p.request(ctx, wire.UDPAssociate, flow.Addr{})
	if err != nil {
		return nil, err
	}
	if !relay.IP.IsValid() || relay.IP.IsUnspecified() { // "where you reached me"
		if relay.IP, err = p.serverIP(ctx, control); err != nil {
			return nil, errors.Join(err, control.Close())
		}
		relay.Host = ""
	}
	packets, err := p.c.Server.Dialer.DialPacket(ctx, relay.IP)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxy %s: %w", p.c.Server.Addr, err), control.Close())
	}
	c := &packetConn{control: control, packets: packets, relay: relay}
	go c.watch()
	return c, nil
}

// serverIP is the address the control connection went to.
func (p *Proxy) serverIP(ctx context.Context, control flow.Conn) (netip.Addr, error) {
	if p.c.Server.Addr.IP.IsValid() {
		return p.c.Server.Addr.IP, nil
	}
	if a, err := netip.ParseAddrPort(control.RemoteAddr().String()); err == nil && p.c.Server.Dialer.Via == nil {
		return a.Addr().Unmap(), nil
	}
	addrs, err := p.c.Server.Dialer.Resolve(ctx, p.c.Server.Addr.Host)
	if err != nil {
		return netip.Addr{}, err
	}
	return addrs[0], nil
}

// packetConn is an association: it lives as long as its control connection.
type packetConn struct {
	control flow.Conn
	packets flow.PacketConn
	relay   flow.Addr
}

// watch ends the association when the proxy ends it. Close ends watch.
func (c *packetConn) watch() {
	defer func() { _ = recover() }() // a bug below ends this association and nothing else
	defer c.Close()
	_, _ = io.Copy(io.Discard, c.control)
}

// ReadPacket implements flow.PacketConn. Datagrams from others than the relay are dropped.
func (c *packetConn) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.packets.ReadPacket(p)
		if err != nil {
			return 0, netip.AddrPort{}, err
		}
		if from.IsValid() && from != c.relay.AddrPort() {
			continue
		}
		to, head, err := wire.ParseDatagram(p[:n])
		if err != nil && !errors.Is(err, wire.ErrAddress) {
			continue
		}
		return copy(p, p[head:n]), to.AddrPort(), nil
	}
}

// WritePacket implements flow.PacketConn.
func (c *packetConn) WritePacket(p []byte, to *flow.Addr) error {
	b := buf.GetPacket()
	defer buf.PutPacket(b)
	msg := wire.AppendDatagram(b.B[:0], target(*to))
	if len(msg)+len(p) > len(b.B) {
		return errors.New("datagram too long")
	}
	return c.packets.WritePacket(append(msg, p...), &c.relay)
}

// Close implements flow.PacketConn.
func (c *packetConn) Close() error {
	return errors.Join(c.control.Close(), c.packets.Close())
}
