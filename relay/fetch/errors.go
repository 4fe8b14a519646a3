package fetch

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// StatusError is an answer that brings no body to use.
type StatusError struct {
	Code       int
	Status     string        // "404 Not Found"; the words are ours, not the server's
	RetryAfter time.Duration // how long the server wants to be left alone; 0 where it does not say
	Header     http.Header   // of the answer
}

func (e *StatusError) Error() string { return e.Status }

func statusError(answer *http.Response) error {
	code := answer.StatusCode
	return &StatusError{
		Code:       code,
		Status:     strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code)),
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
		Header:     answer.Header,
	}
}

// retryAfter reads a Retry-After field (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(field string, now time.Time) time.Duration {
	const most = 1 << 31 // seconds, the bound RFC 9111 sets for its own counts
	if n, err := strconv.ParseUint(field, 10, 64); err == nil {
		return time.Duration(min(n, most)) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// explain names the host where err came about. Of the URL it says no more, and err must not either.
func explain(ctx context.Context, at *url.URL, err error) error {
	if _, ok := errors.AsType[*StatusError](err); ok {
		return err // clients know its bare text
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", origin(at), ctx.Err())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		bare := *op
		bare.Source = nil // its port is another each time, and one failure would look like many
		err = &bare
	}
	if !plain(err) {
		err = errors.New("the answer makes no sense")
	}
	return fmt.Errorf("%s: %w", origin(at), err)
}

// said is an error of this package: it quotes nothing of what a server has sent.
type said struct{ text string }

func (e *said) Error() string { return e.text }

// dialed is an error of whoever dials for us.
type dialed struct{ error }

func (e *dialed) Unwrap() error { return e.error }

// plain says whether the text of an error may be shown. net/http quotes answers that it does not
// understand, and a server that echoes what it is sent makes that the URL or a field of ours; so what
// is not known to quote nothing is not shown.
func plain(err error) bool {
	var network net.Error
	var ours *said
	var dial *dialed
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var packed flate.CorruptInputError
	return errors.As(err, &network) || errors.As(err, &ours) || errors.As(err, &dial) || errors.As(err, &cert) ||
		errors.As(err, &record) || errors.As(err, &packed) || errors.Is(err, gzip.ErrHeader) ||
		errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
