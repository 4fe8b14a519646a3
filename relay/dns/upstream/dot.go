package upstream

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
)

// overTLS asks over TLS (RFC 7858).
type overTLS struct{ *stream }

func newTLS(s *nameserver.Server, c Config) overTLS {
	conf := tlsConfig(s, c) // without a protocol: servers that know some may not know "dot"
	return overTLS{newStream(s, func(ctx context.Context) (net.Conn, error) {
		bare, err := c.Dial(ctx, "tcp", s.Addr)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(bare, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			bare.Close()
			return nil, err
		}
		return secure, nil
	}, idleTime)}
}

// Exchange pads query, so that its size does not tell the name.
func (o overTLS) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	return o.stream.Exchange(ctx, pad(query))
}
