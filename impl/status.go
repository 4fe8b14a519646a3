package impl

import (
	"runtime/debug"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
)

// GetHello implements server.Handler.
func (c *Controller) GetHello(_ *fasthttp.RequestCtx, w server.GetHelloW) rt.Reply {
	return w.JSON200(&api.Hello{Hello: "switchyard"})
}

// GetVersion implements server.Handler. Meta tells dashboards which family of features there is.
func (c *Controller) GetVersion(_ *fasthttp.RequestCtx, w server.GetVersionW) rt.Reply {
	return w.JSON200(&api.Version{Meta: true, Version: c.o.Version})
}

// CollectGarbage implements server.Handler.
func (c *Controller) CollectGarbage(_ *fasthttp.RequestCtx, w server.CollectGarbageW) rt.Reply {
	debug.FreeOSMemory()
	return w.Empty200()
}
