package inbound

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/http1"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// httpClient is a client that speaks HTTP to us as to its proxy. Its requests go one after
// another over one upstream connection, as long as they are for the same origin.
type httpClient struct {
	*client
	r  *reader
	up *upstream

	req, resp http1.Head
	isHead    bool // the request is a HEAD; req.Method does not outlive the head's buffer

	tryFill func(fd uintptr) bool
	fillErr error
	watchUp func(err error) error
	leftAt  time.Time // when the client was first seen to have ended its side
}

// upstream is the connection to the origin of the last request.
type upstream struct {
	flow.Stream
	to   flow.Addr
	r    reader
	used bool         // it has carried a request before
	due  atomic.Int64 // when an answer must have begun, in Unix nanoseconds; 0 when none is awaited
}

func (u *upstream) close() {
	u.r.release()
	_ = u.Close()
}

// http serves requests until one ends the connection.
func (k *client) http(ctx context.Context, r *reader) {
	h := &httpClient{client: k, r: r}
	h.tryFill, h.watchUp = h.onFill, h.watch
	defer h.drop()
	for h.next() && h.one(ctx) {
	}
}

// fillIdle waits for the first bytes of a request and borrows a buffer only when they come.
func (h *httpClient) fillIdle() bool {
	if !sysnet.CanTry {
		return h.r.fill() == nil
	}
	return h.conn.Raw().Read(h.tryFill) == nil && h.fillErr == nil
}

func (h *httpClient) onFill(fd uintptr) bool {
	b := buf.Get()
	n, again, err := sysnet.TryRead(fd, b.B[:])
	h.fillErr = err
	if again || err != nil {
		buf.Put(b)
		return !again
	}
	h.r.b, h.r.r, h.r.w = b, 0, n
	return true
}

// drop ends the connection to the origin.
func (h *httpClient) drop() {
	if h.up != nil {
		h.up.close()
		h.up = nil
	}
}

// next reads the head of a request. It answers what cannot be read, and says whether there is one.
func (h *httpClient) next() bool {
	if len(h.r.bytes()) == 0 {
		h.r.release() // an idle connection holds no buffer
		_ = h.conn.SetReadDeadline(time.Now().Add(idleTime))
		if !h.fillIdle() {
			return false
		}
	}
	_ = h.conn.SetReadDeadline(time.Now().Add(handshakeTime))
	for {
		for bytes.HasPrefix(h.r.bytes(), []byte("\r\n")) { // RFC 9112, 2.2
			h.r.skip(2)
		}
		n, err := h.req.ParseRequest(h.r.bytes())
		switch {
		case err == nil:
			_ = h.conn.SetReadDeadline(time.Time{})
			h.r.skip(n) // the bytes stay where they are until the next fill
			h.isHead = string(h.req.Method) == "HEAD"
			return true
		case !errors.Is(err, http1.ErrShort):
			h.refuse(400, err.Error())
			return false
		case h.r.full():
			h.refuse(431, "the request's head is longer than 32 KiB")
			return false
		}
		if err := h.r.fill(); err != nil {
			if isTimeout(err) && len(h.r.bytes()) > 0 {
				h.refuse(408, "the request's head did not arrive in time")
			}
			return false
		}
	}
}

// one serves the request in h.req. It says whether the connection goes on.
func (h *httpClient) one(ctx context.Context) bool {
	if h.service.login(h.from.Addr()) && !h.authorized() {
		h.answer(407, "Proxy-Authenticate: Basic realm=\"proxy\"\r\n", "log in with a name and a password of the configuration's authentication")
		return false
	}
	if string(h.req.Method) == "CONNECT" {
		h.tunnel(ctx)
		return false
	}
	to, path, err := parseAbsolute(h.req.Target)
	if err != nil {
		h.refuse(400, err.Error())
		return false
	}
	return h.exchange(ctx, to, path)
}

// authorized checks Proxy-Authorization and keeps the user's name.
func (h *httpClient) authorized() bool {
	for _, f := range h.req.Fields {
		if !http1.Is(f.Name, "Proxy-Authorization") {
			continue
		}
		scheme, code, _ := strings.Cut(string(f.Value), " ")
		login, err := base64.StdEncoding.DecodeString(strings.TrimSpace(code))
		if !strings.EqualFold(scheme, "Basic") || err != nil {
			return false
		}
		name, password, _ := strings.Cut(string(login), ":")
		if !h.service.Users.Check(name, password) {
			return false
		}
		h.user = name
		return true
	}
	return false
}

