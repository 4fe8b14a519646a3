package impl

import (
	"log/slog"
	"net/http/pprof"
	"strings"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/expvarhandler"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"

	"github.com/switchyard-proxy/switchyard/gen/rt"
)

// isDebug says whether a path, as it was sent, is one of the pages beside the contract: a name that
// spells one when it is decoded is a name.
func isDebug(ctx *fasthttp.RequestCtx) bool {
	path := string(ctx.URI().PathOriginal())
	return (path == "/debug" || strings.HasPrefix(path, "/debug/")) && strings.TrimSuffix(path, "/") != "/debug/gc"
}

// debug answers /debug/pprof and /debug/vars, which stand beside the contract. They are there
// while the log level is debug, for those who know the secret, as a bearer token or as the
// password that go tool pprof can send.
func (c *Controller) debug(ctx *fasthttp.RequestCtx) {
	s := c.settings.Load()
	path := string(ctx.URI().PathOriginal())
	known := path == "/debug" || path == "/debug/" || path == "/debug/vars" || strings.HasPrefix(path, "/debug/pprof")
	switch {
	case c.o.Hub.Level() > slog.LevelDebug || !known:
		ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		ctx.SetContentType("text/plain; charset=utf-8")
		ctx.SetBodyString("404 page not found\n")
	case !c.authenticate(ctx, rt.SchemeBearer) && !s.basic(ctx.Request.Header.Peek("Authorization")):
		ctx.Response.Header.Set("WWW-Authenticate", `Basic realm="switchyard"`)
		rt.Fail(ctx, fasthttp.StatusUnauthorized)
	case !ctx.IsGet() && path != "/debug/pprof/symbol":
		ctx.Response.Header.Set("Allow", "GET")
		rt.Empty(ctx, fasthttp.StatusMethodNotAllowed)
	case path == "/debug" || path == "/debug/" || path == "/debug/pprof":
		ctx.Response.Header.Set("Location", "/debug/pprof/")
		ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
	case path == "/debug/vars":
		expvarhandler.ExpvarHandler(ctx)
	case path == "/debug/pprof/": // which fasthttp's handler does not know
		fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Index)(ctx)
	default:
		pprofhandler.PprofHandler(ctx)
	}
}
