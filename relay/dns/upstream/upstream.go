// Package upstream asks name servers: over UDP, TCP, TLS, HTTP and QUIC, or those of the system.
package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Upstream is one name server.
type Upstream interface {
	// Exchange sends query, a whole message, and returns the response to it, which is the caller's: it
	// has the query's id and question and is well formed (see wire.Answers and wire.Scan), whatever its
	// response code. It may be called from any goroutine, and gives up when ctx ends.
	Exchange(ctx context.Context, query []byte) ([]byte, error)
	// Close ends all connections and goroutines; exchanges that are under way fail.
	Close() error
}

// Config says how an upstream reaches its server. The funcs go through the proxy or interface that the
// server's text names, and resolve its name.
type Config struct {
	// Dial connects a stream ("tcp") or a connected datagram socket ("udp").
	Dial func(ctx context.Context, network string, to flow.Addr) (net.Conn, error)
	// ListenPacket makes a datagram socket for QUIC, and the address to send to.
	ListenPacket func(ctx context.Context, to flow.Addr) (net.PacketConn, net.Addr, error)
	// Own says whether an address is that of a DNS server of ours, which the system or a network may name
	// and which is not asked; nil knows none.
	Own      func(netip.AddrPort) bool
	Roots    *x509.CertPool // nil: the system's
	PreferH3 bool           // DoH over HTTP/3 where the server can
}

// ErrClosed means that an upstream was closed.
var ErrClosed = errors.New("the name server is no longer used")

// New makes the upstream of s. It opens nothing.
func New(s *nameserver.Server, c Config) Upstream {
	u := newPlain(s, c)
	if s.Subnet.IsValid() {
		return &subnetted{u, s}
	}
	return u
}

// newPlain makes the upstream as if s had no subnet.
func newPlain(s *nameserver.Server, c Config) Upstream {
	switch s.Scheme {
	case nameserver.TCP:
		return newTCP(s, c)
	case nameserver.TLS:
		return newTLS(s, c)
	case nameserver.HTTPS, nameserver.HTTP:
		return newHTTP(s, c)
	case nameserver.QUIC:
		return newQUIC(s, c)
	case nameserver.System:
		return newSystem(c)
	case nameserver.DHCP:
		return newDHCP(s, c)
	case nameserver.RCode:
		return newRCode(s)
	}
	return newUDP(s, c)
}
