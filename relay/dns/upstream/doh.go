package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const (
	mediaType = "application/dns-message"
	maxHeader = 16 << 10 // bytes of a response's fields
	// A connection on which nothing came for pingAfter is asked for a sign of life, and given up where
	// none comes within pingWait.
	pingAfter = 2 * time.Second
	pingWait  = 2 * time.Second
)

// overHTTP asks over HTTP (RFC 8484).
type overHTTP struct {
	server *nameserver.Server
	url    *url.URL
	host   string // as requests name it: without the port that goes without saying
	header http.Header
	bad    error // why nothing can be asked
	dialer *http.Transport
	tcp    *pool[*http.ClientConn]
	fast   *http3Way // nil where HTTP/3 is not wanted
}

func newHTTP(s *nameserver.Server, c Config) *overHTTP {
	o := &overHTTP{
		server: s,
		// An empty User-Agent keeps net/http and quic-go from sending theirs.
		header: http.Header{"Content-Type": {mediaType}, "Accept": {mediaType}, "User-Agent": {""}},
	}
	u, err := url.ParseRequestURI(s.Path) // its error repeats the path
	if err != nil {
		u, o.bad = new(url.URL), &safeError{errors.New("the path of the URL is none")}
	}
	o.url = u
	o.url.Host = s.Addr.String()
	o.url.Scheme, o.host = "https", strings.TrimSuffix(o.url.Host, ":443")
	if s.Scheme == nameserver.HTTP {
		o.url.Scheme, o.host = "http", strings.TrimSuffix(o.url.Host, ":80")
	}
	if s.User != nil {
		password, _ := s.User.Password()
		(&http.Request{Header: o.header}).SetBasicAuth(s.User.Username(), password)
	}
	o.dialer = transport(s, c)
	o.tcp = newPool(func(ctx context.Context) (*http.ClientConn, error) {
		return o.dialer.NewClientConn(ctx, o.url.Scheme, o.url.Host)
	})
	if s.Scheme == nameserver.HTTPS && (s.H3 || c.PreferH3) {
		o.fast = newHTTP3(s, c)
	}
	return o
}

// transport makes connections of HTTP/2, or of HTTP/1.1 where the server has no better.
func transport(s *nameserver.Server, c Config) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := c.Dial(ctx, "tcp", s.Addr)
			if err != nil {
				return nil, &safeError{err}
			}
			return conn, nil
		},
		TLSClientConfig:        tlsConfig(s, c),
		TLSHandshakeTimeout:    dialTime,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingWait,
			WriteByteTimeout:              dialTime,
			MaxReceiveBufferPerStream:     2 * wire.MaxSize,
			MaxReceiveBufferPerConnection: 1 << 20,
		},
	}
}

// Exchange asks over HTTP/3 where that works and is wanted, and over TCP else.
func (o *overHTTP) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	resp, err := o.exchange(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.server, explain(ctx, err))
	}
	return resp, nil
}

func (o *overHTTP) exchange(ctx context.Context, query []byte) ([]byte, error) {
	if o.bad != nil {
		return nil, o.bad
	}
	sent, err := unnumbered(query)
	if err != nil {
		return nil, err
	}
	ask := func(ctx context.Context, over http.RoundTripper) ([]byte, error) {
		resp, err := o.post(ctx, over, sent)
		if err != nil {
			return nil, err
		}
		return numbered(resp, sent, query)
	}
	if o.fast != nil {
		resp, err := o.fast.exchange(ctx, ask)
		if !o.fast.orTCP(ctx, err) {
			return resp, err
		}
	}
	return o.tcp.exchange(ctx, func(ctx context.Context, c *http.ClientConn) ([]byte, error) { return ask(ctx, c) })
}

// post sends query and returns the body of the response.
func (o *overHTTP) post(ctx context.Context, over http.RoundTripper, query []byte) ([]byte, error) {
	req := (&http.Request{
		Method: http.MethodPost, URL: o.url, Host: o.host, Header: o.header,
		Body: io.NopCloser(bytes.NewReader(query)), ContentLength: int64(len(query)),
	}).WithContext(ctx)
	resp, err := over.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &safeError{fmt.Errorf("the server answers with status %d", resp.StatusCode)}
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != mediaType {
		return nil, &safeError{errors.New("the answer is no DNS message: its content type is another")}
	}
	if resp.ContentLength > wire.MaxSize {
		return nil, errTooLarge
	}
	size := int64(bytes.MinRead)
	if resp.ContentLength >= 0 {
		size = resp.ContentLength + bytes.MinRead // so that the end is found without growing
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	if _, err := body.ReadFrom(io.LimitReader(resp.Body, wire.MaxSize+1)); err != nil {
		return nil, err
	}
	if body.Len() > wire.MaxSize {
		return nil, errTooLarge
	}
	return body.Bytes(), nil
}

var errTooLarge = &safeError{errors.New("the answer is larger than a DNS message can be")}

// Close ends all connections.
func (o *overHTTP) Close() error {
	if o.fast != nil {
		o.fast.Close()
	}
	return o.tcp.Close()
}
