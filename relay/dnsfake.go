package relay

import (
	"fmt"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// fake makes the fake addresses; nil is that clients get real ones.
func (n *namingBuilder) fake() *dns.Fake {
	c := &n.Config.DNS
	if c.EnhancedMode != "fake-ip" {
		return nil
	}
	return &dns.Fake{
		V4: n.pool(c.FakeIPRange), V6: n.pool(c.FakeIPRange6), TTL: uint32(c.FakeIPTTL), Real: n.realNames(),
	}
}

// pool keeps the leases of a range while it stays the same.
func (n *namingBuilder) pool(r netip.Prefix) *fakeip.Pool {
	if !r.IsValid() {
		return nil
	}
	key := fmt.Sprint(r, n.Config.Profile.StoreFakeIP)
	if n.old != nil && n.old.pools[key] != nil {
		n.pools[key] = n.old.pools[key]
		return n.pools[key]
	}
	settings := fakeip.Config{Range: r, Log: n.relay.log}
	if n.Config.Profile.StoreFakeIP && n.relay.engine != nil { // else it is only judged
		settings.Store = n.relay.store.Leases()
	}
	p, err := fakeip.New(settings)
	if err != nil {
		n.report(n.Config.Place("dns.fake-ip-range"), "dns.fake-ip-range", err.Error())
		return nil
	}
	n.pools[key] = p
	n.inherits[p] = n.otherPool(r)
	return p
}

// otherPool is the pool of a range that is kept in another way until now.
func (n *namingBuilder) otherPool(r netip.Prefix) *fakeip.Pool {
	if n.old == nil {
		return nil
	}
	return n.old.pools[fmt.Sprint(r, !n.Config.Profile.StoreFakeIP)]
}

// realNames says which names get real addresses.
func (n *namingBuilder) realNames() func(host string) bool {
	c := &n.Config.DNS
	if c.FakeIPFilterMode == "rule" {
		return n.realByRules()
	}
	filter := c.FakeIPFilter
	if filter == nil && c.FakeIPFilterMode == "blacklist" {
		filter = config.RealNames()
	}
	var domains match.DomainsBuilder
	var sets anyOf
	for i, f := range filter {
		names, _ := config.ParseNames(f.Name) // what cannot be read, config has reported
		for _, p := range names.Patterns {
			if err := domains.Add(p); err != nil {
				n.report(f.Pos, fmt.Sprintf("dns.fake-ip-filter[%d]", i), err.Error())
			}
		}
		sets = append(sets, n.setsOf(names, f.Pos, fmt.Sprintf("dns.fake-ip-filter[%d]", i))...)
	}
	set, err := domains.Build()
	if err != nil {
		n.report(n.Config.Place("dns.fake-ip-filter"), "dns.fake-ip-filter", err.Error())
		return nil
	}
	listed := c.FakeIPFilterMode == "blacklist" // what being listed means
	return func(host string) bool {
		var name match.Name
		name.Set(host)
		return (set.Has(&name) || sets.Has(&name)) == listed
	}
}

// realByRules is realNames where rules decide; a name for which none holds gets a fake address.
func (n *namingBuilder) realByRules() func(host string) bool {
	filter := n.Config.DNS.FakeIPFilter
	rules := make([]rule.Rule, 0, len(filter))
	for _, f := range filter {
		if r, err := rule.Parse(f.Name); err == nil { // else config has reported it
			rules = append(rules, r)
		}
	}
	program, errs := rule.Compile(rules, n.ruleEnv())
	for _, e := range errs {
		f := filter[min(e.Index, len(filter)-1)]
		n.report(f.Pos, fmt.Sprintf("dns.fake-ip-filter[%d]", e.Index), fmt.Sprintf("[%s]: %v", f.Name, e.Err))
	}
	if program == nil {
		return nil
	}
	real := make([]bool, len(program.Targets()))
	for i, target := range program.Targets() {
		real[i] = target == config.RealIP
	}
	return func(host string) bool {
		hit := matchName(program, host)
		return hit.Rule != rule.None && real[hit.Target]
	}
}

// evict ends the leases of names that get real addresses now, and what goes to an address that stands for
// another name, or for none.
func (r *Relay) evict(n *naming) {
	if n.handler == nil || n.handler.Fake == nil {
		return
	}
	pools := n.handler.Fake.Pools()
	for _, p := range pools {
		p.Evict(n.handler.Fake.Real)
	}
	r.engine.EndTargets(func(asked flow.Addr, taken string) bool {
		for _, p := range pools {
			if asked.Host == "" && p.Contains(asked.IP) {
				host, ok := p.Name(asked.IP)
				return !ok || host != taken
			}
		}
		return false
	})
}

// setsChanged lets go of answers and leases that were made by sets that hold something else now, if refers
// says that the section refers to them.
func (r *Relay) setsChanged(refers func(now *Running) bool) {
	now := r.current.Load()
	if now == nil || now.naming.handler == nil || !refers(now) {
		return
	}
	for _, c := range now.naming.caches {
		c.Flush()
	}
	r.evict(now.naming)
}
