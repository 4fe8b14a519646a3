package relay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/provider"
	"github.com/switchyard-proxy/switchyard/relay/subscription"
)

// proxyProvider is a proxy provider of the configuration: where its nodes come from, and those there are.
type proxyProvider struct {
	supply
	maker
	config  config.ProxyProvider
	etag    bool // validators are sent
	unified bool
	kind    provider.Kind
	probe   health.Probe // its URL is "" where the provider tests nothing
	source  *provider.Source[*nodeSet]
	nodes   atomic.Pointer[nodeSet]               // never nil
	used    atomic.Pointer[subscription.UserInfo] // nil where no server has said it
}

// nodeSet are the nodes of a provider at one time.
type nodeSet struct {
	list []outbound.Outbound
	made map[string]made
	from *config.NodeList // and what is wrong with some; without nodes
	own  bool             // they are those of the file, which something that is loaded replaces
}

// proxyProviders makes the proxy providers of the configuration. One whose settings stay is kept with its
// nodes; of others the nodes that stay the same are. What is on disk is read now, and nothing waits for a
// download.
func (b *builder) proxyProviders() {
	b.ProxyProviders = make([]*proxyProvider, 0, len(b.Config.ProxyProviders))
	b.providers = make(map[string]*proxyProvider, len(b.Config.ProxyProviders))
	for i := range b.Config.ProxyProviders {
		c := &b.Config.ProxyProviders[i]
		p, fresh := b.keptNodes(c), false
		if p == nil {
			if p = b.newProxyProvider(c); p == nil {
				continue
			}
			fresh = true
		}
		if !b.alone(b.proxyPlace(c), p.path) {
			continue
		}
		b.ProxyProviders = append(b.ProxyProviders, p)
		b.providers[c.Name] = p
		if fresh && (b.relay.engine != nil || b.relay.plans) { // else it is only judged
			_ = p.source.Load() // it says itself what fails
		}
	}
}

// proxyPlace says where proxy provider c is.
func (b *builder) proxyPlace(c *config.ProxyProvider) *place {
	p := &place{kind: "proxy", name: c.Name, how: c.Type, url: c.URL, path: c.Path, pos: c.Pos}
	for i := range b.Config.ProxyProviders {
		other := &b.Config.ProxyProviders[i]
		if other.Name == c.Name {
			break
		}
		p.second = p.second || other.Type == "http" && other.Path == "" && other.URL == c.URL
	}
	return p
}

// keptNodes is the provider that runs and has the settings of c, or nil.
func (b *builder) keptNodes(c *config.ProxyProvider) *proxyProvider {
	if b.prev == nil {
		return nil
	}
	old := b.prev.providers[c.Name]
	if old == nil || old.etag != b.Config.ETagSupport || old.unified != b.Config.UnifiedDelay || old.base != b.base {
		return nil
	}
	if !config.Same(&old.config, c) {
		return nil
	}
	path, err := b.file(b.proxyPlace(c))
	if err != nil || path != old.path || path != "" && b.free(path) != nil {
		return nil // a link leads elsewhere now, or the file has come to be the daemon's own
	}
	return old
}

func (b *builder) newProxyProvider(c *config.ProxyProvider) *proxyProvider {
	path, ok := b.claim(b.proxyPlace(c))
	if !ok {
		return nil
	}
	p := &proxyProvider{
		supply: newSupply(path), maker: b.maker, config: *c,
		etag: b.Config.ETagSupport, unified: b.Config.UnifiedDelay,
	}
	p.probe = b.providerProbe(c)
	p.nodes.Store(&nodeSet{})
	if old := b.prev.provider(c.Name); old != nil {
		now := old.nodes.Load()
		p.nodes.Store(&nodeSet{made: now.made}) // nodes that stay the same are kept
		if !now.own {
			p.nodes.Store(p.again(now)) // until there is something better
		}
		if old.config.URL == c.URL {
			p.used.Store(old.used.Load())
		}
	}
	r := b.relay
	settings := provider.Config[*nodeSet]{
		Name: c.Name, Path: path, Interval: c.Interval, Log: r.log, Origin: c.URL, Parse: p.parse,
		Use: func(s *nodeSet) {
			p.nodes.Store(s)
			r.nodesChanged(p)
		},
	}
	if r.store != nil {
		settings.Memory = r.store.Memory()
	}
	settings.Open, settings.Replace = b.Config.Paths.Open, replaceIn(b.Config.Paths)
	switch c.Type {
	case "http":
		settings.Kind = provider.HTTP
		settings.Get = p.get
		p.recall()
	case "file":
		settings.Kind = provider.File
	default:
		settings.Kind = provider.Inline
	}
	p.kind, p.source = settings.Kind, provider.New(settings)
	if now := p.nodes.Load(); c.Payload != nil && len(now.list) == 0 {
		spare := p.make(c.Payload)
		spare.own = true
		p.nodes.Store(spare)
	}
	p.run = p.source.Run
	return p
}

