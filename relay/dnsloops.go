package relay

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// loops finds the name servers that can never be asked: those whose way leads through a node whose name
// only they, or others like them, can resolve, and those whose own name only such servers can. What the
// rules decide is not known before.
type loops struct {
	c       *config.Config
	hosts   *hosts.Table
	proxies map[string]*config.Proxy
	groups  map[string]*config.Group
	can     map[string]bool     // servers, nodes and groups that can be reached
	needs   map[string][]string // of those that cannot, as far as is known
}

// checkLoops reports name servers that wait for themselves, with the way back.
func (b *builder) checkLoops() {
	if !b.Config.DNS.Enable || b.naming == nil || b.naming.hosts == nil {
		return
	}
	l := &loops{
		c: b.Config, hosts: b.naming.hosts, can: make(map[string]bool),
		proxies: make(map[string]*config.Proxy), groups: make(map[string]*config.Group),
	}
	for i := range b.Config.Proxies {
		l.proxies[b.Config.Proxies[i].Name] = &b.Config.Proxies[i]
	}
	for i := range b.Config.Groups {
		l.groups[b.Config.Groups[i].Name] = &b.Config.Groups[i]
	}
	servers := l.servers()
	for again := true; again; { // until nothing more can be reached
		again = false
		l.needs = make(map[string][]string)
		for _, s := range servers {
			again = l.server(s.Name) || again
		}
	}
	told := make(map[string]bool)
	for _, s := range servers {
		if way := strings.Join(l.wayBack(serverStep(s.Name)), " → "); way != "" && !told[way] {
			told[way] = true
			b.problem = append(b.problem, config.Diagnostic{
				Severity: config.Error, File: b.Config.File, Line: s.Pos.Line, Column: s.Pos.Column, Path: "dns",
				Message: "a name server waits for itself: " + way,
				Hint:    "let another server resolve the proxy's name (proxy-server-nameserver), or give the proxy an address",
			})
		}
	}
}

// servers are all name servers of the section.
func (l *loops) servers() []config.Ref {
	d := &l.c.DNS
	all := slices.Concat(d.DefaultNameserver, l.ruled(d.Nameserver), l.ruled(d.Fallback), d.ProxyServerNameserver, d.DirectNameserver)
	for _, p := range d.Policy {
		all = append(all, l.ruled(valuesOf(p))...)
	}
	for _, p := range d.ProxyServerPolicy {
		all = append(all, valuesOf(p)...)
	}
	return all
}

func valuesOf(p config.Listing) []config.Ref {
	list := make([]config.Ref, len(p.Values))
	for i, v := range p.Values {
		list[i] = config.Ref{Name: v, Pos: p.Pos}
	}
	return list
}

// ruled are servers as respect-rules has them: those that say nothing else go where the rules lead.
func (l *loops) ruled(list []config.Ref) []config.Ref {
	if !l.c.DNS.RespectRules {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		s, err := nameserver.Parse(list[i].Name)
		if err != nil || s.Via != "" {
			continue // an error is what config has reported
		}
		sep := "#"
		if strings.Contains(list[i].Name, "#") {
			sep = "&"
		}
		list[i].Name += sep + nameserver.Rules
	}
	return list
}

// resolving are the servers that may be asked for the name of a node. What is in a list is not known before
// it is loaded: it may hold the name.
func (l *loops) resolving(host string) (all []config.Ref) {
	d := &l.c.DNS
	list, policy, ruled := slices.Concat(d.Nameserver, d.Fallback), d.Policy, l.ruled
	if len(d.ProxyServerNameserver) > 0 {
		list, policy = d.ProxyServerNameserver, d.ProxyServerPolicy
		ruled = func(list []config.Ref) []config.Ref { return list }
	}
	var run match.Patterns[[]config.Ref] // patterns that follow each other: the one that fits best decides
	for _, p := range policy {
		names, err := config.ParseNames(p.Name)
		if err != nil {
			continue // which config has reported
		}
		servers := ruled(valuesOf(p))
		for _, pattern := range names.Patterns {
			_ = run.Add(pattern, servers) // the first of two stays
		}
		if len(names.GeoSites)+len(names.RuleSets) > 0 {
			if found, ok := run.Find(host); ok {
				return append(all, found...)
			}
			run, all = match.Patterns[[]config.Ref]{}, append(all, servers...)
		}
	}
	if found, ok := run.Find(host); ok {
		return append(all, found...)
	}
	return append(all, ruled(list)...)
}

