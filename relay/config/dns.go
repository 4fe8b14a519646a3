package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// Names are what a key of nameserver-policy, or a line of fake-ip-filter, stands for.
type Names struct {
	Patterns []string // normalized
	GeoSites []string
	RuleSets []string
}

// ParseNames reads a list with commas between: domain patterns, or behind "geosite:" or "rule-set:" the
// names of lists.
func ParseNames(text string) (n Names, err error) {
	list := &n.Patterns
	for _, l := range []struct {
		prefix string
		to     *[]string
	}{{"geosite:", &n.GeoSites}, {"rule-set:", &n.RuleSets}} {
		if len(text) >= len(l.prefix) && strings.EqualFold(text[:len(l.prefix)], l.prefix) {
			text, list = text[len(l.prefix):], l.to
		}
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if list == &n.Patterns {
			if item, err = ParsePattern(item); err != nil {
				return n, err
			}
		}
		if item == "" {
			return n, errors.New("want a name behind each colon and comma")
		}
		*list = append(*list, item)
	}
	return n, nil
}

// ParsePattern normalizes a domain pattern: lower case, punycode, no dot at its end.
func ParsePattern(text string) (string, error) {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(text), "."), ".")
	for i, l := range labels {
		if l == "" || l == "*" || l == "+" {
			continue
		}
		name, _, err := flow.ParseHost(l)
		if err == nil && name != "" { // digits alone are read as an address, or are none
			labels[i] = name
		}
	}
	pattern := strings.Join(labels, ".")
	var p match.Patterns[bool]
	if err := p.Add(pattern, true); err != nil {
		return "", fmt.Errorf("%q: %w", text, err)
	}
	return pattern, nil
}

// Same says whether two sections say the same, wherever it stands.
func (d *DNS) Same(other *DNS) bool {
	a, b := d.unplaced(), other.unplaced()
	return reflect.DeepEqual(&a, &b)
}

func (d *DNS) unplaced() DNS {
	c := *d
	for _, list := range []*[]Ref{&c.FakeIPFilter, &c.DefaultNameserver, &c.Nameserver, &c.Fallback, &c.ProxyServerNameserver, &c.DirectNameserver} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].Pos = Pos{}
		}
	}
	for _, list := range []*NameserverPolicy{&c.Policy, &c.ProxyServerPolicy} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].Pos = Pos{}
		}
	}
	return c
}

// checkHosts judges what names stand for.
func (c *Config) checkHosts(d *decoder) {
	if c.hostsJudged(d) {
		if loop := hosts.Cycle(c.Hosts.Listed()); len(loop) > 0 {
			d.report(Error, d.places["hosts"], "hosts", "the names lead to each other: "+strings.Join(loop, " → "), "")
		}
	}
}

func (c *Config) hostsJudged(d *decoder) bool {
	good := true
	for _, l := range c.Hosts {
		pattern, err := ParsePattern(l.Name)
		if err == nil {
			err = hosts.Check(pattern, l.Values)
		}
		if err != nil {
			d.report(Error, l.Pos, join("hosts", l.Name), err.Error(), "")
			good = false
		}
	}
	return good
}

// Listed are the hosts with their patterns normalized.
func (h Hosts) Listed() []hosts.Listed {
	list := make([]hosts.Listed, 0, len(h))
	for _, l := range h {
		if pattern, err := ParsePattern(l.Name); err == nil {
			list = append(list, hosts.Listed{Pattern: pattern, Values: l.Values})
		}
	}
	return list
}

// checkDNS judges the resolver, unless it is switched off. names are those of proxies and groups.
func (c *Config) checkDNS(d *decoder, names []string) {
	dns := &c.DNS
	if !dns.Enable {
		c.note(d, "dns", "is switched off: the system's resolver is asked")
		return
	}
	at := d.places["dns"]
	k := dnsCheck{d, names, c}
	if len(dns.Nameserver) == 0 {
		d.report(Error, at, "dns.nameserver", "want at least one name server, such as 1.1.1.1 or https://dns.example/dns-query", "")
	}
	if len(dns.DefaultNameserver) == 0 {
		d.report(Error, at, "dns.default-nameserver", "want at least one name server, or leave the key out", "")
	}
	if dns.RespectRules && len(dns.ProxyServerNameserver) == 0 {
		d.report(Error, at, "dns.respect-rules", "needs proxy-server-nameserver: name servers that are reached without a proxy, for the names of proxies", "")
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
		d.report(Error, at, "dns.proxy-server-nameserver-policy", "needs proxy-server-nameserver", "")
	}
	k.fallbackFilter()
	k.fakeIP()
	if a := strings.ToLower(dns.CacheAlgorithm); a != "" && a != "lru" && a != "arc" {
		d.report(Warning, at, "dns.cache-algorithm", fmt.Sprintf("want lru or arc, got %q: arc is used", dns.CacheAlgorithm), "")
	}
}

// dnsCheck judges the parts of the resolver.
type dnsCheck struct {
	d     *decoder
	names []string
	c     *Config
}