// provider is the proxy provider called name, or nil; n may be nil.
func (n *Running) provider(name string) *proxyProvider {
	if n == nil {
		return nil
	}
	return n.providers[name]
}

// providerProbe is the test that a provider wants of its nodes.
func (b *builder) providerProbe(c *config.ProxyProvider) (probe health.Probe) {
	path := "proxy-providers." + c.Name + ".health-check"
	expected, err := health.ParseStatus(c.HealthCheck.ExpectedStatus)
	if err != nil {
		b.report(c.HealthCheck.Places.At("expected-status", c.Pos), path+".expected-status", err.Error())
	}
	probe = health.Probe{Expected: expected, Unified: b.Config.UnifiedDelay}
	if probe.URL = c.HealthCheck.URL; probe.URL == "" {
		if !c.HealthCheck.Enable {
			return probe
		}
		probe.URL = testURL
	}
	if err := health.CheckURL(probe.URL); err != nil {
		b.report(c.HealthCheck.Places.At("url", c.Pos), path+".url", err.Error())
	}
	return probe
}

// parse reads a list of nodes. It is called by one goroutine at a time.
func (p *proxyProvider) parse(body []byte) (*nodeSet, error) {
	list := p.config.Payload
	if p.config.Type != "inline" {
		var err error
		if list, err = p.config.ReadNodes(body); err != nil {
			return nil, err
		}
	}
	s := p.make(list)
	if len(s.list) == 0 {
		return nil, fmt.Errorf("no node can be used: %s", s.from.Problems[0])
	}
	return s, nil
}

// again are the nodes of old as p makes them.
func (p *proxyProvider) again(old *nodeSet) *nodeSet {
	list := &config.NodeList{}
	if old.from != nil {
		list.Problems, list.Count = old.from.Problems, old.from.Count
	}
	for _, o := range old.list {
		list.Nodes = append(list.Nodes, old.made[o.Info().Name].proxy)
	}
	p.nodes.Store(&nodeSet{made: old.made})
	return p.make(list)
}

// make makes the nodes of a list, or keeps those that are made of the same.
func (p *proxyProvider) make(list *config.NodeList) *nodeSet {
	old := p.nodes.Load().made
	s := &nodeSet{
		list: make([]outbound.Outbound, 0, len(list.Nodes)), made: make(map[string]made, len(list.Nodes)),
		from: &config.NodeList{Problems: slices.Clone(list.Problems), Count: list.Count},
	}
	for i := range list.Nodes {
		node := &list.Nodes[i]
		m, err := p.keep(*node, old[node.Name], p.config.Name)
		if err != nil {
			s.from.Add(config.NodeProblem{Index: i, Line: node.Pos.Line, Column: node.Pos.Column, Name: node.Name, Text: err.Error()})
			continue
		}
		s.made[node.Name] = m
		s.list = append(s.list, m.out)
	}
	return s
}

// get downloads the list.
func (p *proxyProvider) get(ctx context.Context, have fetch.Validators) (*fetch.Response, error) {
	c := &p.config
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req := p.relay.listRequest(c.URL, c.Proxy, c.Header, c.SizeLimit)
	if req.UserAgent == p.relay.Agent {
		req.UserAgent += " (clash.meta)" // by which many servers choose what they send
	}
	if p.etag {
		req.Have = have
	}
	resp, err := fetch.Get(ctx, req)
	if status, ok := errors.AsType[*fetch.StatusError](err); ok { // which may be why it is none
		p.note(status.Header)
	} else if err == nil {
		p.note(resp.Header)
	}
	return resp, err
}

