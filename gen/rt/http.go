package rt

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/internal/reply"
)

// Reply proves that an operation was answered. Only the W types of the generated server make one.
type Reply = reply.Reply

// Scheme is a way to authenticate, spelt as in the contract.
type Scheme string

// The schemes of the contract.
const (
	SchemeBearer        Scheme = "bearer"
	SchemeTokenQuery    Scheme = "tokenQuery"
	SchemeMetricsBearer Scheme = "metricsBearer"
	SchemeMetricsBasic  Scheme = "metricsBasic"
)

// Options says how a Server behaves. A zero field means the default.
type Options struct {
	// Context ends all streams when it is done. Default: never.
	Context context.Context
	// Authenticate tells whether the request is allowed by scheme. A request is let in when one
	// scheme of its operation allows it. Default: all are allowed.
	Authenticate func(ctx *fasthttp.RequestCtx, scheme Scheme) bool
	// CheckOrigin tells whether a page may open a WebSocket; if not, 403. Default: any may.
	CheckOrigin func(ctx *fasthttp.RequestCtx) bool
	// OnPanic is told of a panic in a handler or a stream. Only that request ends by it.
	OnPanic func(v any, stack []byte)
	// MaxStreams is how many streams may be open; the next is 503. Default: any number.
	MaxStreams int
	// WriteTimeout is how long one write to a stream may take. Default: 10 s.
	WriteTimeout time.Duration
	// PingInterval is how often a WebSocket is pinged; one that is silent for three of them is
	// given up. Default: 30 s.
	PingInterval time.Duration
}

// Server is what the generated server keeps.
type Server struct {
	o Options

	mu   sync.Mutex
	open int           // streams that run
	idle chan struct{} // closed when open falls to 0; nil unless somebody waits
}

// NewServer returns a Server.
func NewServer(o Options) *Server {
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.PingInterval == 0 {
		o.PingInterval = 30 * time.Second
	}
	return &Server{o: o}
}

// Wait blocks until no stream is open. Call it after the context has ended and the HTTP server has
// been shut down.
func (s *Server) Wait() {
	s.mu.Lock()
	if s.open == 0 {
		s.mu.Unlock()
		return
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	<-idle
}

// Open returns how many streams are open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *Server) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
}

func (s *Server) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Authenticate asks the callback.
func (s *Server) Authenticate(ctx *fasthttp.RequestCtx, scheme Scheme) bool {
	return s.o.Authenticate == nil || s.o.Authenticate(ctx, scheme)
}

// Prepare sets r up for the contract: names in paths are matched undecoded, a wrong method is 405
// without a body, an unknown path 404 with a text body, a panic 500. What slashed routes is also
// reached with a slash at the end; the tree of one router cannot hold both.
func (s *Server) Prepare(r, slashed *router.Router) {
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleOPTIONS = false
	r.HandleMethodNotAllowed = true
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) {
		allow := string(ctx.Response.Header.Peek("Allow"))
		allow = strings.TrimPrefix(strings.Replace(allow, ", OPTIONS", "", 1), "OPTIONS, ")
		methodNotAllowed(ctx, allow)
	}
	r.NotFound = func(ctx *fasthttp.RequestCtx) {
		path := string(ctx.URI().PathOriginal())
		if short, ok := strings.CutSuffix(path, "/"); ok && short != "" {
			if h, _ := slashed.Lookup(string(ctx.Method()), short, ctx); h != nil {
				h(ctx)
				return
			}
			if allow := allowed(slashed, short); allow != "" {
				methodNotAllowed(ctx, allow)
				return
			}
		}
		ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		ctx.SetContentType("text/plain; charset=utf-8")
		ctx.SetBodyString("404 page not found\n")
	}
	r.PanicHandler = func(ctx *fasthttp.RequestCtx, v any) {
		s.panicked(v)
		ctx.Response.ResetBody()
		Fail(ctx, fasthttp.StatusInternalServerError)
	}
}

