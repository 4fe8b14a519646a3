package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// reach is how a name server is reached through via: a node or group of that name, else an interface; by
// the rules, or, where it is "", straight.
func (r *Relay) reach(via string, base dialing) upstream.Config {
	straight := func() *outbound.Dialer {
		d := &outbound.Dialer{
			Socket: base.socket, IPv6: base.ipv6, Selves: r.engine.Selves(),
			Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
				return r.current.Load().naming.bootstrap.Lookup(ctx, host)
			},
		}
		if via != "" {
			d.Socket.Interface = via
		}
		return d
	}
	return upstream.Config{
		Own: r.dns.own,
		Dial: func(ctx context.Context, network string, to flow.Addr) (net.Conn, error) {
			o, proxied := r.through(via)
			switch {
			case !proxied && via == "" && r.dns.own(to.AddrPort()):
				return nil, errOwn
			case !proxied && network == "udp":
				return dialUDP(ctx, straight(), to)
			case !proxied:
				return straight().Dial(ctx, to)
			case network == "udp":
				p, err := r.openPackets(ctx, o, to)
				if err != nil {
					return nil, err
				}
				return p, nil
			}
			f := &flow.Flow{Network: flow.TCP, Kind: flow.Inner, To: to}
			if o == nil {
				return r.engine.Open(ctx, f)
			}
			return r.engine.OpenVia(ctx, f, o)
		},
		ListenPacket: func(ctx context.Context, to flow.Addr) (net.PacketConn, net.Addr, error) {
			o, proxied := r.through(via)
			if !proxied {
				return listenUDP(ctx, straight(), to)
			}
			p, err := r.openPackets(ctx, o, to)
			if err != nil {
				return nil, nil, err
			}
			return p, p.RemoteAddr(), nil
		},
	}
}

// errOwn means that a name server is the daemon itself.
var errOwn = errors.New("this is dns.listen: it would ask itself")

// through is the node or group called via, or nil for where the rules lead. proxied is false for what is
// neither.
func (r *Relay) through(via string) (o outbound.Outbound, proxied bool) {
	if via == "" || via == nameserver.Rules {
		return nil, via != ""
	}
	o = r.Outbound(via)
	return o, o != nil
}

func (r *Relay) openPackets(ctx context.Context, o outbound.Outbound, to flow.Addr) (*packets, error) {
	f := &flow.Flow{Network: flow.UDP, Kind: flow.Inner, To: to}
	var c flow.PacketConn
	var err error
	if o == nil {
		c, err = r.engine.OpenPacket(ctx, f)
	} else {
		c, err = r.engine.OpenPacketVia(ctx, f, o)
	}
	if err != nil {
		return nil, err
	}
	return newPackets(c, f.To), nil // which has an address now, where the outbound needs one
}

// best is the first address of to that may be used.
func best(ctx context.Context, d *outbound.Dialer, to flow.Addr) (netip.AddrPort, error) {
	if to.Host == "" {
		return to.AddrPort(), nil
	}
	addrs, err := d.Resolve(ctx, to.Host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0], to.Port), nil
}

func dialUDP(ctx context.Context, d *outbound.Dialer, to flow.Addr) (net.Conn, error) {
	addr, err := best(ctx, d, to)
	if err != nil {
		return nil, err
	}
	c, err := sysnet.ConnectUDP(ctx, addr, d.Socket)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", addr, err)
	}
	return c, nil
}

func listenUDP(ctx context.Context, d *outbound.Dialer, to flow.Addr) (net.PacketConn, net.Addr, error) {
	addr, err := best(ctx, d, to)
	if err != nil {
		return nil, nil, err
	}
	c, err := sysnet.DialUDP(addr.Addr(), d.Socket)
	if err != nil {
		return nil, nil, err
	}
	return c.UDPConn, net.UDPAddrFromAddrPort(addr), nil
}
