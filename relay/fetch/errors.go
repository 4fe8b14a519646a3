package fetch

import (
	"context"
	"errors"
	"fmt"
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
}

func (e *StatusError) Error() string { return e.Status }

func statusError(answer *http.Response) error {
	code := answer.StatusCode
	return &StatusError{
		Code:       code,
		Status:     strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code)),
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
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
	if quotes(err.Error(), at) {
		err = errors.New("the answer makes no sense")
	}
	return fmt.Errorf("%s: %w", origin(at), err)
}

// quotes says whether text has a part of u in it that is secret: net/http quotes answers it does
// not understand, and a server that echoes what it is sent makes that the URL.
func quotes(text string, u *url.URL) bool {
	for _, part := range []string{u.EscapedPath(), u.RawQuery} {
		if len(part) > 1 && strings.Contains(text, part) {
			return true
		}
	}
	return false
}
