// Package impl answers the controller API: it implements the generated server interface over the
// relay, and owns the API's listeners, secret, streams and debug pages.
package impl

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/relay/subscription"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/track"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

// Relay is what the controller asks of the relay. Every method sees the configuration that runs.
type Relay interface {
	Config() *config.Config
	// Outbound finds a node or group by name; nil is none.
	Outbound(name string) outbound.Outbound
	// Outbounds are all nodes and groups, sorted by name; it is not to be changed.
	Outbounds() []outbound.Outbound
	Groups() []group.Group // in the order of the file, GLOBAL included
	// Rules are the rules, and what is known of each.
	Rules() (*rule.Program, []rule.Stat)
	// SwitchRules switches rules off or on by index, all or none; rule.ErrNoRule is that one is not
	// there.
	SwitchRules(off map[int]bool) error
	// Explain says where f, which who would open, would go. With an error it goes nowhere.
	Explain(ctx context.Context, f *flow.Flow, who flow.Process, trace bool) (*engine.Explanation, error)
	// ProxyProviders describes the proxy providers in the order of the file, and those that only panels know.
	ProxyProviders() []subscription.Info
	ProxyProvider(name string) (info subscription.Info, known bool)
	// UpdateProxyProvider loads a proxy provider anew, or leaves it as it is.
	UpdateProxyProvider(ctx context.Context, name string) (known bool, err error)
	// CheckProxyProvider tests the nodes of a proxy provider, and waits for that.
	CheckProxyProvider(ctx context.Context, name string) (known bool)
	RuleProviders() []ruleset.Info // in the order of the file
	RuleProvider(name string) (info ruleset.Info, known bool)
	// UpdateRuleProvider loads a rule provider anew, or leaves it as it is.
	UpdateRuleProvider(ctx context.Context, name string) (known bool, err error)
	// UpdateGeo downloads and uses the geo data that rules need.
	UpdateGeo(ctx context.Context) error
	// Panel is the web panel that is served; nil is none.
	Panel() *webui.Site
	// UpdatePanel downloads the web panel anew, or leaves it as it is.
	UpdatePanel(ctx context.Context) error
	Table() *track.Table
	Store() *state.Store
	// QueryDNS resolves through name servers, the cache and policies included; hosts and fake
	// addresses are left out. It returns a whole response message (id 0), whose TTLs count down.
	// dns.ErrDisabled is that there is no DNS.
	QueryDNS(ctx context.Context, name string, kind uint16) (message []byte, err error)
	// AnswerDNS answers a DNS message as the DNS server does, hosts and fake addresses included. A
	// nil answer is that the message is none; dns.ErrDisabled as above.
	AnswerDNS(ctx context.Context, message []byte) ([]byte, error)
	// FlushDNS forgets what name servers have answered, FlushFakeIP all fake addresses. Without DNS
	// there is nothing to forget, and that is no error.
	FlushDNS() error
	FlushFakeIP() error
	// Place says where an address is; the zero Place is that nothing is known.
	Place(ip netip.Addr) flow.Place
	// Select makes member the choice of the group called name, or pins a group that chooses by itself;
	// group.ErrNoMember is that there is no such group or member.
	Select(name, member string) error
	// Unpin takes the pin out of the group called name. It is not known where there is no such group,
	// or none that can be pinned.
	Unpin(name string) (known bool)
	// Health is what tests have found of a node or group.
	Health(i *outbound.Info) health.State
	// TestProxy tests a node, or a group through its choice, now. An error that is
	// context.DeadlineExceeded means that there was no answer within timeout.
	TestProxy(ctx context.Context, o outbound.Outbound, probe health.Probe, timeout time.Duration) (delay uint16, err error)
	// TestGroup tests all members of a group now.
	TestGroup(ctx context.Context, g group.Group, probe health.Probe, timeout time.Duration) []health.Result
	// HealthCount counts what tests find: what was read of Health at another count may be out of date.
	HealthCount() uint64
	HealthPlan() health.PlannerState
	// Vitals is how the relay is. It waits for nothing.
	Vitals() *vitals.Vitals
	// Revision is Config, and a word that no other configuration has had.
	Revision() (c *config.Config, revision string)
	// Patch clones the running configuration, lets change edit it, and applies the result or nothing. Where
	// expected is there and says no to the revision that runs, it fails with config.ErrStale; the same goes
	// for Load.
	Patch(expected func(revision string) bool, change func(*config.Config) error) error
	// Load applies the configuration in payload, else in the file path, else in the file the
	// daemon was started with. Without force the listening ports stay as they are.
	Load(path, payload string, force bool, expected func(revision string) bool) error
	// Plan says what Load would do, and Judge what is wrong with the configuration: with an error it cannot be
	// read. Both touch nothing.
	Plan(path, payload string, force bool) (*config.Plan, error)
	Judge(path, payload string) (c *config.Config, diags config.Diagnostics, err error)
}

