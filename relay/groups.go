package relay

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/filter"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const (
	testURL      = "https://www.gstatic.com/generate_204" // of groups that name none
	testInterval = 300                                    // seconds
)

// groups builds the groups, members first, and GLOBAL.
func (b *builder) groups(chosen map[string]string) {
	index := make(map[string]int, len(b.Config.Groups))
	for i := range b.Config.Groups {
		index[b.Config.Groups[i].Name] = i
	}
	built := make(map[string]group.Group)
	var make1 func(i int) group.Group
	make1 = func(i int) group.Group {
		c := &b.Config.Groups[i]
		if g := built[c.Name]; g != nil {
			return g
		}
		members := make([]outbound.Outbound, 0, len(c.Proxies))
		for _, m := range c.Proxies {
			if sub, ok := index[m.Name]; ok { // the file has no loops: config has looked
				members = append(members, make1(sub))
			} else if o := b.Outbounds[m.Name]; o != nil {
				members = append(members, o)
			}
		}
		var empty outbound.Outbound
		if sub, ok := index[c.EmptyFallback]; ok {
			empty = make1(sub)
		} else {
			empty = b.Outbounds[c.EmptyFallback]
		}
		g := b.group(c, fmt.Sprintf("proxy-groups[%d]", i), members, empty, chosen)
		built[c.Name] = g
		return g
	}
	for i := range b.Config.Groups {
		b.Groups = append(b.Groups, make1(i))
	}
	if _, own := index["GLOBAL"]; !own {
		b.Groups = append(b.Groups, b.global(chosen))
	}
	for _, g := range b.Groups {
		b.add(g)
	}
	b.checkDialers()
}

// checkDialers reports nodes that dial through a group that has taken them in without naming them. What the
// file names, config has looked at; nodes of providers come and go, and are no reason to refuse a file.
func (b *builder) checkDialers() {
	next := make(map[outbound.Outbound][]outbound.Outbound, len(b.built))
	for _, g := range b.built {
		next[g.Group] = append(slices.Clip(g.own), g.empty)
	}
	for i := range b.Config.Proxies {
		if p := &b.Config.Proxies[i]; p.DialerProxy != "" {
			next[b.Outbounds[p.Name]] = []outbound.Outbound{b.Outbounds[p.DialerProxy]}
		}
	}
	var way []string
	seen := make(map[outbound.Outbound]bool)
	var leads func(from, to outbound.Outbound) bool
	leads = func(from, to outbound.Outbound) bool {
		way = append(way, from.Info().Name)
		if from == to {
			return true
		}
		if !seen[from] {
			seen[from] = true
			for _, o := range next[from] {
				if o != nil && leads(o, to) {
					return true
				}
			}
		}
		way = way[:len(way)-1]
		return false
	}
	reached := make(map[string]map[outbound.Outbound]bool) // by dialer-proxy: all that it leads to
	for i := range b.Config.Proxies {
		p := &b.Config.Proxies[i]
		first, self := b.Outbounds[p.DialerProxy], b.Outbounds[p.Name]
		if p.DialerProxy == "" || first == nil {
			continue
		}
		if reached[p.DialerProxy] == nil {
			way = way[:0]
			clear(seen)
			leads(first, nil) // which is nobody: it goes everywhere
			reached[p.DialerProxy] = maps.Clone(seen)
		}
		if !reached[p.DialerProxy][self] {
			continue
		}
		way = append(way[:0], p.Name)
		clear(seen)
		if leads(first, self) {
			b.report(p.Pos, fmt.Sprintf("proxies[%d].dialer-proxy", i), "dials through itself: "+strings.Join(way, " -> "))
		}
	}
}

// group builds one group of the members that it names and those that it includes, or keeps the one that is
// made of the same: with its choice, its turn, and what is known of it. empty stands in for no members; nil is
// COMPATIBLE.
func (b *builder) group(c *config.Group, path string, members []outbound.Outbound, empty outbound.Outbound, chosen map[string]string) group.Group {
	g := &builtGroup{
		filter: b.filter(c, path), uses: b.uses(c), empty: empty,
		named: len(c.Proxies) > 0 || c.IncludeAll || c.IncludeAllProxies,
	}
	g.own = filter.Exclude(g.filter, members, subject)
	if c.IncludeAll || c.IncludeAllProxies {
		g.own = append(g.own, filter.Apply(g.filter, b.proxiesByName(), subject)...)
	}
	if empty == nil {
		g.empty = b.Outbounds["COMPATIBLE"]
	}
	b.tests(g, c, path)
	g.made = *c
	g.made.Proxies, g.made.Use, g.made.URL = nil, nil, g.probe.URL // members say what they lead to
	old := b.oldGroup(c.Name)
	if old != nil {
		g.follow(old)
	}
	if old != nil && b.prev.Config.UnifiedDelay == b.Config.UnifiedDelay && config.Same(&old.made, &g.made) &&
		slices.Equal(old.own, g.own) && old.empty == g.empty && (len(old.uses) > 0) == (len(g.uses) > 0) {
		g.Group = old.Group
	} else {
		g.Group = b.newGroup(g, c, chosen)
	}
	b.built = append(b.built, g)
	return g.Group
}

func (b *builder) filter(c *config.Group, path string) *filter.Filter {
	f, err := filter.New(string(c.Filter), string(c.ExcludeFilter), c.ExcludeType)
	if wrong, ok := errors.AsType[*filter.KeyError](err); ok {
		b.report(c.Places.At(wrong.Key, c.Pos), path+"."+wrong.Key, wrong.Err.Error())
		f, _ = filter.New("", "", "")
	}
	log, name := b.relay.log, c.Name
	f.Slow = func(err error) { log.Warn(fmt.Sprintf("group %q: %v", name, err)) }
	return f
}

