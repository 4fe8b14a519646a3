package upstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// sessions is how many TLS sessions of one server are kept, to be resumed.
const sessions = 4

// tlsConfig is for s, whose certificate is for its name, or its address where it has none.
func tlsConfig(s *nameserver.Server, c Config, protocols ...string) *tls.Config {
	name := s.Addr.Host
	if name == "" {
		name = s.Addr.IP.String()
	}
	return &tls.Config{
		ServerName:         name,
		RootCAs:            c.Roots,
		InsecureSkipVerify: s.SkipVerify, //nolint:gosec // the user asks for it
		NextProtos:         protocols,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
}

// unnumbered is query with the id 0 (RFC 8484, section 4.1; RFC 9250, section 4.2.1), and padded.
func unnumbered(query []byte) ([]byte, error) {
	if len(query) < wire.HeaderSize || len(query) > wire.MaxSize {
		return nil, &safeError{fmt.Errorf("a query of %d bytes cannot be sent", len(query))}
	}
	q := pad(query)
	q[0], q[1] = 0, 0
	return q, nil
}

// numbered judges resp, which came for sent, and returns it with the id of query.
func numbered(resp, sent, query []byte) ([]byte, error) {
	if err := wire.Answers(sent, resp); err != nil {
		return nil, &safeError{err}
	}
	copy(resp, query[:2])
	a, err := wire.Scan(resp)
	if err != nil {
		return nil, &safeError{err}
	}
	return a.Wire, nil
}

const (
	padBlock  = 128 // bytes that the size of a query is a multiple of (RFC 8467, section 4.1)
	padOption = 12  // RFC 7830
)

// pad returns a copy of query, with padding behind the options of its OPT record, which is its only
// record; where it is not, the copy is the same as query.
func pad(query []byte) []byte {
	var q wire.Query
	opt := -1
	if q.Parse(query) == nil && q.EDNS {
		opt = findOPT(query)
	}
	const head = 4
	size := (len(query) + head + padBlock - 1) / padBlock * padBlock
	if opt < 0 || size > wire.MaxSize {
		return append([]byte(nil), query...)
	}
	padded := append(make([]byte, 0, size), query...)
	padded = binary.BigEndian.AppendUint16(padded, padOption)
	padded = binary.BigEndian.AppendUint16(padded, uint16(size-len(query)-head))
	padded = padded[:size] // the rest is zero
	binary.BigEndian.PutUint16(padded[opt+optHead-2:], uint16(size-opt-optHead))
	return padded
}

// safeError is an error whose text quotes nothing that a server has sent.
type safeError struct{ error }

func (e *safeError) Unwrap() error { return e.error }

var errObscure = errors.New("the connection broke, or the answer makes no sense")

// explain returns err as it may be shown. Libraries quote what they do not understand, and a server knows
// the path and the user that it is asked with; so what is not known to quote nothing is not shown.
func explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e := quicError(err); e != nil {
		return e
	}
	var safe *safeError
	var network net.Error
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &safe), errors.As(err, &network), errors.As(err, &cert), errors.As(err, &record),
		errors.As(err, &alert), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, errBusy), errors.Is(err, errSlow), errors.Is(err, net.ErrClosed):
		return err
	}
	return errObscure
}
