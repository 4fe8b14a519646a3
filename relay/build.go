package relay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/webui"
)

// Running is one configuration, built. It is immutable but for the nodes of its providers, which groups have as
// members, and what its groups have chosen.
type Running struct {
	Config *config.Config
	// Outbounds are what is built in, and the nodes and groups of the file, by name. See index for all.
	Outbounds map[string]outbound.Outbound
	// Groups are the groups as in the file, with GLOBAL last unless the file has it.
	Groups  []group.Group
	Program *rule.Program
	// ProxyProviders and RuleProviders are those of the file, in its order.
	ProxyProviders []*proxyProvider
	RuleProviders  []*ruleProvider

	naming    *naming
	panel     *webui.Site // nil where none is served
	snapshot  *engine.Snapshot
	made      map[string]made
	built     []*builtGroup
	index     *atomic.Pointer[index]
	providers map[string]*proxyProvider
	ruleSets  map[string]*ruleProvider
	counters  *rule.Counters
	geo       map[geoKey]bool // what the rules refer to
	usedSets  map[string]bool // the rule providers that they refer to
	off       map[int]bool    // the rules that are switched off
	revision  uint64          // of the configuration
}

// builder makes one Running.
type builder struct {
	*Running
	maker
	prev    *Running
	problem config.Diagnostics
	refused map[string]bool   // rule providers that have been reported
	files   map[string]*place // by path: whose file it is
}

// build makes what c says, beside what runs. It opens nothing.
func (r *Relay) build(c *config.Config, prev *Running, off map[int]bool) (*Running, error) {
	b := &builder{
		Running: &Running{
			Config: c, Outbounds: make(map[string]outbound.Outbound), made: make(map[string]made), off: off,
			index: new(atomic.Pointer[index]),
		},
		maker: newMaker(r, c),
		prev:  prev, files: make(map[string]*place),
	}
	b.builtIn()
	for i := range c.Proxies {
		b.proxy(i)
	}
	b.proxyProviders()
	b.groups(r.selections(c, prev))
	b.ruleProviders()
	b.names()
	b.rules()
	b.webPanel()
	if err := b.problem.Err(); err != nil {
		return nil, err
	}
	return b.Running, nil
}

// selections are the members that groups shall have, as somebody has chosen them: in what runs, else
// in what is stored. One that is no member now stays a wish, and comes true when it is one again.
func (r *Relay) selections(c *config.Config, prev *Running) map[string]string {
	chosen := map[string]string{}
	if c.Profile.StoreSelected {
		stored, err := r.store.Selections()
		if err != nil { // the store says so, and recall makes up for it
			r.unread = true
		}
		maps.Copy(chosen, stored)
	}
	if prev != nil {
		for _, g := range prev.Groups {
			if w, ok := g.(group.Wisher); ok {
				if wish, ok := w.Wish(); ok {
					chosen[g.Info().Name] = wish
				}
			}
		}
	}
	return chosen
}

// authorities are the system's and the file's; nil is the system's alone.
func authorities(pems []string) *x509.CertPool {
	if len(pems) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, pem := range pems {
		pool.AppendCertsFromPEM([]byte(pem)) // config knows that it is one
	}
	return pool
}

func (b *builder) add(o outbound.Outbound) {
	b.Outbounds[o.Info().Name] = o
}

// builtIn are the nodes that every configuration has, and the API's words for their types.
var builtIn = []struct{ name, kind string }{
	{"DIRECT", "Direct"},
	{"REJECT", "Reject"},
	{"REJECT-DROP", "RejectDrop"},
	{"COMPATIBLE", "Compatible"},
	{"PASS", "Pass"},
}

func (b *builder) builtIn() {
	for _, o := range builtIn {
		p := config.Proxy{Name: o.name, Type: o.kind}
		out := b.kept(p, b.prev.madeOf(o.name))
		if out == nil {
			out = b.builtInNode(o.name, o.kind)
		}
		b.made[o.name] = made{p, b.base, out}
		b.add(out)
	}
}

func (b *builder) builtInNode(name, kind string) outbound.Outbound {
	info := outbound.Info{Name: name, Type: kind, ID: outbound.NewID(), UDP: true}
	switch kind {
	case "Reject":
		return outbound.NewReject(info, flow.ErrRejected)
	case "RejectDrop":
		return outbound.NewReject(info, flow.ErrDropped)
	case "Pass": // rules go on behind it; whoever dials through it goes nowhere
		return outbound.NewReject(info, flow.ErrRejected)
	}
	return outbound.NewDirect(info, b.dialer(&config.Proxy{}))
}

// proxy builds node i of the file.
func (b *builder) proxy(i int) {
	p := &b.Config.Proxies[i]
	m, err := b.keep(*p, b.prev.madeOf(p.Name), "")
	b.reportNode(i, err)
	b.made[p.Name] = m
	b.add(m.out)
}

// reportNode reports what is wrong with node i of the file, if anything is.
func (b *builder) reportNode(i int, err error) {
	if wrong, ok := errors.AsType[*nodeError](err); ok {
		b.report(b.Config.Proxies[i].Pos, fmt.Sprintf("proxies[%d].%s", i, wrong.key), wrong.text)
	}
}

func (b *builder) report(at config.Pos, path, message string) {
	b.problem = append(b.problem, config.Diagnostic{
		Severity: config.Error, File: b.Config.File, Line: at.Line, Column: at.Column, Path: path, Message: message,
	})
}

var modes = map[config.Mode]engine.Mode{
	config.ModeRule: engine.ByRule, config.ModeGlobal: engine.Global, config.ModeDirect: engine.Direct,
}

// systemLookup asks the system's resolver.
func systemLookup(ctx context.Context, host string, ipv6 bool) ([]netip.Addr, error) {
	network := "ip"
	if !ipv6 {
		network = "ip4"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// logLevel turns the file's word into slog's.
func logLevel(l config.LogLevel) slog.Level {
	switch l {
	case config.LogDebug:
		return slog.LevelDebug
	case config.LogWarning:
		return slog.LevelWarn
	case config.LogError:
		return slog.LevelError
	case config.LogSilent:
		return logs.Silent
	}
	return slog.LevelInfo
}
