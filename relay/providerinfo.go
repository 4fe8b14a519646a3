package relay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/subscription"
)

// compatible is the vehicle of providers that are not of the file: panels look for it.
const compatible = "Compatible"

// lostDialers are the nodes of p that dial through something that is not there.
func (n *Running) lostDialers(nodes *nodeSet) (problems []config.NodeProblem) {
	x := n.index.Load()
	for _, o := range nodes.list {
		i := o.Info()
		if i.DialerProxy == "" || x.byName[i.DialerProxy] != nil {
			continue
		}
		text := fmt.Sprintf("dialer-proxy: no proxy or group is called %q", i.DialerProxy)
		problems = append(problems, config.NodeProblem{Line: nodes.made[i.Name].proxy.Pos.Line, Name: i.Name, Text: text})
	}
	return problems
}

// maxLost bounds the nodes that are told of for what they dial through.
const maxLost = 100

func (n *Running) describe(p *proxyProvider) subscription.Info {
	nodes, st := p.nodes.Load(), p.source.State()
	i := subscription.Info{
		Name: p.config.Name, Vehicle: p.kind.String(), Nodes: nodes.list,
		TestURL: p.probe.URL, Expected: p.probe.Expected.String(),
		UpdatedAt: st.UpdatedAt, TriedAt: st.TriedAt, NextAt: st.NextAt, Err: st.Err, Used: p.used.Load(),
	}
	if nodes.from != nil {
		i.Problems, i.ProblemCount = nodes.from.Problems, nodes.from.Count
	}
	if lost := n.lostDialers(nodes); len(lost) > 0 {
		i.ProblemCount += len(lost)
		i.Problems = append(slices.Clip(i.Problems), lost[:min(len(lost), maxLost)]...)
	}
	return i
}

// compatible is the provider that g is in the eyes of panels.
func (g *builtGroup) compatible() subscription.Info {
	return subscription.Info{
		Name: g.Info().Name, Vehicle: compatible, Nodes: g.own,
		TestURL: cmp.Or(g.probe.URL, testURL), Expected: g.probe.Expected.String(),
	}
}

// stands says whether panels see g as a provider: it names members, and no other provider has its name.
func (n *Running) stands(g *builtGroup) bool {
	name := g.Info().Name
	return g.named && name != "default" && n.providers[name] == nil
}

// ProxyProviders describes the proxy providers in the order of the file; then "default", which has all that the
// file has, and one for each group that names members.
func (r *Relay) ProxyProviders() []subscription.Info {
	now := r.current.Load()
	list := make([]subscription.Info, 0, len(now.ProxyProviders)+1+len(now.Groups))
	for _, p := range now.ProxyProviders {
		list = append(list, now.describe(p))
	}
	list = append(list, subscription.Info{Name: "default", Vehicle: compatible, Nodes: now.everything()})
	for _, g := range now.built {
		if now.stands(g) {
			list = append(list, g.compatible())
		}
	}
	return list
}

// ProxyProvider describes one of ProxyProviders.
func (r *Relay) ProxyProvider(name string) (subscription.Info, bool) {
	now := r.current.Load()
	if p := now.providers[name]; p != nil {
		return now.describe(p), true
	}
	all := r.ProxyProviders()
	if i := slices.IndexFunc(all, func(p subscription.Info) bool { return p.Name == name }); i >= 0 {
		return all[i], true
	}
	return subscription.Info{}, false
}

// UpdateProxyProvider loads the proxy provider called name anew. When that fails, what it had stays. Of one that
// is not of the file there is nothing to load. known is false when there is none of that name.
func (r *Relay) UpdateProxyProvider(ctx context.Context, name string) (known bool, err error) {
	if p := r.current.Load().providers[name]; p != nil {
		return true, p.while(ctx, p.source.Refresh)
	}
	_, known = r.ProxyProvider(name)
	return known, nil
}

// checkWithin bounds a check of a provider's nodes, however many they are.
const checkWithin = time.Minute

// sameTest are nodes that are tested alike.
type sameTest struct {
	nodes   []outbound.Outbound
	probe   health.Probe
	timeout time.Duration
}

// testsOf are the tests of the nodes of p: with its own URL, and with those of the groups that have taken them. No
// node is there twice with a URL.
func (n *Running) testsOf(p *proxyProvider) (list []sameTest) {
	type pair struct {
		info *outbound.Info
		url  string
	}
	nodes := p.nodes.Load().list
	own, there := make(map[*outbound.Info]bool, len(nodes)), make(map[pair]bool, len(nodes))
	for _, o := range nodes {
		own[o.Info()] = true
	}
	add := func(nodes []outbound.Outbound, probe health.Probe, timeout time.Duration) {
		t := sameTest{probe: probe, timeout: timeout}
		for _, o := range nodes {
			if k := (pair{o.Info(), probe.URL}); probe.URL != "" && own[k.info] && !there[k] {
				there[k] = true
				t.nodes = append(t.nodes, o)
			}
		}
		list = append(list, t)
	}
	add(nodes, p.probe, time.Duration(p.config.HealthCheck.Timeout)*time.Millisecond)
	for _, g := range n.built {
		if slices.Contains(g.uses, p) {
			add(g.Members(), g.probe, g.timeout)
		}
	}
	return list
}

// CheckProxyProvider tests the nodes of the proxy provider called name, with its URL and those of the groups that
// have taken them, and returns when all have been. known is false when there is none of that name.
func (r *Relay) CheckProxyProvider(ctx context.Context, name string) (known bool) {
	now, known := r.current.Load(), name == "default"
	var tests []sameTest
	if p := now.providers[name]; p != nil {
		tests, known = now.testsOf(p), true
	}
	for _, g := range now.built {
		if now.stands(g) && g.Info().Name == name {
			probe := g.probe
			probe.URL = cmp.Or(probe.URL, testURL)
			tests, known = []sameTest{{g.own, probe, g.timeout}}, true
		}
	}
	var running sync.WaitGroup
	for _, t := range tests {
		running.Go(func() { r.planner.Sweep(ctx, t.nodes, t.probe, t.timeout, checkWithin) })
	}
	running.Wait()
	return known
}
