package relay

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const (
	testURL      = "https://www.gstatic.com/generate_204" // of groups that name none
	testInterval = 300                                    // seconds
)

// builtGroup is a group and the tests it wants of its members.
type builtGroup struct {
	group.Group
	probe             health.Probe
	interval, timeout time.Duration
	lazy              bool
	made              config.Group // what it was made of, without its place
	members           []outbound.Outbound
}

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
// file names, config has looked at.
func (b *builder) checkDialers() {
	via := make(map[string]string, len(b.Config.Proxies))
	for i := range b.Config.Proxies {
		via[b.Config.Proxies[i].Name] = b.Config.Proxies[i].DialerProxy
	}
	var way []string
	seen := make(map[string]bool)
	var leads func(from outbound.Outbound, to string) bool
	leads = func(from outbound.Outbound, to string) bool {
		name := from.Info().Name
		way = append(way, name)
		if name == to {
			return true
		}
		next := []outbound.Outbound{b.Outbounds[via[name]]}
		if g, ok := from.(group.Group); ok {
			next = g.Members()
		}
		if !seen[name] {
			seen[name] = true
			for _, o := range next {
				if o != nil && leads(o, to) {
					return true
				}
			}
		}
		way = way[:len(way)-1]
		return false
	}
	reached := make(map[string]map[string]bool) // by dialer-proxy: all that it leads to
	for i := range b.Config.Proxies {
		p := &b.Config.Proxies[i]
		first := b.Outbounds[p.DialerProxy]
		if p.DialerProxy == "" || first == nil {
			continue
		}
		if reached[p.DialerProxy] == nil {
			way = way[:0]
			clear(seen)
			leads(first, "") // which is nobody: it goes everywhere
			reached[p.DialerProxy] = maps.Clone(seen)
		}
		if !reached[p.DialerProxy][p.Name] {
			continue
		}
		way = append(way[:0], p.Name)
		clear(seen)
		if leads(first, p.Name) {
			b.report(p.Pos, fmt.Sprintf("proxies[%d].dialer-proxy", i), "dials through itself: "+strings.Join(way, " -> "))
		}
	}
}

// group builds one group of its explicit members and those that it includes, or keeps the one that is made of
// the same: with its choice, its turn, and what is known of it. empty stands in for no members; nil is
// COMPATIBLE.
func (b *builder) group(c *config.Group, path string, members []outbound.Outbound, empty outbound.Outbound, chosen map[string]string) group.Group {
	filter, err := group.NewFilter(c.Filter, c.ExcludeFilter, c.ExcludeType)
	if err != nil {
		b.report(c.Pos, path, err.Error())
		filter, _ = group.NewFilter("", "", "")
	}
	filter.Slow = func(err error) { b.relay.log.Warn(fmt.Sprintf("group %q: %v", c.Name, err)) }
	members = filter.Exclude(members)
	if c.IncludeAll || c.IncludeAllProxies {
		members = append(members, filter.Apply(b.proxiesByName())...)
	}
	if len(members) == 0 {
		if empty == nil {
			empty = b.Outbounds["COMPATIBLE"]
		}
		members = []outbound.Outbound{empty}
	}
	made := *c
	made.Pos, made.Proxies = config.Pos{}, nil // members say what they lead to
	if old := b.keptGroup(&made, members); old != nil {
		b.built = append(b.built, old)
		return old.Group
	}
	expected, err := health.ParseStatus(c.ExpectedStatus)
	if err != nil {
		b.report(c.Pos, path+".expected-status", err.Error())
	}
	strategy, _ := group.ParseStrategy(c.Strategy)
	r := b.relay // and no more of what builds
	bg := &builtGroup{
		probe:    health.Probe{URL: c.URL, Expected: expected, Unified: b.Config.UnifiedDelay},
		interval: time.Duration(c.Interval) * time.Second, timeout: time.Duration(c.Timeout) * time.Millisecond, lazy: c.Lazy,
		made: made, members: members,
	}
	switch {
	case c.Type != "select" && c.Type != "relay":
		bg.probe.URL = cmp.Or(c.URL, testURL)
		bg.interval = time.Duration(cmp.Or(c.Interval, testInterval)) * time.Second
	case c.Interval > 0:
		bg.probe.URL = cmp.Or(c.URL, testURL)
	}
	if bg.probe.URL != "" {
		if err := health.CheckURL(bg.probe.URL); err != nil {
			b.report(c.Pos, path+".url", err.Error())
		}
	}
	settings := group.Config{
		Name: c.Name, Members: members, Default: c.DefaultSelected, DisableUDP: c.DisableUDP,
		Hidden: c.Hidden, Icon: c.Icon, TestURL: bg.probe.URL, Expected: expected.String(), Empty: c.EmptyFallback,
		Tests: b.relay.book, MaxFailed: c.MaxFailedTimes, Timeout: bg.timeout,
		Tolerance: time.Duration(c.Tolerance) * time.Millisecond, Strategy: strategy,
		Check: func() { r.check(bg) },
	}
	switch c.Type {
	case "url-test":
		bg.Group = group.NewURLTest(settings)
	case "fallback":
		bg.Group = group.NewFallback(settings)
	case "load-balance":
		bg.Group = group.NewLoadBalance(settings)
	case "relay":
		bg.Group = group.NewRelay(settings)
	default:
		bg.Group = group.NewSelect(settings)
	}
	if w, ok := bg.Group.(group.Wisher); ok {
		if want, ok := chosen[c.Name]; ok {
			w.SetWish(want)
		}
	}
	b.built = append(b.built, bg)
	return bg.Group
}

