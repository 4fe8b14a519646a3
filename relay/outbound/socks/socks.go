// Package socks dials through a SOCKS 5 proxy, with TCP and UDP, with or without TLS.
package socks

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// Config is one SOCKS 5 node.
type Config struct {
	Info               outbound.Info
	Server             outbound.Server
	Username, Password string
}

// Proxy is an outbound.Outbound.
type Proxy struct{ c Config }

// New makes the outbound; it opens nothing.
func New(c Config) *Proxy { return &Proxy{c: c} }

// Through returns the same node with its server dialed through via.
func (p *Proxy) Through(via outbound.Outbound) outbound.Outbound {
	c := *p
	c.c.Server.Dialer = p.c.Server.Dialer.Through(via)
	return &c
}

// Info implements outbound.Outbound.
func (p *Proxy) Info() *outbound.Info { return &p.c.Info }

// Dial implements outbound.Outbound.
func (p *Proxy) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	c, _, err := p.request(ctx, wire.Connect, target(f.Target()))
	return c, err
}

// target prefers the name: the proxy resolves it where it stands.
func target(to flow.Addr) flow.Addr {
	if to.Host != "" {
		to.IP = netip.Addr{}
	}
	return to
}

// request connects to the proxy, authenticates and asks. The answer's address is the proxy's.
func (p *Proxy) request(ctx context.Context, command byte, to flow.Addr) (c flow.Conn, bound flow.Addr, err error) {
	c, err = p.c.Server.Connect(ctx, func(c flow.Conn) (err error) {
		bound, err = p.handshake(c, command, to)
		return err
	})
	return c, bound, err
}

func (p *Proxy) handshake(c io.ReadWriter, command byte, to flow.Addr) (bound flow.Addr, err error) {
	b := buf.Get()
	defer buf.Put(b)
	msg := append(b.B[:0], wire.Version5, 1, wire.NoAuth)
	if p.c.Username != "" {
		msg = append(b.B[:0], wire.Version5, 2, wire.NoAuth, wire.UserPassword)
	}
	if _, err = c.Write(msg); err != nil {
		return bound, err
	}
	var head [4]byte
	if _, err = io.ReadFull(c, head[:2]); err != nil {
		return bound, early(err)
	}
	switch {
	case head[0] != wire.Version5:
		return bound, errors.New("the proxy does not speak SOCKS 5")
	case head[1] == wire.UserPassword && p.c.Username != "":
		if err = p.login(c, b.B[:0]); err != nil {
			return bound, err
		}
	case head[1] != wire.NoAuth:
		return bound, errors.New("the proxy wants authentication: set username and password")
	}
	msg = wire.AppendAddr(append(b.B[:0], wire.Version5, command, 0), to)
	if _, err = c.Write(msg); err != nil {
		return bound, err
	}
	return readReply(c, b.B[:])
}

func (p *Proxy) login(c io.ReadWriter, b []byte) error {
	b = append(b, 1, byte(len(p.c.Username)))
	b = append(append(b, p.c.Username...), byte(len(p.c.Password)))
	b = append(b, p.c.Password...)
	if _, err := c.Write(b); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return early(err)
	}
	if answer[1] != 0 {
		return errors.New("the proxy refused username or password")
	}
	return nil
}

// readReply reads exactly the reply, so that the target's first bytes stay in the socket.
func readReply(c io.Reader, b []byte) (bound flow.Addr, err error) {
	const fixed = 5 // up to the first byte of the address
	if _, err = io.ReadFull(c, b[:fixed]); err != nil {
		return bound, early(err)
	}
	if b[0] != wire.Version5 {
		return bound, wire.ErrFormat
	}
	if b[1] != wire.Granted {
		return bound, wire.ReplyError(b[1])
	}
	n := fixed
	for {
		bound, _, err = wire.ParseAddr(b[3:n])
		switch {
		case errors.Is(err, wire.ErrShort):
		case errors.Is(err, wire.ErrAddress): // some proxies answer with a name of their own
			return flow.Addr{}, nil
		default:
			return bound, err
		}
		if _, err = io.ReadFull(c, b[n:n+1]); err != nil {
			return bound, early(err)
		}
		n++
	}
}

func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the proxy closed the connection during the handshake")
	}
	return err
}