func serverStep(text string) string {
	s, err := nameserver.Parse(text)
	if err != nil {
		return text
	}
	if s.Via == "" {
		return s.String()
	}
	return s.String() + "#" + s.Via
}

// server says whether it is news that a server can be reached.
func (l *loops) server(text string) bool {
	step := serverStep(text)
	if l.can[step] {
		return false
	}
	s, err := nameserver.Parse(text)
	if err != nil {
		return false // which config has reported
	}
	if s.Via != "" && s.Via != nameserver.Rules && !l.target(s.Via) {
		l.needs[step] = []string{s.Via}
		return false
	}
	if s.Addr.Host != "" && l.straight(s.Via) && !l.named(step, s.Addr.Host) {
		return false
	}
	l.can[step] = true
	return true
}

// straight says whether a server is connected to from here, so that its name is resolved here: through a
// proxy the far end does that.
func (l *loops) straight(via string) bool {
	switch via {
	case "", "DIRECT", "COMPATIBLE":
		return true
	case nameserver.Rules, "GLOBAL", "REJECT", "REJECT-DROP":
		return false
	}
	if p := l.proxies[via]; p != nil {
		return p.Type == "direct" && p.DialerProxy == ""
	}
	return l.groups[via] == nil // an interface
}

// named says whether the name of a server can be resolved, which is for default-nameserver to do.
func (l *loops) named(step, host string) bool {
	if e, ok := l.hosts.Resolve(host); ok && e.Alias == "" {
		return true
	}
	for _, s := range l.c.DNS.DefaultNameserver {
		if l.can[serverStep(s.Name)] {
			return true
		}
		l.needs[step] = append(l.needs[step], serverStep(s.Name))
	}
	return len(l.c.DNS.DefaultNameserver) == 0 // which config has reported
}

// target says whether a node or group can be reached, by what is known so far. An interface can.
func (l *loops) target(name string) bool {
	if l.can[name] {
		return true
	}
	if _, asked := l.needs[name]; asked {
		return false
	}
	l.needs[name] = nil
	ok := true
	if g := l.groups[name]; g != nil {
		ok = len(g.Proxies) == 0
		for _, m := range g.Proxies {
			if l.target(m.Name) {
				ok = true
			} else {
				l.needs[name] = append(l.needs[name], m.Name)
			}
		}
	} else if p := l.proxies[name]; p != nil {
		ok = l.node(p)
	}
	l.can[name] = ok
	return ok
}

func (l *loops) node(p *config.Proxy) bool {
	if p.DialerProxy != "" {
		if !l.target(p.DialerProxy) {
			l.needs[p.Name] = append(l.needs[p.Name], p.DialerProxy)
			return false
		}
		return true // the other end resolves its name
	}
	if p.Server == "" {
		return true
	}
	if _, err := netip.ParseAddr(strings.Trim(p.Server, "[]")); err == nil {
		return true
	}
	host := strings.ToLower(p.Server)
	if e, ok := l.hosts.Resolve(host); ok {
		if e.Alias == "" {
			return true
		}
		host = e.Alias
	}
	for _, s := range l.resolving(host) {
		if l.can[serverStep(s.Name)] {
			return true
		}
		l.needs[p.Name] = append(l.needs[p.Name], serverStep(s.Name))
	}
	return false
}

// wayBack is the way from something that cannot be reached back to itself, or to where it goes round.
func (l *loops) wayBack(step string) []string {
	if l.can[step] || len(l.needs[step]) == 0 {
		return nil
	}
	var way []string
	for {
		way = append(way, step)
		next := ""
		for _, n := range l.needs[step] {
			if !l.can[n] {
				next = n
				break
			}
		}
		if next == "" {
			return nil
		}
		if i := slices.Index(way, next); i >= 0 {
			return append(way[i:], next)
		}
		step = next
	}
}
