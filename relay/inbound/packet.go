package inbound

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// PacketServer is the UDP port beside a SOCKS listener. It takes datagrams from clients that hold
// an association, and from nobody else.
type PacketServer struct {
	udp     *sysnet.UDPConn
	log     *slog.Logger
	service atomic.Pointer[Service]

	mu       sync.RWMutex
	admitted map[netip.Addr]*permit
	ended    bool
}

// permit is the associations from one address, by the connections that hold them.
type permit struct {
	held map[*sysnet.TCPConn]struct{}
	user string // of the latest
}

// ListenPacket binds addr. Nothing is read before Serve.
func ListenPacket(addr string, o sysnet.Options, log *slog.Logger) (*PacketServer, error) {
	udp, err := sysnet.ListenUDP(addr, o)
	if err != nil {
		return nil, err
	}
	return &PacketServer{udp: udp, log: log, admitted: make(map[netip.Addr]*permit)}, nil
}

// Use makes s describe the flows of datagrams that come from now on.
func (u *PacketServer) Use(s *Service) { u.service.Store(s) }

// Share lets another socket of this process bind the same port.
func (u *PacketServer) Share() error { return u.udp.Share() }

// Addr is the address u is bound to.
func (u *PacketServer) Addr() netip.AddrPort { return u.udp.AddrPort() }

// Close releases the socket. Serve closes it too.
func (u *PacketServer) Close() error { return u.udp.Close() }

// Serve reads datagrams until ctx is done, then closes the socket and the connections that hold
// associations: their clients learn that they need new ones.
func (u *PacketServer) Serve(ctx context.Context) {
	defer u.endAll()
	defer context.AfterFunc(ctx, func() { _ = u.udp.Close() })()
	b := buf.GetPacket()
	defer buf.PutPacket(b)
	for {
		n, from, local, err := u.udp.Receive(b.B[:])
		switch {
		case err == nil:
			u.receive(b.B[:n], from, local)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			u.log.Warn("receive", "listener", u.udp.LocalAddr().String(), "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		}
	}
}

// receive carries one datagram on. What is malformed or comes from a stranger is dropped.
func (u *PacketServer) receive(p []byte, from netip.AddrPort, local netip.Addr) {
	s := u.service.Load()
	defer func() {
		if v := recover(); v != nil {
			s.Handler.Recovered(v)
		}
	}()
	user, ok := u.admits(from)
	if !ok {
		return
	}
	to, n, err := wire.ParseDatagram(p)
	if err != nil || to.Port == 0 {
		return
	}
	f := flow.Flow{
		Network: flow.UDP, Kind: flow.SOCKS5, Source: from, Local: u.udp.AddrPort(),
		Inbound: s.Name, User: user, To: to,
	}
	if local.IsValid() {
		f.Local = netip.AddrPortFrom(local, f.Local.Port())
	}
	s.Handler.Packet(f, local, p[n:], u)
}

// Reply implements flow.Replier.
func (u *PacketServer) Reply(p []byte, to netip.AddrPort, local netip.Addr, from netip.AddrPort) error {
	b := buf.GetPacket()
	defer buf.PutPacket(b)
	msg := wire.AppendDatagram(b.B[:0], flow.Addr{IP: from.Addr(), Port: from.Port()})
	_, err := u.udp.Send(append(msg, p...), to, local)
	return err
}

func (u *PacketServer) admits(from netip.AddrPort) (user string, ok bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	p := u.admitted[from.Addr()]
	if p == nil {
		return "", false
	}
	return p.user, true
}

// admit lets k's address send, from any port: what a client behind a router says of its port is of
// no use here. The func it returns takes that back and ends what nobody holds any more.
func (u *PacketServer) admit(k *client) (done func()) {
	ip := k.from.Addr()
	u.mu.Lock()
	p := u.admitted[ip]
	if p == nil {
		p = &permit{held: make(map[*sysnet.TCPConn]struct{})}
		u.admitted[ip] = p
	}
	p.held[k.conn] = struct{}{}
	p.user = k.user
	ended := u.ended
	u.mu.Unlock()
	if ended {
		_ = k.conn.Close()
	}
	return func() {
		u.mu.Lock()
		delete(p.held, k.conn)
		held := len(p.held) > 0
		if !held {
			delete(u.admitted, ip)
		}
		u.mu.Unlock()
		if !held {
			k.service.Handler.EndSources(func(src netip.AddrPort, r flow.Replier) bool {
				return src.Addr() == ip && r == flow.Replier(u)
			})
		}
	}
}

func (u *PacketServer) endAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	for _, p := range u.admitted {
		for c := range p.held {
			_ = c.Close()
		}
	}
}
