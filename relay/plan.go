package relay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// Planner is a Part that can say what a change would do to its listening sockets.
type Planner interface {
	// Plan says it without opening anything. It is called by one goroutine at a time, and not beside a change.
	Plan(next *config.Config) []config.Socket
}

// Plan says what Load would do. The candidate is built beside what runs, by the code that builds it for Load,
// and thrown away: nothing is opened or written, and what runs does not notice. A candidate that Load would
// refuse is refused in the same way.
func (r *Relay) Plan(path, payload string, force bool) (*config.Plan, error) {
	candidate, diags, err := r.parse(path, payload)
	if err != nil {
		return nil, err
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	prev, c := r.current.Load(), candidate.Clone()
	keepSettings(c, prev.Config, force)
	if err := c.Validate().Err(); err != nil {
		return nil, err
	}
	judge := newJudge(r.source)
	judge.plans, judge.book = true, r.book
	next, err := judge.build(quiet(c), prev, nil)
	defer judge.discard(next, prev)
	if err != nil {
		return nil, err
	}
	p := &config.Plan{
		Warnings: diags, Settings: settings(prev.Config, c, candidate),
		RulesBefore: len(prev.Config.Rules), RulesAfter: len(c.Rules), CountersKept: next.counters == prev.counters,
	}
	p.Sockets = slices.Concat(r.inbounds.plan(c), r.dns.plan(c))
	for _, part := range r.parts {
		if planner, ok := part.(Planner); ok {
			p.Sockets = append(p.Sockets, planner.Plan(c)...)
		}
	}
	p.Nodes, p.Groups = next.fates(prev)
	p.ProxyProviders = fates(prev.ProxyProviders, next.ProxyProviders, func(s *proxyProvider) string { return s.config.Name })
	p.RuleProviders = fates(prev.RuleProviders, next.RuleProviders, func(s *ruleProvider) string { return s.config.Name })
	p.Flows = r.flowFates(prev, next, p.Sockets)
	return p, nil
}

// settings are the settings in which what runs differs from c, which is going to run, or from the candidate,
// whose they stay.
func settings(running, c, candidate *config.Config) []config.Difference {
	list := config.Differences(running, candidate)
	applied := make(map[string]bool)
	for _, d := range config.Differences(running, c) {
		applied[d.Key] = true
	}
	for i := range list {
		list[i].Applied = applied[list[i].Key]
	}
	return list
}

// fates tells for each of two lists what becomes of it.
func fates[T comparable](prev, next []T, name func(T) string) (f config.Fates) {
	was := make(map[string]T, len(prev))
	for _, t := range prev {
		was[name(t)] = t
	}
	now := make(map[string]bool, len(next))
	for _, t := range next {
		now[name(t)] = true
		old, there := was[name(t)]
		f.Add(name(t), fate(there, true, old == t))
	}
	for _, t := range prev {
		if !now[name(t)] {
			f.Add(name(t), config.Removed)
		}
	}
	return f
}

func fate(was, is, same bool) config.Fate {
	switch {
	case !is:
		return config.Removed
	case !was:
		return config.Added
	case same:
		return config.Kept
	}
	return config.Rebuilt
}

// fates are those of nodes and of groups.
func (n *Running) fates(prev *Running) (nodes, groups config.Fates) {
	name := func(o outbound.Outbound) string { return o.Info().Name }
	return fates(prev.nodesInOrder(), n.nodesInOrder(), name), fates(prev.groupsInOrder(), n.groupsInOrder(), name)
}

// nodesInOrder are what is built in, and the nodes in the order of the file.
func (n *Running) nodesInOrder() (list []outbound.Outbound) {
	for _, b := range builtIn {
		list = append(list, n.Outbounds[b.name])
	}
	for i := range n.Config.Proxies {
		list = append(list, n.Outbounds[n.Config.Proxies[i].Name])
	}
	return list
}

func (n *Running) groupsInOrder() (list []outbound.Outbound) {
	for _, g := range n.Groups {
		list = append(list, g)
	}
	return list
}

// member names a node or group that carries flows: a provider's nodes may have the names of others.
type member struct{ provider, name string }

// members are all that may carry flows.
func (n *Running) members() map[member]outbound.Outbound {
	all := make(map[member]outbound.Outbound, len(n.Outbounds))
	for name, o := range n.Outbounds {
		all[member{name: name}] = o
	}
	for _, p := range n.ProxyProviders {
		for _, o := range p.nodes.Load().list {
			all[member{p.config.Name, o.Info().Name}] = o
		}
	}
	return all
}

// flowFates says what becomes of the flows that live.
func (r *Relay) flowFates(prev, next *Running, sockets []config.Socket) (f config.Flows) {
	live := r.engine.Table.Live(nil)
	f.Total = len(live)
	ends := make(map[*track.Entry]bool)
	for _, e := range next.endings(prev, live) {
		ended := config.EndedFlows{Reason: string(track.Moved(e.group, e.from, e.to)), After: e.after}
		for _, entry := range e.flows {
			ended.Add(entry.ID.String)
			ends[entry] = true
		}
		f.Ended = append(f.Ended, ended)
	}
	was, is := prev.members(), next.members()
	cut := config.EndedFlows{Reason: "the UDP port that it came in by goes"}
	for _, e := range live {
		switch {
		case e.Flow.Inbound == "" || !loses(sockets, e.Flow):
		case e.Flow.Network == flow.UDP && !ends[e]:
			cut.Add(e.ID.String)
			continue
		case !ends[e]:
			f.Inbound.Add(e.ID.String)
		}
		if !ends[e] && slices.ContainsFunc(way(e), func(m member) bool { return was[m] != nil && was[m] != is[m] }) {
			f.Through.Add(e.ID.String)
		}
	}
	if cut.Count > 0 {
		f.Ended = append(f.Ended, cut)
	}
	return f
}

// loses says whether the socket that f came in by is closed or replaced.
func loses(sockets []config.Socket, f *flow.Flow) bool {
	local := netip.AddrPortFrom(f.Local.Addr().Unmap(), f.Local.Port()).String()
	network := "tcp"
	if f.Network == flow.UDP {
		network = "udp"
	}
	best, fate := "", config.Kept
	for _, s := range sockets {
		addr := cmp.Or(s.From, s.Addr)
		if s.Owner != "inbounds" || s.Network != network || s.Fate == config.Opened || addr != local && !within(local, addr) {
			continue
		}
		if best == "" || within(addr, best) { // the narrowest has it
			best, fate = addr, s.Fate
		}
	}
	return fate != config.Kept
}

// way are those who carry a flow.
func way(e *track.Entry) []member {
	list := make([]member, len(e.Chain))
	for i, name := range e.Chain {
		list[i].name = name
		if i < len(e.ProviderChain) {
			list[i].provider = e.ProviderChain[i]
		}
	}
	return list
}

// endings are the flows that groups end, by their policy, because their choice in n is another than in prev.
func (n *Running) endings(prev *Running, live []*track.Entry) (list []ending) {
	for i := range n.Config.Groups {
		c := &n.Config.Groups[i]
		from := prev.choice(c.Name)
		g, ok := n.intended(c.Name).(group.Chooser)
		if !ok || !c.Interrupt.Close || from == "" {
			continue
		}
		ig := &interruptGroup{name: c.Name, group: g, after: c.Interrupt.After, now: from}
		ig.look(time.Now())
		if ig.now == from {
			continue
		}
		ig.left = nil
		e := ending{group: c.Name, from: from, to: ig.now, after: ig.after, flows: ig.elsewhere(live, &departure{from: from, at: time.Now()})}
		if len(e.flows) > 0 {
			list = append(list, e)
		}
	}
	return list
}

// intended is the group called name with the members that it is going to have. Where that is a group that runs,
// it is another one that is made of the same.
func (n *Running) intended(name string) outbound.Outbound {
	for _, g := range n.built {
		if g.Info().Name != name {
			continue
		}
		if list := g.gather(); len(g.uses) > 0 && !slices.Equal(list, g.Members()) {
			return g.again(list)
		}
		return g.Group
	}
	return nil
}