// uses are the providers whose nodes a group takes.
func (b *builder) uses(c *config.Group) (list []*proxyProvider) {
	if c.IncludeAll || c.IncludeAllProviders {
		list = slices.Clone(b.ProxyProviders)
		slices.SortFunc(list, func(x, y *proxyProvider) int { return cmp.Compare(x.config.Name, y.config.Name) })
		return list
	}
	for _, ref := range c.Use {
		if p := b.providers[ref.Name]; p != nil && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// tests says how a group tests its members. One that says nothing takes what its providers test with.
func (b *builder) tests(g *builtGroup, c *config.Group, path string) {
	expected, err := health.ParseStatus(c.ExpectedStatus)
	if err != nil {
		b.report(c.Places.At("expected-status", c.Pos), path+".expected-status", err.Error())
	}
	g.probe = health.Probe{URL: c.URL, Expected: expected, Unified: b.Config.UnifiedDelay}
	for _, p := range g.uses {
		g.probe.URL = cmp.Or(g.probe.URL, p.probe.URL)
	}
	g.interval, g.timeout, g.lazy = time.Duration(c.Interval)*time.Second, time.Duration(c.Timeout)*time.Millisecond, c.Lazy
	if c.Type != "select" && c.Type != "relay" {
		g.interval = cmp.Or(g.interval, testInterval*time.Second)
	}
	if g.interval > 0 {
		g.probe.URL = cmp.Or(g.probe.URL, testURL)
	}
	if g.probe.URL != "" {
		if err := health.CheckURL(g.probe.URL); err != nil {
			b.report(c.Places.At("url", c.Pos), path+".url", err.Error())
		}
	}
}

// oldGroup is the group called name of what runs, or nil.
func (b *builder) oldGroup(name string) *builtGroup {
	if b.prev == nil {
		return nil
	}
	for _, old := range b.prev.built {
		if old.Info().Name == name {
			return old
		}
	}
	return nil
}

// newGroup makes the group of g.
func (b *builder) newGroup(g *builtGroup, c *config.Group, chosen map[string]string) (made group.Group) {
	strategy, _ := group.ParseStrategy(c.Strategy)
	r, url := b.relay, g.probe.URL // and no more of what builds
	settings := group.Config{
		Name: c.Name, Members: g.gather(), Default: c.DefaultSelected, DisableUDP: c.DisableUDP,
		Hidden: c.Hidden, Icon: c.Icon, TestURL: url, Expected: g.probe.Expected.String(), Empty: c.EmptyFallback,
		Tests: r.book, MaxFailed: c.MaxFailedTimes, Timeout: g.timeout,
		Tolerance: time.Duration(c.Tolerance) * time.Millisecond, Strategy: strategy,
		Check:    func() { r.check(made, url) },
		Unpinned: func() { r.lostPin(made.Info().Name) },
	}
	made = groupOf(c.Type, settings)
	if w, ok := made.(group.Wisher); ok {
		if want, ok := chosen[c.Name]; ok {
			w.SetWish(want)
		}
	}
	b.carryOn(made)
	return made
}

// groupOf makes a group of a type of the file.
func groupOf(kind string, settings group.Config) group.Group {
	switch kind {
	case "url-test":
		return group.NewURLTest(settings)
	case "fallback":
		return group.NewFallback(settings)
	case "load-balance":
		return group.NewLoadBalance(settings)
	case "relay":
		return group.NewRelay(settings)
	}
	return group.NewSelect(settings)
}

// again is a group like g with other members, which nobody hears of.
func (g *builtGroup) again(members []outbound.Outbound) group.Group {
	settings := *g.Config()
	settings.Members, settings.Check, settings.Unpinned = members, nil, nil
	made := groupOf(g.made.Type, settings)
	if w, ok := g.Group.(group.Wisher); ok {
		if wish, ok := w.Wish(); ok {
			made.(group.Wisher).SetWish(wish)
		}
	}
	if s, ok := made.(group.Successor); ok {
		s.Follow(g.Group)
	}
	return made
}

// proxiesByName are the nodes of the file, sorted.
func (b *builder) proxiesByName() []outbound.Outbound {
	names := make([]string, len(b.Config.Proxies))
	for i := range b.Config.Proxies {
		names[i] = b.Config.Proxies[i].Name
	}
	slices.Sort(names)
	list := make([]outbound.Outbound, len(names))
	for i, name := range names {
		list[i] = b.Outbounds[name]
	}
	return list
}

// global is the group that decides in global mode: everything, in the order of the file.
func (b *builder) global(chosen map[string]string) group.Group {
	return b.group(&config.Group{Name: "GLOBAL", Type: "select"}, "GLOBAL", b.everything(), nil, chosen)
}

// everything is what the file has, in its order, with the first of what is built in.
func (n *Running) everything() []outbound.Outbound {
	members := []outbound.Outbound{n.Outbounds["DIRECT"], n.Outbounds["REJECT"]}
	for i := range n.Config.Proxies {
		members = append(members, n.Outbounds[n.Config.Proxies[i].Name])
	}
	for _, g := range n.Groups[:len(n.Config.Groups)] { // without a GLOBAL that is made
		members = append(members, g)
	}
	return members
}
