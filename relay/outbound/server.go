package outbound

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Server is the proxy server of a node, and the way to it.
type Server struct {
	Addr   flow.Addr
	Dialer *Dialer
	// Layer, where set, puts a layer such as TLS on the connection, which it owns.
	Layer func(ctx context.Context, c flow.Conn) (flow.Conn, error)
}

// Connect dials the server and runs handshake, all of it within DialTimeout and ctx. Errors name
// the server.
func (s *Server) Connect(ctx context.Context, handshake func(c flow.Conn) error) (flow.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	c, err := s.Dialer.Dial(ctx, s.Addr)
	if errors.Is(err, errVia) {
		return nil, errVia // and not the whole way
	}
	if err == nil && s.Layer != nil {
		c, err = s.Layer(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", s.Addr, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = handshake(c)
	if !stop() {
		err = ctx.Err() // and not what it broke
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("proxy %s: %w", s.Addr, err)
	}
	return c, nil
}