// Options are what a controller is made of.
type Options struct {
	Relay Relay
	Hub   *logs.Hub

	Version string
	Process Process         // nil: it cannot be restarted or upgraded
	Sockets *sysnet.Sockets // nil: nobody keeps account of the listening sockets
}

// Controller serves the API. It is a part of every change of the configuration.
type Controller struct {
	o        Options
	log      *slog.Logger
	settings atomic.Pointer[settings]
	memory   memory
	snapshot snapshots
	nodes    nodesText

	http    *fasthttp.Server // of TCP listeners
	local   *fasthttp.Server // of the Unix socket and the named pipe, whose peers the system knows
	streams *rt.Server
	ctx     context.Context
	end     context.CancelFunc
	panics  atomic.Int64

	documents map[string]document
	questions chan struct{} // holds one element for each question that DoH answers

	live  map[endpoint]*listener                 // changed under the relay's one change at a time
	shown atomic.Pointer[map[endpoint]*listener] // live, for those who do not wait for a change
	began time.Time
	serve sync.WaitGroup
}

// Limits of the API; those of bodies are in bodies.go.
const (
	maxHead       = 32 << 10
	maxConns      = 4096
	maxStreams    = 256
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	stopTimeout   = time.Second
	streamTimeout = 10 * time.Second
)

// New makes a controller that listens nowhere yet.
func New(o Options) *Controller {
	c := &Controller{o: o, log: o.Hub.Logger(), live: make(map[endpoint]*listener), questions: make(chan struct{}, maxQuestions), documents: newDocuments()}
	c.began = time.Now()
	c.ctx, c.end = context.WithCancel(context.Background())
	c.settings.Store(new(settings))
	r := router.New()
	c.streams = server.Register(r, c, rt.Options{
		Context: c.ctx, Authenticate: c.authenticate, CheckOrigin: c.checkOrigin, OnPanic: c.onPanic,
		MaxStreams: maxStreams, WriteTimeout: streamTimeout,
	})
	handler := c.guard(r.Handler)
	c.http, c.local = c.newServer(handler, false), c.newServer(handler, true)
	return c
}

// newServer makes an HTTP server. Local clients may send what those may who know the secret.
func (c *Controller) newServer(handler fasthttp.RequestHandler, local bool) *fasthttp.Server {
	return &fasthttp.Server{
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			return fasthttp.RequestConfig{MaxRequestBodySize: c.most(h, local)}
		},
		Handler: handler, Name: "switchyard", NoDefaultServerHeader: true,
		ReadBufferSize: maxHead, MaxRequestBodySize: maxGuestBody, Concurrency: maxConns,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		CloseOnShutdown: true, DisablePreParseMultipartForm: true, NoDefaultContentType: true,
		Logger: discard{}, ErrorHandler: c.malformed,
	}
}

// discard drops what fasthttp says of clients that send nonsense.
type discard struct{}

func (discard) Printf(string, ...any) {}

// Stop ends the listeners, the streams and what is being answered, and waits for them.
func (c *Controller) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	c.end()
	for _, l := range c.live {
		l.close()
	}
	var errs []error
	for _, s := range []*fasthttp.Server{c.http, c.local} {
		err := s.ShutdownWithContext(ctx)
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err) // else what is left ends with the process
		}
	}
	c.streams.Wait()
	c.serve.Wait()
	return errors.Join(errs...)
}

func (c *Controller) onPanic(v any, stack []byte) {
	c.panics.Add(1)
	c.log.Error("panic in a request", "panic", v, "stack", string(stack))
}

// guard is what every request passes: CORS, preflights, whom the request is for, and the pages
// beside the contract.
func (c *Controller) guard(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer func() {
			if v := recover(); v != nil {
				c.onPanic(v, nil)
				ctx.Response.Reset()
				rt.Fail(ctx, fasthttp.StatusInternalServerError)
			}
		}()
		s := c.settings.Load()
		s.cors(ctx)
		if s.isDoH(ctx) && !s.explicit { // it asks for no secret: pages are let in by name alone
			ctx.Response.Header.Del("Access-Control-Allow-Origin")
		}
		switch {
		case !isHTTP1(&ctx.Request.Header):
			refuse(ctx, fasthttp.StatusHTTPVersionNotSupported)
		case !isClear(ctx.Request.Header.RawHeaders()):
			refuse(ctx, fasthttp.StatusBadRequest)
		case isPreflight(ctx):
			s.preflight(ctx)
		case !c.allows(ctx):
			rt.Fail(ctx, fasthttp.StatusForbidden)
		case isDebug(ctx):
			c.debug(ctx)
		case isUI(ctx):
			c.serveUI(ctx)
		case c.isDocs(ctx):
			c.serveDocs(ctx)
		case s.isDoH(ctx):
			c.serveDoH(ctx)
		default:
			next(ctx)
		}
	}
}

// isLocal says whether a request came over the Unix socket or the named pipe, where the peer is known already.
func isLocal(ctx *fasthttp.RequestCtx) bool {
	switch ctx.LocalAddr().Network() {
	case "unix", "pipe":
		return true
	}
	return false
}
