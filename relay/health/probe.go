// Package health finds out which nodes work and how fast: it tests them, keeps what was found, and
// plans the tests of the whole daemon within one budget.
package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const (
	maxDelay = 1<<16 - 2 // ms; one more is the family's word for dead
	noDelay  = 1<<16 - 1
)

// Probe is one test.
type Probe struct {
	URL      string
	Expected Status
	Unified  bool // take the time of a second request alone, on the same connection
}

// Client is what every test says and trusts.
type Client struct {
	UserAgent string         // "" sends none
	Roots     *x509.CertPool // nil: the system's
}

// Run asks for the head of the URL through o, and follows no redirect. delay is in milliseconds from
// before the dial to the end of the head, from 1 to 65534; expected says whether the status was. It
// gives up when ctx ends; the error is then the cause of that. Errors name the URL's origin alone.
func (p *Probe) Run(ctx context.Context, o outbound.Outbound, c Client) (delay uint16, expected bool, err error) {
	t, err := parseURL(p.URL)
	if err != nil {
		return 0, false, err
	}
	began := time.Now()
	conn, err := o.Dial(ctx, &flow.Flow{Network: flow.TCP, Kind: flow.Inner, To: t.addr})
	if err != nil {
		return 0, false, t.explain(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	code, took, err := p.ask(t, conn, c, began)
	if err != nil {
		return 0, false, t.explain(ctx, err)
	}
	return uint16(min(max(1, took.Milliseconds()), maxDelay)), p.Expected.Has(code), nil
}

// ask returns the status and how long it took. A second request that fails changes neither.
func (p *Probe) ask(t *target, conn net.Conn, c Client, began time.Time) (code int, took time.Duration, err error) {
	if t.secure {
		if conn, err = handshake(t, conn, c.Roots); err != nil {
			return 0, 0, err
		}
	}
	in := newAnswers(conn)
	once := func(last bool) (code int, err error) {
		if _, err := conn.Write(t.request(c.UserAgent, last)); err != nil {
			return 0, err
		}
		return in.next()
	}
	code, err = once(!p.Unified)
	took = time.Since(began)
	if err != nil || !p.Unified {
		return code, took, err
	}
	began = time.Now()
	if again, err := once(true); err == nil {
		return again, time.Since(began), nil
	}
	return code, took, nil
}

// handshake speaks TLS over conn, which stays the caller's to close: without a word to the peer, for
// which it might have to wait.
func handshake(t *target, conn net.Conn, roots *x509.CertPool) (net.Conn, error) {
	name := t.addr.Host
	if name == "" {
		name = t.addr.IP.String()
	}
	tc := tls.Client(conn, &tls.Config{
		ServerName: name, RootCAs: roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
	})
	if err := tc.Handshake(); err != nil { // the deadline of conn ends it
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tc, nil
}

// explain puts the origin before err, or before the cause of ctx's end.
func (t *target) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("test %s: %w", t.origin, err)
}
