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
	guarded  bool // there is a secret
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
	code, ok := bytes.CutPrefix(v, []byte("Basic "))
	if !ok {
		return false
	}
	login, err := base64.StdEncoding.DecodeString(string(code))
	_, password, found := bytes.Cut(login, []byte(":"))
	return err == nil && found && s.is(password)
}

// authenticate decides about one request. A token in the query counts on WebSockets alone, where a
// page cannot set fields; there it wins over the field, unless it is empty.
func (c *Controller) authenticate(ctx *fasthttp.RequestCtx, _ rt.Scheme) bool {
	s := c.settings.Load()
	if !s.guarded || isUnix(ctx) {
		return true
	}
	if string(ctx.Request.Header.Peek("Upgrade")) == "websocket" {
		if token := ctx.QueryArgs().Peek("token"); len(token) > 0 {
			return s.is(token)
		}
	}
	return s.bearer(ctx.Request.Header.Peek("Authorization"))
}

// allows keeps web pages and rebound names out of a controller that has no secret: the request
// must be for a host that is this machine, and come from no page or one of this machine.
func (s *settings) allows(ctx *fasthttp.RequestCtx) bool {
	if s.guarded || isUnix(ctx) {
		return true
	}
	if !s.isOurs(string(ctx.Request.Header.Host())) {
		return false
	}
	origin := string(ctx.Request.Header.Peek("Origin"))
	return origin == "" || s.explicit || isLoopback(origin)
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
	return name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(s.hosts, name)
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
	return origin == "" || s.guarded && !s.explicit || s.originAllowed(origin) || isUnix(ctx)
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
