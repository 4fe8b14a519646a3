package upstream

import (
	"context"
	"net"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
)

// tcpIdle is how long a TCP connection is kept without a question.
const tcpIdle = 10 * time.Second

func newTCP(s *nameserver.Server, c Config) *stream {
	return newStream(s, func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, "tcp", s.Addr) }, tcpIdle)
}