// note keeps what a server says of the subscription.
func (p *proxyProvider) note(h http.Header) {
	u, ok := subscription.Parse(h.Get(subscription.Field))
	if was := p.used.Load(); !ok || was != nil && *was == u {
		return
	}
	p.used.Store(&u)
	b, err := json.Marshal(fact{p.origin(), u})
	if err == nil {
		err = p.relay.store.Facts().Save(p.path, b)
	}
	if err != nil {
		p.relay.log.Warn(fmt.Sprintf("what is used of %q will not survive a restart", p.config.Name), slog.Any("err", err))
	}
}

// recall finds what was said before a restart.
func (p *proxyProvider) recall() {
	if p.used.Load() != nil || p.relay.engine == nil {
		return
	}
	var f fact
	if b, ok := p.relay.store.Facts().Load(p.path); ok && json.Unmarshal(b, &f) == nil && f.Origin == p.origin() {
		p.used.Store(&f.UserInfo)
	}
}

// fact is what is remembered of a subscription: of the one that it was said of.
type fact struct {
	Origin string // a sum, since URLs are secrets
	subscription.UserInfo
}

func (p *proxyProvider) origin() string {
	sum := sha256.Sum256([]byte(p.config.URL))
	return hex.EncodeToString(sum[:])
}

// nodesChanged gives the groups that use p its nodes, where p is part of what runs.
func (r *Relay) nodesChanged(p *proxyProvider) {
	if now := r.current.Load(); now.provider(p.config.Name) == p {
		for _, g := range now.built {
			if slices.Contains(g.uses, p) {
				g.provide() // which may take a while: with no lock held
			}
		}
	}
	r.gathering.Lock()
	defer r.gathering.Unlock()
	now := r.current.Load()
	if now.provider(p.config.Name) != p {
		return
	}
	now.gather()
	r.interrupts.poke()
	r.watch(now)
}

// gather gives groups the members that their providers have now, and makes the list of all outbounds. Relay's
// gathering is held.
func (n *Running) gather() {
	for _, g := range n.built {
		if len(g.uses) == 0 {
			continue
		}
		list := g.gather()
		if !slices.Equal(list, g.Members()) {
			g.SetMembers(list)
		}
		g.tellHollow(len(list) == 1 && list[0] == g.empty)
	}
	x := &index{byName: make(map[string]outbound.Outbound, len(n.Outbounds))}
	for _, p := range n.ProxyProviders {
		for _, o := range p.nodes.Load().list {
			name := o.Info().Name
			if n.Outbounds[name] == nil && x.byName[name] == nil { // the file's own come first
				x.byName[name] = o
				x.sorted = append(x.sorted, o)
			}
		}
	}
	for name, o := range n.Outbounds {
		x.byName[name] = o
		x.sorted = append(x.sorted, o)
	}
	slices.SortFunc(x.sorted, func(a, b outbound.Outbound) int { return cmp.Compare(a.Info().Name, b.Info().Name) })
	n.index.Store(x)
}

// index finds outbounds by name, those of providers among them. Of two providers that have a name the first
// has it here.
type index struct {
	byName map[string]outbound.Outbound
	sorted []outbound.Outbound
}

// wants are the tests that p wants to be repeated; users are the groups that use it.
func (p *proxyProvider) wants(users []group.Group) iter.Seq[health.Want] {
	c := &p.config.HealthCheck
	w := health.Want{
		Probe: p.probe, Interval: time.Duration(cmp.Or(c.Interval, testInterval)) * time.Second,
		Timeout: time.Duration(c.Timeout) * time.Millisecond,
	}
	if c.Lazy {
		w.Used = func() (last time.Time) {
			for _, g := range users {
				if at := g.LastUsed(); at.After(last) {
					last = at
				}
			}
			return last
		}
	}
	return func(yield func(health.Want) bool) {
		if !c.Enable {
			return
		}
		for _, w.Node = range p.nodes.Load().list {
			if !yield(w) {
				return
			}
		}
	}
}
