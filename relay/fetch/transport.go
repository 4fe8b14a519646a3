package fetch

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	dialTime      = 30 * time.Second // where the system dials
	handshakeTime = 10 * time.Second // of TLS
	answerTime    = 30 * time.Second // from the request to the head of the answer
	maxHead       = 1 << 20          // bytes of the head of an answer
)

// transport carries the requests of one Get and keeps no connection after its use. net/http goes
// on dialing and shaking hands when a request is cancelled, until CloseIdleConnections.
func (r *Request) transport() *http.Transport {
	dial := r.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTime}).DialContext
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, &dialed{err}
			}
			return c, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: r.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTime,
		ResponseHeaderTimeout:  answerTime,
		MaxResponseHeaderBytes: maxHead,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
}
