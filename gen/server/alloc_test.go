//go:build !race

package server

import (
	"testing"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
)

type fixed struct {
	Handler
	connections api.Connections
}

func (*fixed) GetVersion(_ *fasthttp.RequestCtx, w GetVersionW) rt.Reply {
	return w.JSON200(&api.Version{Meta: true, Version: "1"})
}

func (f *fixed) GetConnections(
	_ *fasthttp.RequestCtx, _ GetConnectionsQuery, w GetConnectionsW,
) rt.Reply {
	return w.JSON200(&f.connections)
}

func (f *fixed) GetProxy(_ *fasthttp.RequestCtx, name string, w GetProxyW) rt.Reply {
	return w.JSON200(&api.Proxy{Name: name, Type: api.AdapterTypeDirect})
}

// TestRequestAllocs bounds what a request costs between the HTTP server and the implementation.
func TestRequestAllocs(t *testing.T) {
	r := router.New()
	h := &fixed{connections: api.Connections{Connections: make([]api.Connection, 100)}}
	Register(r, h, rt.Options{
		Authenticate: func(ctx *fasthttp.RequestCtx, _ rt.Scheme) bool {
			return string(ctx.Request.Header.Peek("Authorization")) == "Bearer s"
		},
	})
	f := func(target string, most float64) {
		t.Helper()
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(target)
		ctx.Request.Header.Set("Authorization", "Bearer s")
		call := func() {
			ctx.ResetUserValues()
			r.Handler(&ctx)
		}
		call()
		if ctx.Response.StatusCode() != 200 {
			t.Fatalf("%s: %s", target, &ctx.Response)
		}
		if n := testing.AllocsPerRun(100, call); n > most {
			t.Errorf("%s: %v allocations; want at most %v", target, n, most)
		}
	}
	f("/version", 0)
	f("/connections", 0)
	f("/connections?interval=100", 0)
	f("/proxies/x", 3) // the router's
	f("/proxies/%D0%AF", 5)
}