func allowed(r *router.Router, path string) string {
	var methods []string
	for _, m := range []string{"DELETE", "GET", "PATCH", "POST", "PUT"} {
		if h, _ := r.Lookup(m, path, nil); h != nil {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

func methodNotAllowed(ctx *fasthttp.RequestCtx, allow string) {
	ctx.Response.Header.Set("Allow", allow)
	Empty(ctx, fasthttp.StatusMethodNotAllowed)
}

func (s *Server) panicked(v any) {
	if s.o.OnPanic != nil {
		s.o.OnPanic(v, debug.Stack())
	}
}

// Begin lends the buffer of the answer's body, empty. It comes back by Finish.
func Begin(ctx *fasthttp.RequestCtx) []byte { return ctx.Response.SwapBody(nil)[:0] }

// Finish answers status with the JSON document b.
func Finish(ctx *fasthttp.RequestCtx, status int, b []byte) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SwapBody(append(b, '\n'))
}

// FinishText answers status with a text.
func FinishText(ctx *fasthttp.RequestCtx, status int, contentType string, b []byte) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(contentType)
	ctx.Response.SwapBody(b)
}

// Empty answers status without a body.
func Empty(ctx *fasthttp.RequestCtx, status int) {
	ctx.Response.ResetBody()
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetNoDefaultContentType(true)
	ctx.Response.Header.SetContentType("")
}

// Fail answers one of the statuses that need no more words.
func Fail(ctx *fasthttp.RequestCtx, status int) {
	b := Begin(ctx)
	switch status {
	case fasthttp.StatusBadRequest:
		b = append(b, `{"message":"Body invalid","code":"body_invalid"}`...)
	case fasthttp.StatusUnauthorized:
		b = append(b, `{"message":"Unauthorized","code":"unauthorized"}`...)
	case fasthttp.StatusForbidden:
		b = append(b, `{"message":"Forbidden","code":"forbidden"}`...)
	case fasthttp.StatusServiceUnavailable:
		b = append(b, `{"message":"Too many streams","code":"too_many_streams"}`...)
	default:
		b = append(b, `{"message":"Internal error","code":"internal"}`...)
	}
	Finish(ctx, status, b)
}

// PathParam returns a parameter of the path, unescaped once. It fails when an escape is malformed
// or the result is not UTF-8.
func PathParam(ctx *fasthttp.RequestCtx, name string) (string, bool) {
	raw, _ := ctx.UserValue(name).(string)
	return Unescape(raw)
}

// Unescape undoes percent encoding once; a plus sign stays. It fails when an escape is malformed
// or the result is not UTF-8.
func Unescape(s string) (string, bool) {
	n := strings.IndexByte(s, '%')
	if n < 0 {
		return s, utf8.ValidString(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if len(s)-i < 3 {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b = append(b, c)
	}
	return string(b), utf8.Valid(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// ParseInt reads a decimal number.
func ParseInt(raw []byte) (int64, bool) {
	if raw[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

// ParseBool reads true or false.
func ParseBool(raw []byte) (v, ok bool) {
	v = string(raw) == "true"
	return v, v || string(raw) == "false"
}

// body is a model that a request may carry.
type body interface {
	CheckRequired(raw []byte) error
	Validate() error
}

// Body decodes the request's first JSON value into v and checks it. null counts as {}.
func Body(ctx *fasthttp.RequestCtx, v body) bool {
	raw := ctx.PostBody()
	d := json.NewDecoder(bytes.NewReader(raw))
	if d.Decode(v) != nil {
		return false
	}
	raw = raw[:d.InputOffset()]
	if string(bytes.TrimSpace(raw)) == "null" {
		raw = []byte("{}")
	}
	return v.CheckRequired(raw) == nil && v.Validate() == nil
}

// Document returns the request's body, one JSON document of at most most bytes, without the white space
// between its values. Where it is none it has answered, and returns false.
func Document(ctx *fasthttp.RequestCtx, most int) (document []byte, ok bool) {
	raw := ctx.PostBody()
	if len(raw) > most {
		FailTooLarge(ctx, most)
		return nil, false
	}
	var b bytes.Buffer
	if !utf8.Valid(raw) || json.Compact(&b, raw) != nil {
		Fail(ctx, fasthttp.StatusBadRequest)
		return nil, false
	}
	return b.Bytes(), true
}

// FailTooLarge answers a request whose body is larger than most bytes; 0 is an unknown limit.
func FailTooLarge(ctx *fasthttp.RequestCtx, most int) {
	b := append(Begin(ctx), `{"message":"Body too large`...)
	if most > 0 {
		b = strconv.AppendInt(append(b, ": want at most "...), int64(most), 10)
		b = append(b, " bytes"...)
	}
	Finish(ctx, fasthttp.StatusRequestEntityTooLarge, append(b, `","code":"body_too_large"}`...))
}
