// Package fetch downloads one body, within bounds and with discretion: what a URL says beside its
// host is a secret, because subscriptions carry their tokens there, and no error repeats it.
package fetch

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// DefaultLimit bounds a body, in bytes, where the request names no limit.
const DefaultLimit = 64 << 20

// idleTime is how long a server may send nothing in the middle of a body.
const idleTime = 30 * time.Second

// maxValidator bounds what a server may say of a body, in bytes: it is sent back.
const maxValidator = 1 << 10

// maxRedirects is how many redirects one request follows.
const maxRedirects = 10

// Validators tell a server what is at hand, in the server's own words.
type Validators struct{ ETag, LastModified string }

// Request is one download. Get does not change it.
type Request struct {
	URL string // http or https; what stands in it for user and password is sent as Basic
	// Header holds fields of the user's own. Like user and password they are for the host of URL
	// alone: once a redirect has led to another host they are sent no more.
	Header    http.Header
	UserAgent string     // "" sends none; a User-Agent in Header goes before it
	Have      Validators // sent as If-None-Match and If-Modified-Since
	Limit     int64      // bytes of the body after decoding; 0 means DefaultLimit
	// Dial connects; nil is the system's way. It returns soon after its ctx is done.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Roots *x509.CertPool // nil: the system's

	idle time.Duration // tests; 0 is idleTime
}

// Response is an answer that is of use: a whole body, or the word that there is no newer one.
type Response struct {
	Body        []byte
	NotModified bool // what Have names is still good, and Body is nil
	Validators  Validators
	Header      http.Header
}

// Get downloads what r asks for. Only ctx bounds the whole; a server that does not shake hands or
// does not begin to answer is given up before. An answer that is neither a body nor "not modified"
// is a *StatusError. Environment variables that name proxies have no effect.
func Get(ctx context.Context, r *Request) (*Response, error) {
	home, err := parse(r.URL)
	if err != nil {
		return nil, err
	}
	t := r.transport()
	defer t.CloseIdleConnections()
	at, trusted := home, true
	asking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	for range 1 + maxRedirects {
		resp, next, err := r.exchange(t, r.request(asking, at, home, trusted), giveUp)
		switch {
		case err != nil:
			return nil, explain(ctx, at, err)
		case next == nil:
			return resp, nil
		}
		trusted = trusted && sameHost(home, next)
		at = next
	}
	return nil, fmt.Errorf("%s: more than %d redirects", origin(home), maxRedirects)
}

// ours are the fields that decide what comes back; a user's own would break what Get promises.
var ours = []string{
	"Accept-Encoding", "Range", "If-Range", "If-Match", "If-Unmodified-Since",
	"If-None-Match", "If-Modified-Since", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer",
}

// leastTraffic is how much of a body has to come within idleTime, in bytes: one that drips is given up.
const leastTraffic = 4 << 10

// moving is a body that puts the end of patience off as long as enough of it comes.
type moving struct {
	io.Reader
	alarm *time.Timer
	wait  time.Duration
	came  int // since the end was put off
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.came += n; m.came >= leastTraffic {
		m.came = 0
		m.alarm.Reset(m.wait)
	}
	return n, err
}

// request is what at is asked. What is meant for home alone is left out where at is not trusted.
func (r *Request) request(ctx context.Context, at, home *url.URL, trusted bool) *http.Request {
	req := (&http.Request{Method: http.MethodGet, URL: at, Header: make(http.Header)}).WithContext(ctx)
	user := at.User
	if trusted {
		for name, values := range r.Header {
			for _, v := range values {
				req.Header.Add(name, v)
			}
		}
		req.Host = req.Header.Get("Host") // net/http looks for it here alone
		if user == nil {
			user = home.User
		}
	}
	for _, name := range ours {
		req.Header.Del(name)
	}
	if user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", r.UserAgent) // an empty one keeps net/http from sending its own
	}
	if r.Have.ETag != "" {
		req.Header.Set("If-None-Match", r.Have.ETag)
	}
	if r.Have.LastModified != "" {
		req.Header.Set("If-Modified-Since", r.Have.LastModified)
	}
	return req
}

// exchange asks once. It returns what came back, or where to ask instead.
//
// It uses the transport itself: a client would send the URL as Referer, keep a user's fields when
// it goes to another host, and repeat the URL in its errors.
func (r *Request) exchange(t http.RoundTripper, req *http.Request, giveUp func()) (*Response, *url.URL, error) {
	answer, err := t.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	next, err := redirect(req.URL, answer)
	if next != nil || err != nil {
		return nil, next, err
	}
	resp := &Response{
		Header: answer.Header,
		Validators: Validators{
			ETag:         bounded(answer.Header.Get("ETag")),
			LastModified: bounded(answer.Header.Get("Last-Modified")),
		},
	}
	switch {
	case answer.StatusCode == http.StatusNotModified && r.Have != Validators{}:
		resp.NotModified = true
	case answer.StatusCode != http.StatusOK:
		return nil, nil, statusError(answer)
	default:
		resp.Body, err = r.body(answer, giveUp)
	}
	return resp, nil, err
}

// bounded is a validator, or none where it is too long to be sent back.
func bounded(validator string) string {
	if len(validator) > maxValidator {
		return ""
	}
	return validator
}

// body reads a body to its end. The transport has undone gzip, so that what is counted is what
// would be kept.
func (r *Request) body(answer *http.Response, giveUp func()) ([]byte, error) {
	limit := r.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	tooLarge := &said{fmt.Sprintf("larger than %d bytes", limit)}
	if answer.ContentLength > limit {
		return nil, tooLarge
	}
	wait := cmp.Or(r.idle, idleTime)
	var stalled atomic.Bool
	alarm := time.AfterFunc(wait, func() {
		stalled.Store(true)
		giveUp()
	})
	defer alarm.Stop()
	b, err := io.ReadAll(&moving{Reader: http.MaxBytesReader(nil, answer.Body, limit), alarm: alarm, wait: wait})
	if err != nil && stalled.Load() {
		return nil, &said{fmt.Sprintf("body: less than %d bytes came in %v", leastTraffic, wait)}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return b, nil
}
