package impl

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// settings are who may use the API, of one configuration.
type settings struct {
	secret   [sha256.Size]byte
	guarded  bool               // there is a secret
	token    *[sha256.Size]byte // of the metrics; nil for none
	origins  []string
	explicit bool // origins were written down by somebody
	private  bool // pages of public networks may reach us
	hosts    []string
	doh      string // the path of the DoH endpoint, empty for none
}

func newSettings(c *config.Config, secret string) *settings {
	s := &settings{
		guarded: secret != "", secret: sha256.Sum256([]byte(secret)),
		origins: c.Controller.CORS.AllowOrigins, explicit: c.Controller.CORS.AllowOriginsSet,
		private: c.Controller.CORS.AllowPrivateNetwork,
		doh:     strings.TrimRight(c.Controller.DoHPath, "/"),
	}
	if token := c.Controller.MetricsToken; token != "" {
		sum := sha256.Sum256([]byte(token))
		s.token = &sum
	}
	for _, addr := range []string{c.Controller.Addr, c.Controller.TLSAddr} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			s.hosts = append(s.hosts, strings.ToLower(host))
		}
	}
	return s
}

// is compares with the secret in constant time.
func (s *settings) is(word []byte) bool {
	sum := sha256.Sum256(word)
	return subtle.ConstantTimeCompare(sum[:], s.secret[:]) == 1
}

// bearer says whether the value of an Authorization field lets its sender in.
func (s *settings) bearer(v []byte) bool {
	if !s.guarded {
		return true
	}
	word, ok := bytes.CutPrefix(v, []byte("Bearer "))
	return ok && s.is(word)
}

// basic takes the secret as a password: all that go tool pprof can send.
func (s *settings) basic(v []byte) bool {
	word, ok := password(v)
	return ok && s.is(word)
}

// password is that of an Authorization field of the kind Basic.
func password(v []byte) (word []byte, ok bool) {
	code, ok := bytes.CutPrefix(v, []byte("Basic "))
	if !ok {
		return nil, false
	}
	login, err := base64.StdEncoding.DecodeString(string(code))
	_, word, found := bytes.Cut(login, []byte(":"))
	return word, err == nil && found
}

// metrics says whether the value of an Authorization field has the token that is good for /metrics alone.
func (s *settings) metrics(v []byte, scheme rt.Scheme) bool {
	word, ok := bytes.CutPrefix(v, []byte("Bearer "))
	if scheme == rt.SchemeMetricsBasic {
		word, ok = password(v)
	}
	sum := sha256.Sum256(word)
	return s.token != nil && ok && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// authenticate decides about one request. A token in the query counts on WebSockets alone, where a
// page cannot set fields; there it wins over the field, unless it is empty.
func (c *Controller) authenticate(ctx *fasthttp.RequestCtx, scheme rt.Scheme) bool {
	s := c.settings.Load()
	if !s.guarded || isLocal(ctx) {
		return true
	}
	if scheme == rt.SchemeMetricsBearer || scheme == rt.SchemeMetricsBasic {
		return s.metrics(ctx.Request.Header.Peek("Authorization"), scheme)
	}
	if string(ctx.Request.Header.Peek("Upgrade")) == "websocket" {
		if token := ctx.QueryArgs().Peek("token"); len(token) > 0 {
			return s.is(token)
		}
	}
	return s.bearer(ctx.Request.Header.Peek("Authorization"))
}

// allows keeps web pages and rebound names out of a controller that has no secret: the request
// must be for a host that is this machine, and come from no page, one of this machine, or one that
// the configuration names.
func (c *Controller) allows(ctx *fasthttp.RequestCtx) bool {
	s, h := c.settings.Load(), &ctx.Request.Header
	return isLocal(ctx) || s.trusts(h) || (isUI(ctx) || c.isDocs(ctx)) && s.isFor(h) && isNavigation(h)
}

// trusts is allows by the head alone, for all but the pages that anybody may link to.
func (s *settings) trusts(h *fasthttp.RequestHeader) bool {
	if s.guarded {
		return true
	}
	origin := string(h.Peek("Origin"))
	isAnonymous := origin == "" && string(h.Peek("Sec-Fetch-Site")) != "cross-site" // no page asks, as far as its browser says
	return s.isFor(h) && (isAnonymous || s.originAllowed(origin))
}

// isFor says whether a request is for this machine.
func (s *settings) isFor(h *fasthttp.RequestHeader) bool {
	target := h.RequestURI()
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok && target[0] != '/' { // then Host counts no more (RFC 9112, section 3.2.2)
		if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
			rest = rest[:end]
		}
		if !s.isOurs(string(rest)) {
			return false
		}
	}
	return s.isOurs(string(h.Host()))
}

