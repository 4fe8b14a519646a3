package impl

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const (
	dohType      = "application/dns-message"
	dohKey       = "external-doh-server"
	maxQuestions = 256 // that DoH answers at the same time
)

// What is answered to a question that is none, in the words of the family.
var (
	errContentType = errors.New("invalid content-type")
	errNoMessage   = errors.New("dns: overflow unpacking uint16")
)

// checkDoH says what is wrong with the path of the DoH endpoint, which must leave the API its own.
func checkDoH(c *config.Config) error {
	if c.Controller.DoHPath == "" {
		return nil
	}
	path := strings.TrimRight(c.Controller.DoHPath, "/")
	var problem string
	if !isPlainPath(path) {
		problem = "want a path such as /dns-query, of letters, digits and -._~"
	} else if word := firstWord(path); slices.Contains(ownWords(), word) {
		problem = "/" + word + " belongs to the API: want a path such as /dns-query"
	} else {
		return nil
	}
	return config.Diagnostics{{Severity: config.Error, Path: dohKey, Message: problem}}.Err()
}

// isPlainPath says whether every client spells a path in the same way.
func isPlainPath(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, isReserved) {
			return false
		}
	}
	return true
}

// isReserved says whether a letter is, or may be, percent-encoded (RFC 3986, section 2.3).
func isReserved(r rune) bool {
	isWord := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !isWord && !strings.ContainsRune("-._~", r)
}

func firstWord(path string) string {
	word, _, _ := strings.Cut(path[1:], "/")
	return word
}

// ownWords are the first segments of all paths that are taken.
func ownWords() []string {
	words := []string{"debug", "docs", "openapi.json", "openapi.yaml", "ui"}
	r := router.New()
	server.Register(r, nil, rt.Options{}) // only its paths are looked at
	for _, paths := range r.List() {
		for _, path := range paths {
			words = append(words, firstWord(path))
		}
	}
	return words
}

// isDoH says whether a request is for the DoH endpoint: its path or one below it.
func (s *settings) isDoH(ctx *fasthttp.RequestCtx) bool {
	if s.doh == "" {
		return false
	}
	rest, ok := strings.CutPrefix(string(ctx.URI().PathOriginal()), s.doh)
	return ok && (rest == "" || rest[0] == '/')
}

// serveDoH answers DNS over HTTPS (RFC 8484), which stands beside the contract. It asks for no secret,
// which resolvers could not send. Where the API has none, guard has turned away foreign pages and
// names. The statuses are those of the family.
func (c *Controller) serveDoH(ctx *fasthttp.RequestCtx) {
	if !ctx.IsGet() && !ctx.IsPost() {
		dohFailed(ctx, fasthttp.StatusMethodNotAllowed, "method not allowed")
		return
	}
	message, err := dohQuestion(ctx)
	switch {
	case err != nil:
		dohFailed(ctx, fasthttp.StatusInternalServerError, err.Error())
		return
	case len(message) > dns.MaxQuery:
		dohFailed(ctx, fasthttp.StatusRequestEntityTooLarge, "message too large")
		return
	}
	select {
	case c.questions <- struct{}{}:
		defer func() { <-c.questions }()
	default:
		dohFailed(ctx, fasthttp.StatusServiceUnavailable, "too many questions")
		return
	}
	asking, cancel := context.WithTimeout(c.ctx, questionTimeout)
	defer cancel()
	answer, err := c.o.Relay.AnswerDNS(asking, message)
	if err == nil && answer == nil {
		err = errNoMessage
	}
	if err != nil {
		dohFailed(ctx, fasthttp.StatusInternalServerError, resolveFailed(err).Message)
		return
	}
	ctx.Response.Header.Set("Cache-Control", "max-age="+strconv.FormatUint(uint64(keepFor(answer)), 10))
	ctx.SetContentType(dohType)
	ctx.SetBody(answer)
}

func dohFailed(ctx *fasthttp.RequestCtx, status int, why string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(why)
}

// dohQuestion is the message that a request carries, valid as long as the request.
func dohQuestion(ctx *fasthttp.RequestCtx) ([]byte, error) {
	if ctx.IsGet() {
		return decodeDoH(ctx.QueryArgs().Peek("dns"))
	}
	kind, _, _ := strings.Cut(string(ctx.Request.Header.ContentType()), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), dohType) {
		return nil, errContentType
	}
	return ctx.PostBody(), nil
}

// decodeDoH reads the parameter of a GET. Padding, which it should not have, is left out.
func decodeDoH(param []byte) ([]byte, error) {
	text := strings.TrimRight(string(param), "=")
	return base64.RawURLEncoding.DecodeString(text)
}

// keepFor is for how many seconds an answer may be kept (RFC 8484, section 5.1).
func keepFor(answer []byte) uint32 {
	a, err := wire.Scan(slices.Clone(answer))
	if err != nil {
		return 0
	}
	return a.TTL
}