// keptGroup is the group that runs and is made of the same, or nil.
func (b *builder) keptGroup(made *config.Group, members []outbound.Outbound) *builtGroup {
	if b.prev == nil || b.prev.Config.UnifiedDelay != b.Config.UnifiedDelay {
		return nil
	}
	for _, old := range b.prev.built {
		if old.made.Name == made.Name && reflect.DeepEqual(&old.made, made) && slices.Equal(old.members, members) {
			return old
		}
	}
	return nil
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
	members := []outbound.Outbound{b.Outbounds["DIRECT"], b.Outbounds["REJECT"]}
	for i := range b.Config.Proxies {
		members = append(members, b.Outbounds[b.Config.Proxies[i].Name])
	}
	for _, g := range b.Groups {
		members = append(members, g)
	}
	return b.group(&config.Group{Name: "GLOBAL", Type: "select"}, "GLOBAL", members, nil, chosen)
}

// check tests the members of a group soon.
func (r *Relay) check(g *builtGroup) {
	for _, m := range g.Members() {
		r.planner.Trigger(m, g.probe.URL)
	}
}

// wants are the tests that the groups of n want to be repeated.
func (n *Running) wants() (wants []health.Want) {
	for _, g := range n.built {
		if g.interval == 0 || g.probe.URL == "" {
			continue
		}
		var used func() time.Time
		if g.lazy {
			used = g.LastUsed
		}
		for _, m := range g.Members() {
			wants = append(wants, health.Want{Node: m, Probe: g.probe, Interval: g.interval, Timeout: g.timeout, Used: used})
		}
	}
	return wants
}

// watch has the planner test what n wants, and forgets what is known of nodes that are gone.
func (r *Relay) watch(n *Running) {
	used := make(map[*outbound.Info]bool, len(n.Sorted))
	for _, o := range n.Sorted {
		used[o.Info()] = true
	}
	r.planner.Use(n.wants())
	r.book.Keep(func(i *outbound.Info) bool { return used[i] })
}

// testClient is what tests are made with.
func (r *Relay) testClient() health.Client {
	c := r.current.Load().Config
	var roots *x509.CertPool
	if len(c.TLS.CustomCertificates) > 0 {
		roots = authorities(c.TLS.CustomCertificates)
	}
	return health.Client{UserAgent: cmp.Or(c.GlobalUA, r.Agent), Roots: roots}
}

// Health is what tests have found of a node or group.
func (r *Relay) Health(i *outbound.Info) health.State { return r.book.State(i) }

// HealthPlan is what is tested, and what is going to be.
func (r *Relay) HealthPlan() health.PlannerState { return r.planner.State() }

// TestProxy tests a node, or a group through its choice, now.
func (r *Relay) TestProxy(ctx context.Context, o outbound.Outbound, probe health.Probe, timeout time.Duration) (uint16, error) {
	probe.Unified = r.Config().UnifiedDelay
	return r.planner.One(ctx, o, probe, timeout)
}

// TestGroup tests all members of a group now.
func (r *Relay) TestGroup(ctx context.Context, g group.Group, probe health.Probe, timeout time.Duration) []health.Result {
	probe.Unified = r.Config().UnifiedDelay
	return r.planner.Test(ctx, g.Members(), probe, timeout)
}

// Select makes member the choice of the group called name, or pins it, and remembers it where the
// configuration says so. A change of the configuration comes before it or after it, and keeps it.
func (r *Relay) Select(name, member string) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	var err error
	switch g := now.Outbounds[name].(type) {
	case *group.Select:
		err = g.Select(member)
	case group.Pinner:
		err = g.Pin(member)
	default:
		err = fmt.Errorf("group %q: %w", name, group.ErrNoMember)
	}
	if err == nil {
		r.remember(now, name, member)
	}
	return err
}

// Unpin lets a group choose by itself again; known is false for one that always does, or never.
func (r *Relay) Unpin(name string) (known bool) {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	g, ok := now.Outbounds[name].(group.Pinner)
	if !ok {
		return false
	}
	g.Unpin()
	r.remember(now, name, "")
	return true
}

// remember stores a choice. It is made by then; only its memory can be lost, and a reload keeps it all the
// same.
func (r *Relay) remember(now *Running, name, member string) {
	if !now.Config.Profile.StoreSelected {
		return
	}
	if err := r.store.Select(name, member); err != nil {
		r.log.Warn(fmt.Sprintf("the choice of %q will not survive a restart: %v", name, err))
	}
}