// isNavigation says whether somebody has followed a link, who was not on a page of ours.
func isNavigation(h *fasthttp.RequestHeader) bool {
	return (h.IsGet() || h.IsHead()) && len(h.Peek("Origin")) == 0 &&
		string(h.Peek("Sec-Fetch-Mode")) == "navigate" && string(h.Peek("Sec-Fetch-Dest")) == "document"
}

// isOurs says whether a Host field names this machine: an address, a loopback name, or a name of
// the configuration.
func (s *settings) isOurs(host string) bool {
	name := strings.ToLower(host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return host == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(s.hosts, name)
}

func isLoopback(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	name := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsLoopback()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// checkOrigin decides whether a page may open a WebSocket.
func (c *Controller) checkOrigin(ctx *fasthttp.RequestCtx) bool {
	s := c.settings.Load()
	origin := string(ctx.Request.Header.Peek("Origin"))
	return origin == "" || s.guarded && !s.explicit || s.originAllowed(origin) || isLocal(ctx)
}

// originAllowed says whether the pages of origin may read answers.
func (s *settings) originAllowed(origin string) bool {
	if !s.explicit && !s.guarded {
		return isLoopback(origin)
	}
	for _, o := range s.origins {
		if o == "*" || strings.EqualFold(o, origin) || matchesWildcard(o, origin) {
			return true
		}
	}
	return false
}

// matchesWildcard takes one * in pattern as any text.
func matchesWildcard(pattern, origin string) bool {
	before, after, ok := strings.Cut(strings.ToLower(pattern), "*")
	origin = strings.ToLower(origin)
	return ok && len(origin) >= len(before)+len(after) &&
		strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
}

// cors tells browsers whether the page that asks may read the answer.
func (s *settings) cors(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set("Vary", "Origin")
	origin := string(ctx.Request.Header.Peek("Origin"))
	switch {
	case origin == "" || !s.originAllowed(origin):
	case slices.Contains(s.origins, "*") && (s.explicit || s.guarded):
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

func isPreflight(ctx *fasthttp.RequestCtx) bool {
	return ctx.IsOptions() && len(ctx.Request.Header.Peek("Access-Control-Request-Method")) > 0
}

var allowedMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// preflight answers what a browser asks before it lets a page ask. It needs no secret.
func (s *settings) preflight(ctx *fasthttp.RequestCtx) {
	q, h := &ctx.Request.Header, &ctx.Response.Header
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	ctx.SetStatusCode(fasthttp.StatusOK)
	method := string(q.Peek("Access-Control-Request-Method"))
	var fields []string
	for f := range strings.SplitSeq(string(q.Peek("Access-Control-Request-Headers")), ",") {
		switch f = strings.ToLower(strings.TrimSpace(f)); f {
		case "":
		case "authorization":
			fields = append(fields, "Authorization")
		case "content-type":
			fields = append(fields, "Content-Type")
		case "if-match":
			fields = append(fields, "If-Match")
		case "if-none-match":
			fields = append(fields, "If-None-Match")
		default:
			h.Del("Access-Control-Allow-Origin")
			return
		}
	}
	if len(h.Peek("Access-Control-Allow-Origin")) == 0 || !slices.Contains(allowedMethods, method) {
		h.Del("Access-Control-Allow-Origin")
		return
	}
	h.Set("Access-Control-Allow-Methods", method)
	if len(fields) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(fields, ", "))
	}
	h.Set("Access-Control-Max-Age", "300")
	if s.private && string(q.Peek("Access-Control-Request-Private-Network")) == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
}