// server judges one name server. What it goes through is a proxy or a group, else an interface, which
// may come later.
func (k *dnsCheck) server(at Pos, path, text string) *nameserver.Server {
	s, err := nameserver.Parse(text)
	if err != nil {
		k.d.report(Error, at, path, err.Error(), "")
		return nil
	}
	if k.own(s) {
		k.d.report(Error, at, path, "this is dns.listen: the server would ask itself", "")
	}
	if s.Via == "" || s.Via == nameserver.Rules || slices.Contains(k.names, s.Via) {
		return s
	}
	if hint := k.d.nearest(s.Via, k.names); hint != "" {
		k.d.report(Warning, at, path, fmt.Sprintf("no proxy or group is called %q: it is taken for an interface", s.Via), hint)
	}
	return s
}

// own says whether a name server is the one that dns.listen makes.
func (k *dnsCheck) own(s *nameserver.Server) bool {
	listen, err := netip.ParseAddrPort(k.c.DNS.Listen)
	if strings.HasPrefix(k.c.DNS.Listen, ":") {
		listen, err = netip.ParseAddrPort("0.0.0.0" + k.c.DNS.Listen)
	}
	if err != nil || s.Via != "" || s.Scheme > nameserver.TCP || s.Addr.Port != listen.Port() || listen.Port() == 0 {
		return false
	}
	return s.Addr.IP == listen.Addr() || listen.Addr().IsUnspecified() && s.Addr.IP.IsLoopback()
}

func (k *dnsCheck) policy(path string, p NameserverPolicy) {
	for _, l := range p {
		n, err := ParseNames(l.Name)
		if err != nil {
			k.d.report(Error, l.Pos, path, err.Error(), "")
		}
		k.ruleSets(l.Pos, join(path, l.Name), n)
		if len(l.Values) == 0 {
			k.d.report(Error, l.Pos, join(path, l.Name), "want at least one name server", "")
		}
		for _, text := range l.Values {
			k.server(l.Pos, join(path, l.Name), text)
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
			k.d.report(Error, k.d.places["dns"], fmt.Sprintf("dns.fallback-filter.domain[%d]", i), err.Error(), "")
		}
	}
}

func (k *dnsCheck) fakeIP() {
	dns, at := &k.c.DNS, k.d.places["dns"]
	if !strings.EqualFold(dns.EnhancedMode, "fake-ip") {
		return
	}
	if dns.FakeIPRange.IsValid() && !dns.FakeIPRange.Addr().Is4() {
		k.d.report(Error, at, "dns.fake-ip-range", "want a range of IPv4; that of IPv6 is fake-ip-range6", "")
	}
	if dns.FakeIPRange6.IsValid() && !dns.FakeIPRange6.Addr().Is6() {
		k.d.report(Error, at, "dns.fake-ip-range6", "want a range of IPv6", "")
	}
	for _, r := range []struct {
		key string
		p   netip.Prefix
	}{{"dns.fake-ip-range", dns.FakeIPRange}, {"dns.fake-ip-range6", dns.FakeIPRange6}} {
		if r.p.IsValid() && r.p.Addr().BitLen()-r.p.Bits() < minFakeBits {
			k.d.report(Error, at, r.key, fmt.Sprintf("%s is too small: want at least %d addresses", r.p, 1<<minFakeBits), "")
		}
	}
	for i, f := range dns.FakeIPFilter {
		path := fmt.Sprintf("dns.fake-ip-filter[%d]", i)
		if dns.FakeIPFilterMode == "rule" {
			k.filterRule(f, path)
			continue
		}
		n, err := ParseNames(f.Name)
		if err != nil {
			k.d.report(Error, f.Pos, path, err.Error(), "")
		}
		k.ruleSets(f.Pos, path, n)
	}
}

// RealNames are the names that get real addresses when nobody says which: what a system asks to find
// out whether it has a network.
func RealNames() []Ref {
	return refs("dns.msftnsci.com", "www.msftnsci.com", "www.msftconnecttest.com")
}

// minFakeBits is the size of the smallest range of fake addresses.
const minFakeBits = 5

// FakeIP and RealIP are the targets of fake-ip-filter in the mode rule.
const (
	FakeIP = "fake-ip"
	RealIP = "real-ip"
)

// filterRule judges a rule that says whether names get fake addresses.
func (k *dnsCheck) filterRule(f Ref, path string) {
	r, err := rule.Parse(f.Name)
	switch {
	case err != nil:
		k.d.report(Error, f.Pos, path, err.Error(), "")
	case r.Target != FakeIP && r.Target != RealIP:
		k.d.report(Error, f.Pos, path, fmt.Sprintf("want the target %s or %s, got %q", FakeIP, RealIP, r.Target), DidYouMean(r.Target, []string{FakeIP, RealIP}))
	case !slices.Contains([]string{"DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-REGEX", "DOMAIN-WILDCARD", "GEOSITE", "RULE-SET", "MATCH"}, r.Type):
		k.d.report(Error, f.Pos, path, fmt.Sprintf("a rule of type %s looks at more than a name", r.Type), "")
	case r.Type == "RULE-SET":
		k.ruleSet(f.Pos, path, r.Payload)
	}
}
