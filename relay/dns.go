package relay

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// naming is how names are resolved, and what clients that ask for addresses are told.
type naming struct {
	ipv6   bool         // whether addresses of IPv6 are of use
	hosts  *hosts.Table // for lookups
	listed *hosts.Table // those of the configuration alone, for flows
	// handler answers clients; without it DNS is switched off, and so are the resolvers.
	handler *dns.Handler
	// main resolves what rules and clients ask for, direct what is connected to without a proxy, nodes
	// the names of proxies, and bootstrap those of name servers.
	main, direct, nodes, bootstrap *dns.Resolver

	caches    map[string]*cache.Cache
	upstreams map[string]*dns.Server
	pools     map[string]*fakeip.Pool
	inherits  map[*fakeip.Pool]*fakeip.Pool // new ones, and whose leases they take over; nil: those that are stored
	geo       map[geoKey]bool               // what policies and filters refer to
	sets      map[string]bool               // rule sets, likewise
}

// namingBuilder makes one naming.
type namingBuilder struct {
	*builder
	*naming
	old  *naming // that of the configuration that runs; nil: none
	same bool    // the section is that of old
	env  *rule.Env
}

// names builds the resolvers and what answers clients. Servers, answers and leases that stay the same
// are kept.
func (b *builder) names() {
	n := &namingBuilder{builder: b, naming: &naming{
		ipv6: b.base.ipv6, caches: make(map[string]*cache.Cache), upstreams: make(map[string]*dns.Server),
		pools: make(map[string]*fakeip.Pool), inherits: make(map[*fakeip.Pool]*fakeip.Pool), sets: make(map[string]bool), geo: make(map[geoKey]bool),
	}}
	b.naming = n.naming
	c := &b.Config.DNS
	if b.prev != nil {
		n.old = b.prev.naming
		n.same = c.Same(&b.prev.Config.DNS)
		for name := range n.old.sets { // else what it refers to may be another
			n.same = n.same && b.prev.ruleSets[name] == b.ruleSets[name]
		}
	}
	table, err := hosts.New(hosts.Config{Entries: b.Config.Hosts.Listed(), System: c.Enable && c.UseSystemHosts, Log: b.relay.log})
	if err != nil { // which config has reported: what else is wrong is said all the same
		table, _ = hosts.New(hosts.Config{})
	}
	n.hosts, n.listed = table, table
	if err == nil && c.UseSystemHosts {
		n.listed, _ = hosts.New(hosts.Config{Entries: b.Config.Hosts.Listed()}) // as good as table
	}
	if !c.Enable {
		return
	}
	b.checkLoops()
	n.ipv6 = n.ipv6 && c.IPv6
	n.resolvers()
	n.handler = &dns.Handler{
		Resolver: n.main, IPv6: n.ipv6, Log: b.relay.log, Fake: n.fake(),
	}
	if c.EnhancedMode != "normal" {
		n.handler.Mapping = b.relay.dns.mapping
	}
	if c.UseHosts {
		n.handler.Hosts = table
	}
	if b.relay.geo != nil {
		b.relay.geo.fill(n.naming.geo)
	}
}

// resolvers builds the four of them.
func (n *namingBuilder) resolvers() {
	c := &n.Config.DNS
	rules := ""
	if c.RespectRules {
		rules = nameserver.Rules
	}
	policies := n.policies("dns.nameserver-policy.", c.Policy, rules)
	make1 := func(name string, r dns.Config) *dns.Resolver {
		r.Hosts, r.IPv6, r.IPv6Timeout = n.naming.hosts, n.ipv6, c.IPv6Timeout
		r.Cache, r.Stale = n.cache(name), c.ServeStale > 0
		r.Life, r.Log = n.relay.dns.life, n.relay.log
		return dns.New(r)
	}
	n.bootstrap = make1("default", dns.Config{Servers: n.servers(c.DefaultNameserver, "")})
	n.main = make1("main", dns.Config{Servers: n.servers(c.Nameserver, rules), Policies: policies, Fallback: n.fallback(rules)})
	n.direct, n.nodes = n.main, n.main
	if len(c.DirectNameserver) > 0 {
		d := dns.Config{Servers: n.servers(c.DirectNameserver, "")}
		if c.DirectFollowPolicy {
			d.Policies = policies
		}
		n.direct = make1("direct", d)
	}
	if len(c.ProxyServerNameserver) > 0 {
		n.nodes = make1("proxy-server", dns.Config{
			Servers: n.servers(c.ProxyServerNameserver, ""), Policies: n.policies("dns.proxy-server-nameserver-policy.", c.ProxyServerPolicy, ""),
		})
	}
}

// cache is that of a resolver, which stays while the section does.
func (n *namingBuilder) cache(name string) *cache.Cache {
	if n.same && n.old.caches[name] != nil {
		n.caches[name] = n.old.caches[name]
		return n.caches[name]
	}
	c := &n.Config.DNS
	n.caches[name] = cache.New(cache.Config{
		Size: c.CacheMaxSize, ARC: c.CacheAlgorithm != "" && !strings.EqualFold(c.CacheAlgorithm, "lru"), Keep: c.ServeStale,
	})
	return n.caches[name]
}