// tunnel answers CONNECT.
func (h *httpClient) tunnel(ctx context.Context) {
	to, err := parseAuthority(string(h.req.Target), 0)
	if err != nil || h.req.Chunked || h.req.Length > 0 {
		h.refuse(400, "CONNECT wants host:port and no content")
		return
	}
	h.drop()
	s, err := h.service.Handler.Open(ctx, h.flow(flow.HTTPS, to))
	if err != nil {
		h.fail(err)
		return
	}
	if _, err := h.conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		_ = s.Close()
		return
	}
	h.relay(s, h.r)
}

// parseAbsolute takes the absolute form of a request's target apart. What stands in it wins over
// the Host field (RFC 9112, 3.2.2); a name and password in it go nowhere.
func parseAbsolute(target []byte) (to flow.Addr, path string, err error) {
	scheme, rest, ok := strings.Cut(string(target), "://")
	if !ok {
		return to, "", http1.BadMessage("this is a proxy: want an absolute URL in the request line")
	}
	if !strings.EqualFold(scheme, "http") {
		return to, "", http1.BadMessage("want an http URL; https goes through CONNECT")
	}
	authority, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = "/" + path
		}
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	path, _, _ = strings.Cut(path, "#")
	to, err = parseAuthority(authority, 80)
	return to, path, err
}

// parseAuthority reads host:port; the port may be left out where there is a default.
func parseAuthority(s string, defaultPort uint16) (to flow.Addr, err error) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
	}
	to.Port = defaultPort
	if port != "" || defaultPort == 0 {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return to, http1.BadMessage("want a port from 1 to 65535 in the target")
		}
		to.Port = uint16(n)
	}
	if to.Host, to.IP, err = flow.ParseHost(host); err != nil || to.IP.Is6() && host[0] != '[' {
		return to, http1.BadMessage("malformed host in the target")
	}
	return to, nil
}

// fail answers a flow that could not be opened.
func (h *httpClient) fail(err error) {
	switch {
	case errors.Is(err, flow.ErrDropped):
		h.hold()
	case errors.Is(err, flow.ErrRejected):
		h.refuse(403, "a rule of the proxy refuses this target")
	case isTimeout(err):
		h.refuse(504, "the target did not answer in time")
	default:
		h.refuse(502, "the target cannot be reached: "+err.Error())
	}
}

var reasons = map[int]string{
	400: "Bad Request", 403: "Forbidden", 407: "Proxy Authentication Required",
	408: "Request Timeout", 431: "Request Header Fields Too Large",
	502: "Bad Gateway", 504: "Gateway Timeout",
}

// refusal is an error that the client is told of, as an answer of ours.
type refusal struct {
	status int
	why    string
}

func (e *refusal) Error() string { return e.why }

// refuse answers with an error of ours and ends the connection.
func (h *httpClient) refuse(status int, why string) { h.answer(status, "", why) }

func (h *httpClient) answer(status int, fields, why string) {
	body := why + "\n"
	if h.isHead {
		body = ""
	}
	_, err := io.WriteString(h.conn, "HTTP/1.1 "+strconv.Itoa(status)+" "+reasons[status]+"\r\n"+fields+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: "+strconv.Itoa(len(why)+1)+
		"\r\nConnection: close\r\n\r\n"+body)
	if err == nil {
		h.linger()
	}
}

// lingerTime and lingerBytes bound what a client may still send after an answer that ends its
// connection; closing with bytes unread would reset it before the client has read the answer.
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

func (h *httpClient) linger() {
	_ = h.conn.CloseWrite()
	_ = h.conn.SetReadDeadline(time.Now().Add(lingerTime))
	if h.r.b == nil {
		_ = h.r.fill()
	}
	for n := 0; n < lingerBytes && h.r.b != nil; {
		m, err := h.conn.Read(h.r.b.B[:])
		if n += m; err != nil {
			return
		}
	}
}

// sameOrigin says whether the connection to up may carry a request for to.
func (u *upstream) sameOrigin(to flow.Addr) bool {
	return u.to.Host == to.Host && u.to.Port == to.Port && u.to.IP == to.IP
}
