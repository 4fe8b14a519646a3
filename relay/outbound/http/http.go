// Package http dials through an HTTP proxy by CONNECT, with or without TLS to the proxy.
package http

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Config is one HTTP proxy node.
type Config struct {
	Info               outbound.Info
	Server             outbound.Server
	Username, Password string
	Headers            map[string]string
}

// Proxy is an outbound.Outbound.
type Proxy struct {
	c    Config
	tail string // the part of a request that is always the same
}

// New makes the outbound; it opens nothing.
func New(c Config) *Proxy {
	var b strings.Builder
	if c.Username != "" {
		login := base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
		b.WriteString("Proxy-Authorization: Basic " + login + "\r\n")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		b.WriteString(name + ": " + c.Headers[name] + "\r\n")
	}
	b.WriteString("\r\n")
	return &Proxy{c: c, tail: b.String()}
}

// Through returns the same node with its server dialed through via.
func (p *Proxy) Through(via outbound.Outbound) outbound.Outbound {
	c := *p
	c.c.Server.Dialer = p.c.Server.Dialer.Through(via)
	return &c
}

// Info implements outbound.Outbound.
func (p *Proxy) Info() *outbound.Info { return &p.c.Info }

// DialPacket implements outbound.Outbound: CONNECT carries no UDP.
func (p *Proxy) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, flow.ErrNoUDP
}

// Dial implements outbound.Outbound.
func (p *Proxy) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	var early []byte
	c, err := p.c.Server.Connect(ctx, func(c flow.Conn) (err error) {
		early, err = p.connect(c, f.Target())
		return err
	})
	if err != nil || len(early) == 0 {
		return c, err
	}
	return &earlyConn{Conn: c, early: early}, nil
}

// maxHead bounds the proxy's answer in bytes.
const maxHead = 16 << 10

// connect sends the request and reads the answer. early is what the target sent right behind it.
func (p *Proxy) connect(c io.ReadWriter, to flow.Addr) (early []byte, err error) {
	b := buf.Get()
	defer buf.Put(b)
	host := to.String()
	req := append(b.B[:0], "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\n"...)
	if _, err = c.Write(append(req, p.tail...)); err != nil {
		return nil, err
	}
	n := 0
	for {
		m, err := c.Read(b.B[n:maxHead])
		n += m
		if end := bytes.Index(b.B[:n], []byte("\r\n\r\n")); end >= 0 {
			if err := status(b.B[:end]); err != nil {
				return nil, err
			}
			return bytes.Clone(b.B[end+4 : n]), nil
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the proxy closed the connection during the handshake")
		case err != nil:
			return nil, err
		case n == maxHead:
			return nil, errors.New("the proxy's answer is too long")
		}
	}
}

// StatusError is a proxy's refusal, by its HTTP status.
type StatusError int

func (e StatusError) Error() string {
	switch e {
	case 407:
		return "the proxy answered 407: set username and password"
	default:
		return "the proxy answered " + strconv.Itoa(int(e))
	}
}

func status(head []byte) error {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	version, rest, _ := strings.Cut(string(line), " ")
	digits, _, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(digits)
	if len(digits) != 3 || err != nil || !strings.HasPrefix(version, "HTTP/1.") {
		return errors.New("the proxy does not speak HTTP/1.1")
	}
	if code < 200 || code > 299 {
		return StatusError(code)
	}
	return nil
}

// earlyConn gives what came with the proxy's answer before what the connection brings.
type earlyConn struct {
	flow.Conn
	early []byte
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