func (n *namingBuilder) servers(list []config.Ref, via string) []*dns.Server {
	servers := make([]*dns.Server, 0, len(list))
	for _, s := range list {
		if spec, err := nameserver.Parse(s.Name); err == nil { // config knows that it is one
			servers = append(servers, n.nameServer(s.Name, spec, via))
		}
	}
	return servers
}

// nameServer makes a name server or keeps the one that is written and reached in the same way. via is
// what it is reached through where its text says nothing.
func (n *namingBuilder) nameServer(text string, spec *nameserver.Server, via string) *dns.Server {
	if spec.Via != "" {
		via = spec.Via
	}
	key := fmt.Sprintf("%s\x00%s\x00%v\x00%+v", text, via, n.Config.DNS.PreferH3, n.base)
	s := n.upstreams[key]
	if s == nil && n.old != nil {
		s = n.old.upstreams[key]
	}
	if s == nil {
		c := n.relay.reach(via, n.base)
		c.Roots, c.PreferH3 = n.roots, n.Config.DNS.PreferH3
		s = &dns.Server{Spec: spec, Upstream: upstream.New(spec, c)}
	}
	n.upstreams[key] = s
	return s
}

// policies are those of a section: patterns that follow each other are one.
func (n *namingBuilder) policies(path string, list config.NameserverPolicy, via string) []dns.Policy {
	var all []dns.Policy
	var patterns *match.Patterns[[]*dns.Server]
	for _, l := range list {
		names, err := config.ParseNames(l.Name)
		if err != nil {
			continue // which config has reported
		}
		refs := make([]config.Ref, len(l.Values))
		for i, v := range l.Values {
			refs[i].Name = v
		}
		servers := n.servers(refs, via)
		for _, p := range names.Patterns {
			if patterns == nil {
				patterns = new(match.Patterns[[]*dns.Server])
				all = append(all, dns.Policy{Patterns: patterns})
			}
			_ = patterns.Add(p, servers) // the first of two stays
		}
		for _, set := range n.setsOf(names, l.Pos, path+l.Name) {
			patterns = nil
			all = append(all, dns.Policy{Set: set, Servers: servers})
		}
	}
	return all
}

// setsOf are the lists of sites and the rule sets that names refer to.
func (n *namingBuilder) setsOf(names config.Names, at config.Pos, path string) (list anyOf) {
	add := func(set *rule.Set, err error) {
		if err != nil {
			n.report(at, path, err.Error())
			return
		}
		list = append(list, setOfNames{set: set})
	}
	for _, name := range names.GeoSites {
		add(n.ruleEnv().GeoSite(strings.ToLower(name)))
	}
	for _, name := range names.RuleSets {
		add(n.ruleEnv().RuleSet(name))
	}
	return list
}

// ruleEnv is what names and rules of the section may refer to.
func (n *namingBuilder) ruleEnv() *rule.Env {
	if n.env == nil {
		data := n.relay.geo
		if data == nil { // only judged
			data = newGeoData("", n.relay.log)
		}
		use := data.use(n.Config)
		use.keys = n.naming.geo
		n.env = use.env(&rule.Env{RuleSet: func(name string) (*rule.Set, error) {
			if p := n.ruleSets[name]; p != nil {
				n.sets[name] = true
				return p.set, nil
			}
			return new(rule.Set), nil // which has been reported
		}})
	}
	return n.env
}

// fallback is the second opinion, if there is to be one.
func (n *namingBuilder) fallback(via string) *dns.Fallback {
	c := &n.Config.DNS
	if len(c.Fallback) == 0 {
		return nil
	}
	filter := &c.FallbackFilter
	fb := &dns.Fallback{Servers: n.servers(c.Fallback, via), Lazy: c.FallbackLazyQuery}
	var domains match.DomainsBuilder
	for _, text := range filter.Domain {
		if p, err := config.ParsePattern(text); err == nil {
			_ = domains.Add(p)
		}
	}
	only := n.setsOf(config.Names{GeoSites: filter.GeoSite}, n.Config.Place("dns.fallback-filter"), "dns.fallback-filter.geosite")
	if set, err := domains.Build(); err == nil && set.Len() > 0 {
		only = append(only, setOfNames{domains: set})
	}
	if len(only) > 0 {
		fb.Names = only
	}
	var home *rule.Set
	if filter.GeoIP {
		home, _ = n.ruleEnv().GeoIP(strings.ToLower(filter.GeoIPCode))
	}
	wrong := filter.IPCIDR
	fb.Doubts = func(ip netip.Addr) bool {
		for _, p := range wrong {
			if p.Contains(ip) {
				return true
			}
		}
		return home != nil && !ip.IsPrivate() && !ip.IsLoopback() && !holdsAddr(home, ip)
	}
	return fb
}

