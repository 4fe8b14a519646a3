package impl

import (
	"fmt"
	"log/slog"
	"net/http/pprof"
	"slices"
	"strconv"
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
	known := strings.HasPrefix(path, "/debug/pprof/") ||
		slices.Contains([]string{"/debug", "/debug/", "/debug/vars", "/debug/pprof"}, path)
	ctx.Response.Header.Set("Cache-Control", "no-store")
	switch {
	case c.o.Hub.Level() > slog.LevelDebug || !known:
		pageNotFound(ctx)
	case !c.authenticate(ctx, rt.SchemeBearer) && !s.basic(ctx.Request.Header.Peek("Authorization")):
		ctx.Response.Header.Set("WWW-Authenticate", `Basic realm="switchyard"`)
		rt.Fail(ctx, fasthttp.StatusUnauthorized)
	case !ctx.IsGet() && path != "/debug/pprof/symbol":
		ctx.Response.Header.Set("Allow", "GET")
		rt.Empty(ctx, fasthttp.StatusMethodNotAllowed)
	case path == "/debug" || path == "/debug/" || path == "/debug/pprof":
		ctx.Response.Header.Set("Location", "/debug/pprof/")
		ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
	case tooLong(ctx):
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		ctx.SetContentType("text/plain; charset=utf-8")
		fmt.Fprintf(ctx, "seconds: want at most %d\n", maxProfile)
	case path == "/debug/vars":
		expvarhandler.ExpvarHandler(ctx)
	case path == "/debug/pprof/": // which fasthttp's handler does not know
		fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Index)(ctx)
	default:
		pprofhandler.PprofHandler(ctx)
	}
}

// maxProfile bounds a profile or a trace, in seconds: it goes on when its client has left.
const maxProfile = 300

// tooLong says whether a profile is asked for that takes longer.
func tooLong(ctx *fasthttp.RequestCtx) bool {
	n, err := strconv.ParseFloat(string(ctx.QueryArgs().Peek("seconds")), 64)
	return err == nil && !(n <= maxProfile) // a word that is no number is left to the profile
}
