// Package transport has the layers that outbounds put between the socket and their protocol.
package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// TLS are the settings of a TLS client.
type TLS struct {
	ServerName  string
	SkipVerify  bool
	Fingerprint string         // SHA-256 of the certificate to trust, in hex; it replaces the authorities
	Roots       *x509.CertPool // nil: the system's
	ALPN        []string
}

// Client speaks TLS over c, which it owns: a failed handshake closes it.
func (t *TLS) Client(ctx context.Context, c flow.Conn) (flow.Conn, error) {
	cfg := &tls.Config{
		ServerName: t.ServerName, RootCAs: t.Roots, NextProtos: t.ALPN,
		InsecureSkipVerify: t.SkipVerify, MinVersion: tls.VersionTLS12,
	}
	if t.Fingerprint != "" {
		want, err := ParseFingerprint(t.Fingerprint)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		cfg.InsecureSkipVerify = true // the fingerprint below decides
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return matches(s, want) }
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("TLS with %s: %w", t.ServerName, err)
	}
	return &tlsConn{Conn: tc, under: c}, nil
}

// tlsConn hands the reset on to the socket below.
type tlsConn struct {
	*tls.Conn
	under flow.Conn
}

// SetLinger implements what flow.Reset asks for.
func (c *tlsConn) SetLinger(sec int) error {
	if l, ok := c.under.(interface{ SetLinger(sec int) error }); ok {
		return l.SetLinger(sec)
	}
	return nil
}

var _ net.Conn = (*tlsConn)(nil)

// ParseFingerprint reads a SHA-256 in hex, with or without colons.
func ParseFingerprint(s string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(sum) {
		return sum, errors.New("fingerprint: want the SHA-256 of a certificate, 64 hex digits")
	}
	copy(sum[:], b)
	return sum, nil
}

func matches(s tls.ConnectionState, want [sha256.Size]byte) error {
	for _, cert := range s.PeerCertificates {
		if sha256.Sum256(cert.Raw) == want {
			return nil
		}
	}
	return errors.New("no certificate has the fingerprint that was asked for")
}
