package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// checkDNS judges the resolver, unless it is switched off. names are those of proxies and groups.
func (c *Config) checkDNS(d *decoder, names []string) {
	dns := &c.DNS
	if !dns.Enable {
		c.note(d, "dns", "is switched off: the system's resolver is asked")
		return
	}
	k := dnsCheck{d, names, c}
	k.defaults()
	if len(dns.Nameserver) == 0 {
		k.report(Error, "dns.nameserver", "want at least one name server, such as 1.1.1.1 or https://dns.example/dns-query")
	}
	if len(dns.DefaultNameserver) == 0 {
		k.report(Error, "dns.default-nameserver", "want at least one name server, or leave the key out")
	}
	if dns.RespectRules && len(dns.ProxyServerNameserver) == 0 {
		k.report(Error, "dns.respect-rules", "needs proxy-server-nameserver: name servers that are reached without a proxy, for the names of proxies")
	}
	for _, l := range []struct {
		key  string
		list []Ref
	}{
		{"dns.nameserver", dns.Nameserver},
		{"dns.fallback", dns.Fallback},
		{"dns.proxy-server-nameserver", dns.ProxyServerNameserver},
		{"dns.direct-nameserver", dns.DirectNameserver},
	} {
		for i, s := range l.list {
			k.server(s.Pos, fmt.Sprintf("%s[%d]", l.key, i), s.Name)
		}
	}
	for i, s := range dns.DefaultNameserver {
		path := fmt.Sprintf("dns.default-nameserver[%d]", i)
		if spec := k.server(s.Pos, path, s.Name); spec != nil && spec.Addr.Host != "" {
			d.report(Error, s.Pos, path, "want an address: this server resolves the names of the others", "")
		}
	}
	k.policy("dns.nameserver-policy", dns.Policy)
	k.policy("dns.proxy-server-nameserver-policy", dns.ProxyServerPolicy)
	if len(dns.ProxyServerPolicy) > 0 && len(dns.ProxyServerNameserver) == 0 {
		k.report(Error, "dns.proxy-server-nameserver-policy", "needs proxy-server-nameserver")
	}
	k.fallbackFilter()
	k.fakeIP()
	if a := strings.ToLower(dns.CacheAlgorithm); a != "" && a != "lru" && a != "arc" {
		k.report(Warning, "dns.cache-algorithm", fmt.Sprintf("want lru or arc, got %q: arc is used", dns.CacheAlgorithm))
	}
}

// dnsCheck judges the parts of the resolver.
type dnsCheck struct {
	d     *decoder
	names []string
	c     *Config
}

// report says something of a key, where it stands or else where dns does.
func (k *dnsCheck) report(s Severity, key, message string) {
	at, there := k.d.places[key]
	if !there {
		at = k.d.places["dns"]
	}
	k.d.report(s, at, key, message, "")
}

// leftOut warns of a pattern that cannot match anything; err says why.
func (k *dnsCheck) leftOut(at Pos, path string, err error) {
	k.d.report(Warning, at, path, "matches no name, and is left out", err.Error())
}

// defaults are the name servers of a section that names none.
func (k *dnsCheck) defaults() {
	if k.c.DNS.Nameserver != nil {
		return
	}
	list := refs("https://doh.pub/dns-query", "tls://223.5.5.5")
	for i := range list {
		list[i].Pos = k.d.places["dns"]
	}
	k.c.DNS.Nameserver = list
	k.report(Note, "dns.nameserver", fmt.Sprintf("is not there: %s and %s are asked, unless it names others", list[0].Name, list[1].Name))
}

// server judges one name server. What it goes through is a proxy or a group, else an interface, which
// may come later.
func (k *dnsCheck) server(at Pos, path, text string) *nameserver.Server {
	s, err := nameserver.Parse(text)
	if err != nil {
		hint := ""
		var unknown *nameserver.UnknownParameter
		if errors.As(err, &unknown) {
			hint = k.d.nearest(unknown.Name, nameserver.Parameters())
		}
		k.d.report(Error, at, path, err.Error(), hint)
		return nil
	}
	if k.own(s) {
		k.d.report(Error, at, path, "this is dns.listen: the server would ask itself", "")
	}
	if s.Via == "" || s.Via == nameserver.Rules {
		return s
	}
	if slices.Contains(k.names, s.Via) {
		if i := slices.IndexFunc(k.c.Proxies, func(p Proxy) bool { return p.Name == s.Via }); i >= 0 {
			k.node(at, path, s, &k.c.Proxies[i])
		}
		return s
	}
	if hint := k.d.nearest(s.Via, k.names); hint != "" {
		k.d.report(Warning, at, path, fmt.Sprintf("no proxy or group is called %q: it is taken for an interface", s.Via), hint)
	}
	return s
}

// node judges the node that a name server is reached through.
func (k *dnsCheck) node(at Pos, path string, s *nameserver.Server, p *Proxy) {
	if p.Type == "dns" {
		k.d.report(Error, at, path, fmt.Sprintf("the node %q leads to this resolver: it would ask itself", p.Name), "")
		return
	}
	instead := ""
	switch {
	case p.UDP:
		return
	case s.Scheme == nameserver.UDP:
		instead = fmt.Sprintf("write tcp://%s or tls://…", s.Addr)
	case s.Scheme == nameserver.QUIC:
		instead = "write tls://… or https://…"
	case s.H3:
		instead = "leave h3=true out"
	default:
		return
	}
	if p.Type != "http" {
		instead += ", or give the node udp: true"
	}
	k.d.report(Warning, at, path, fmt.Sprintf("is asked over UDP, which the node %q does not carry", p.Name), instead)
}

