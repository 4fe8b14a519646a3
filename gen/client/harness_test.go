package client_test

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
)

const (
	secret = "s3cret"
	wait   = 10 * time.Second // for what must happen; a test that passes never waits so long
)

// handler serves what the tests need; the rest of the interface is nil and panics.
type handler struct {
	server.Handler
	traffic func(s server.TrafficStream) error
}

func (h *handler) GetVersion(_ *fasthttp.RequestCtx, w server.GetVersionW) rt.Reply {
	return w.JSON200(&api.Version{Meta: true, Version: "1"})
}

func (h *handler) GetProxy(_ *fasthttp.RequestCtx, name string, w server.GetProxyW) rt.Reply {
	if name == "missing" {
		return w.JSON404(&api.Error{Message: "Resource not found", Code: api.ErrorCodeNotFound})
	}
	return w.JSON200(&api.Proxy{Name: name, Type: api.AdapterTypeDirect})
}

func (h *handler) ListProxies(_ *fasthttp.RequestCtx, w server.ListProxiesW) rt.Reply {
	return w.JSON200Append(func(b []byte) []byte { return append(b, `{"proxies":{}}`...) })
}

func (h *handler) SelectProxy(
	_ *fasthttp.RequestCtx, name string, body *api.Selection, w server.SelectProxyW,
) rt.Reply {
	if body.Name != name {
		return w.JSON400(&api.Error{Message: body.Name, Code: api.ErrorCodeUnknownMember})
	}
	return w.Empty204()
}

func (h *handler) PatchConfigs(
	_ *fasthttp.RequestCtx, _ *api.ConfigPatch, w server.PatchConfigsW,
) rt.Reply {
	return w.Empty204()
}

func (h *handler) ReplaceConfigs(
	_ *fasthttp.RequestCtx, q server.ReplaceConfigsQuery, _ *api.ConfigSource,
	w server.ReplaceConfigsW,
) rt.Reply {
	if q.Force {
		return w.Empty204()
	}
	return w.JSON400(&api.Error{Message: "not forced", Code: api.ErrorCodeConfigInvalid})
}

func (h *handler) CollectGarbage(_ *fasthttp.RequestCtx, w server.CollectGarbageW) rt.Reply {
	return w.Empty200()
}

func (h *handler) UnfixProxy(_ *fasthttp.RequestCtx, _ string, _ server.UnfixProxyW) rt.Reply {
	return rt.Reply{} // forgot to answer
}

func (h *handler) GetConnections(
	_ *fasthttp.RequestCtx, q server.GetConnectionsQuery, w server.GetConnectionsW,
) rt.Reply {
	if !w.IsUpgrade() {
		return w.JSON200(&api.Connections{})
	}
	return w.Stream(func(s server.ConnectionsStream) error {
		return s.Send(&api.Connections{Memory: int64(q.Interval)})
	})
}

func (h *handler) StreamLogs(
	_ *fasthttp.RequestCtx, q server.StreamLogsQuery, w server.StreamLogsW,
) rt.Reply {
	if q.Format == api.LogFormatStructured {
		return w.StreamStructured(func(s server.StructuredLogStream) error {
			return s.Send(&api.StructuredLog{Level: api.StructuredLevelWarn, Message: string(q.Level)})
		})
	}
	return w.Stream(func(s server.LogEventStream) error {
		return s.SendRaw([]byte(`{"type":"info","payload":"` + string(q.Level) + `"}` + "\n"))
	})
}

func (h *handler) StreamTraffic(_ *fasthttp.RequestCtx, w server.StreamTrafficW) rt.Reply {
	return w.Stream(h.traffic)
}

// daemon is a running server.
type daemon struct {
	url      string
	addr     string
	shutdown func() // ends the streams, the server, and waits for both
	panics   atomic.Int32
	sv       *rt.Server
}

// start serves traffic, and all else, on a listener of network, until the test ends. It fails the
// test when a stream outlives the server.
func start(
	t *testing.T, network string, options rt.Options, traffic func(s server.TrafficStream) error,
) *daemon {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &daemon{addr: ln.Addr().String(), url: "http://" + ln.Addr().String()}
	options.Context = ctx
	options.OnPanic = func(any, []byte) { d.panics.Add(1) }
	options.Authenticate = func(ctx *fasthttp.RequestCtx, scheme rt.Scheme) bool {
		if scheme == rt.SchemeTokenQuery {
			return rt.IsUpgrade(ctx) && string(ctx.QueryArgs().Peek("token")) == secret
		}
		return string(ctx.Request.Header.Peek("Authorization")) == "Bearer "+secret
	}
	r := router.New()
	d.sv = server.Register(r, &handler{traffic: traffic}, options)
	srv := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			r.Handler(ctx)
			ctx.Response.Header.Set("Vary", "Origin") // as one does who wraps the router
		},
		NoDefaultContentType: true, NoDefaultServerHeader: true, CloseOnShutdown: true,
		Logger: quiet{},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	d.shutdown = sync.OnceFunc(func() {
		cancel()
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		d.sv.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if strings.Contains(string(stacks), "rt.(*Stream).watch") {
			t.Errorf("a stream leaks:\n%s", stacks)
		}
	})
	t.Cleanup(d.shutdown)
	return d
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// dial returns a typed client of d.
func (d *daemon) dial(t *testing.T, opts ...client.ClientOption) *client.API {
	t.Helper()
	c, err := client.New(d.url, append([]client.ClientOption{client.WithSecret(secret)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// raw opens a connection and sends the request head, whose lines are joined with CRLF.
func (d *daemon) raw(t *testing.T, lines ...string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

// within fails the test unless ch delivers in time.
func within[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(wait):
		t.Fatalf("%s: nothing happened", what)
		panic("unreachable")
	}
}
