package upstream

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
)

const (
	headStart = 300 * time.Millisecond // that HTTP/3 has before TCP is used
	http3Rest = 5 * time.Minute        // for which it is not tried again after it did not work
)

// http3Way is HTTP/3 to a server that may have it, on a network that may let it through.
type http3Way struct {
	lines *lines
	pool  *pool[*line]
	only  bool // there is no TCP to go to
	rest  time.Duration
	after atomic.Int64 // when it may be tried again, as Unix nanoseconds
}

func newHTTP3(s *nameserver.Server, c Config) *http3Way {
	n := newLines(s, c, http3.NextProtoH3, quic.ApplicationErrorCode(http3.ErrCodeNoError))
	t := &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHeader}
	w := &http3Way{lines: n, only: s.H3, rest: http3Rest}
	w.pool = newPool(func(ctx context.Context) (*line, error) {
		l, err := n.open(ctx)
		if err == nil {
			l.http = t.NewClientConn(l.conn)
		}
		return l, err
	})
	if !w.only {
		w.pool.patience = headStart // the connection may still come up for later exchanges
	}
	return w
}

var errResting = errors.New("HTTP/3 did not work a while ago")

// exchange has ask ask over HTTP/3, where that is not known to be of no use.
func (w *http3Way) exchange(ctx context.Context, ask func(context.Context, http.RoundTripper) ([]byte, error)) ([]byte, error) {
	if !w.only && time.Now().UnixNano() < w.after.Load() && !w.pool.ready() {
		return nil, errResting
	}
	return w.pool.exchange(ctx, func(ctx context.Context, l *line) ([]byte, error) {
		return l.exchange(ctx, func(ctx context.Context) ([]byte, error) { return ask(ctx, l.http) })
	})
}

// orTCP says whether to ask over TCP now, after exchange has returned err, and remembers what it means.
func (w *http3Way) orTCP(ctx context.Context, err error) bool {
	if w.only || err == nil || ctx.Err() != nil {
		return false
	}
	if !errors.Is(err, errResting) {
		w.after.Store(time.Now().Add(w.rest).UnixNano())
	}
	return true
}

// Close ends all connections.
func (w *http3Way) Close() error { return w.pool.Close() }