// holdsAddr says whether an address is in a set; one that is not loaded holds none.
func holdsAddr(set *rule.Set, ip netip.Addr) bool {
	c := set.Content()
	return c != nil && c.Prefixes != nil && c.Prefixes.Has(ip) != c.Not
}

// anyOf holds a name that one of its sets holds. It is no list of dns.Matcher, so that a name which is
// looked for can stay on the stack.
type anyOf []setOfNames

// Has implements dns.Matcher.
func (a anyOf) Has(n *match.Name) bool {
	for _, m := range a {
		if m.Has(n) {
			return true
		}
	}
	return false
}

// setOfNames is a set of patterns, or a rule set or a list of sites, as its content is now.
type setOfNames struct {
	domains *match.Domains
	set     *rule.Set
}

// Has implements dns.Matcher.
func (s setOfNames) Has(n *match.Name) bool {
	if s.domains != nil {
		return s.domains.Has(n)
	}
	c := s.set.Content()
	switch {
	case c == nil:
		return false
	case c.Domains != nil:
		return c.Domains.Has(n) != c.Not
	case c.Rules != nil:
		hit := matchName(c.Rules, n.String())
		return (hit.Rule != rule.None) != c.Not
	}
	return false
}

// nameFlows lends flows that are nothing but a name.
var nameFlows = sync.Pool{New: func() any {
	return &flow.Flow{LookedUp: true, Process: flow.Process{LookedUp: true}}
}}

// matchName finds the rule that holds for a name of which nothing else is known. host is not kept.
func matchName(p *rule.Program, host string) rule.Hit {
	f := nameFlows.Get().(*flow.Flow)
	f.To.Host = host
	hit := p.Match(f, 0)
	f.To.Host = ""
	nameFlows.Put(f)
	return hit
}

// role is what an address is looked up for.
type role uint8

const (
	forRule   role = iota
	forDirect      // to connect to without a proxy
	forServer      // of a proxy
)

// lookup resolves names as the configuration that runs says when it is asked.
func (r *Relay) lookup(why role) func(context.Context, string) ([]netip.Addr, error) {
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return r.current.Load().naming.lookup(ctx, host, why)
	}
}

func (n *naming) lookup(ctx context.Context, host string, why role) ([]netip.Addr, error) {
	if n.handler == nil {
		if e, ok := n.hosts.Resolve(host); ok && host != localhost {
			if e.Alias == "" {
				return n.usable(e.Addrs), nil
			}
			host = e.Alias
		}
		return systemLookup(ctx, host, n.ipv6)
	}
	switch {
	case dns.Asked(ctx) == host: // it is the server's own name
		return n.bootstrap.Lookup(ctx, host)
	case why == forDirect:
		return n.direct.Lookup(ctx, host)
	case why == forServer:
		return n.nodes.Lookup(ctx, host)
	}
	return n.main.Lookup(ctx, host)
}

// localhost has its addresses whether or not hosts says so: they need no lookup and are no entry.
const localhost = "localhost"

// usable are the addresses whose family is switched on.
func (n *naming) usable(addrs []netip.Addr) []netip.Addr {
	if n.ipv6 {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is6)
}

// restore finds the name that the client of f was given its address for, and what hosts says of it.
func (n *naming) restore(f *flow.Flow) error {
	if f.To.Host == "" {
		if n.handler == nil || f.Kind == flow.Inner {
			return nil
		}
		return n.restoreName(f)
	}
	e, ok := n.listed.Resolve(f.To.Host)
	switch {
	case !ok, f.To.Host == localhost:
	case e.Alias != "":
		f.To.Host = e.Alias
	default:
		if usable := n.usable(e.Addrs); len(usable) > 0 {
			f.To.IP, f.LookedUp, f.DNSMode = usable[rand.IntN(len(usable))], true, flow.DNSFromHosts
		}
	}
	return nil
}

func (n *naming) restoreName(f *flow.Flow) error {
	ip := f.To.IP
	if fake := n.handler.Fake; fake != nil {
		for _, p := range []*fakeip.Pool{fake.V4, fake.V6} {
			if p == nil || !p.Contains(ip) {
				continue
			}
			host, ok := p.Name(ip)
			if !ok {
				fake.LogUnknown(n.handler.Log, ip)
				return fmt.Errorf("%s is %w", ip, flow.ErrNoName)
			}
			f.To, f.DNSMode = flow.Addr{Host: host, Port: f.To.Port}, flow.DNSFakeIP
			return nil
		}
	}
	if n.handler.Mapping == nil {
		return nil
	}
	if host, ok := n.handler.Mapping.Name(ip); ok {
		f.To.Host, f.LookedUp, f.DNSMode = host, true, flow.DNSMapped
	}
	return nil
}

// refer notes what of the section refer to, beside the rules.
func (n *naming) refer(geo map[geoKey]bool, sets map[string]bool) {
	maps.Copy(geo, n.geo)
	maps.Copy(sets, n.sets)
}

// logLeases says what a pool could not do with its store.
func logLeases(log *slog.Logger, err error) {
	if err != nil {
		log.Warn("fake addresses are not remembered as they should be", slog.Any("err", err))
	}
}