// own says whether a name server is the one that dns.listen makes.
func (k *dnsCheck) own(s *nameserver.Server) bool {
	listen, err := netip.ParseAddrPort(k.c.DNS.Listen)
	if strings.HasPrefix(k.c.DNS.Listen, ":") {
		listen, err = netip.ParseAddrPort("[::]" + k.c.DNS.Listen) // both families
	}
	if err != nil || s.Via != "" || s.Scheme > nameserver.TCP || s.Addr.Port != listen.Port() || listen.Port() == 0 {
		return false
	}
	ip := s.Addr.IP
	return ip == listen.Addr() || listen.Addr().IsUnspecified() &&
		(ip.IsLoopback() || ip.IsUnspecified()) && (ip.Is4() || listen.Addr().Is6())
}

func (k *dnsCheck) policy(path string, p NameserverPolicy) {
	seen := make(map[string]Pos) // patterns that no list parts
	for _, l := range p {
		path := join(path, l.Name)
		n, errs := parseNames(l.Name)
		for _, err := range errs {
			k.d.report(Error, l.Pos, path, err.Error(), "")
		}
		for _, pattern := range n.Patterns {
			if first, twice := seen[pattern]; twice {
				k.d.report(Warning, l.Pos, path, fmt.Sprintf("%q stands in line %d too, and is left out here", pattern, first.Line), "")
				continue
			}
			seen[pattern] = l.Pos
		}
		if len(n.GeoSites)+len(n.RuleSets) > 0 {
			clear(seen)
		}
		k.ruleSets(l.Pos, path, n)
		if len(l.Values) == 0 {
			k.d.report(Error, l.Pos, path, "want at least one name server", "")
		}
		for _, text := range l.Values {
			k.server(l.Pos, path, text)
		}
	}
}

// ruleSets says which rule sets are not there, or hold no names.
func (k *dnsCheck) ruleSets(at Pos, path string, n Names) {
	for _, name := range n.RuleSets {
		k.ruleSet(at, path, name)
	}
}

func (k *dnsCheck) ruleSet(at Pos, path, name string) {
	known := make([]string, len(k.c.RuleProviders))
	for i := range k.c.RuleProviders {
		p := &k.c.RuleProviders[i]
		if known[i] = p.Name; p.Name == name {
			if p.Behavior == "ipcidr" {
				k.d.report(Error, at, path, fmt.Sprintf("the rule set %q holds addresses and no names", name), "")
			}
			return
		}
	}
	k.d.report(Error, at, path, fmt.Sprintf("no rule set is called %q", name), k.d.nearest(name, known))
}

func (k *dnsCheck) fallbackFilter() {
	for i, text := range k.c.DNS.FallbackFilter.Domain {
		if _, err := ParsePattern(text); err != nil {
			path := fmt.Sprintf("dns.fallback-filter.domain[%d]", i)
			k.leftOut(k.d.places[path], path, err)
		}
	}
}

func (k *dnsCheck) fakeIP() {
	dns := &k.c.DNS
	if !strings.EqualFold(dns.EnhancedMode, "fake-ip") {
		return
	}
	if dns.FakeIPRange.IsValid() && !dns.FakeIPRange.Addr().Is4() {
		k.report(Error, "dns.fake-ip-range", "want a range of IPv4; that of IPv6 is fake-ip-range6")
	}
	if dns.FakeIPRange6.IsValid() && !dns.FakeIPRange6.Addr().Is6() {
		k.report(Error, "dns.fake-ip-range6", "want a range of IPv6")
	}
	for _, r := range []struct {
		key string
		p   netip.Prefix
	}{{"dns.fake-ip-range", dns.FakeIPRange}, {"dns.fake-ip-range6", dns.FakeIPRange6}} {
		if r.p.IsValid() && r.p.Addr().BitLen()-r.p.Bits() < minFakeBits {
			k.report(Error, r.key, fmt.Sprintf("%s is too small: want at least %d addresses", r.p, 1<<minFakeBits))
		}
	}
	k.fakeIPFilter()
}

func (k *dnsCheck) fakeIPFilter() {
	for i, f := range k.c.DNS.FakeIPFilter {
		path := fmt.Sprintf("dns.fake-ip-filter[%d]", i)
		if k.c.DNS.FakeIPFilterMode == "rule" {
			k.filterRule(f, path)
			continue
		}
		n, errs := parseNames(f.Name)
		for _, err := range errs {
			if errors.Is(err, match.ErrPattern) {
				k.leftOut(f.Pos, path, err)
			} else {
				k.d.report(Error, f.Pos, path, err.Error(), "")
			}
		}
		k.ruleSets(f.Pos, path, n)
	}
}

// minFakeBits is the size of the smallest range of fake addresses.
const minFakeBits = 5

// filterRule judges a rule that says whether names get fake addresses.
func (k *dnsCheck) filterRule(f Ref, path string) {
	types := []string{"DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-REGEX", "DOMAIN-WILDCARD", "GEOSITE", "RULE-SET", "MATCH"}
	r, err := rule.Parse(f.Name)
	var unknown *rule.UnknownType
	switch {
	case errors.As(err, &unknown):
		k.d.report(Error, f.Pos, path, err.Error(), k.d.nearest(unknown.Type, types))
	case err != nil:
		k.d.report(Error, f.Pos, path, err.Error(), "")
	case r.Target != FakeIP && r.Target != RealIP:
		k.d.report(Error, f.Pos, path, fmt.Sprintf("want the target %s or %s, got %q", FakeIP, RealIP, r.Target), k.d.nearest(r.Target, []string{FakeIP, RealIP}))
	case !slices.Contains(types, r.Type):
		k.d.report(Error, f.Pos, path, fmt.Sprintf("a rule of type %s looks at more than a name", r.Type), "")
	case r.Type == "RULE-SET":
		k.ruleSet(f.Pos, path, r.Payload)
	}
}
