package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/subscription"
)

// compatible is the vehicle of providers that are not of the file: panels look for it.
const compatible = "Compatible"

func (p *proxyProvider) info() subscription.Info {
	nodes, st := p.nodes.Load(), p.source.State()
	i := subscription.Info{
		Name: p.config.Name, Vehicle: p.kind.String(), Nodes: nodes.list,
		TestURL: p.probe.URL, Expected: p.probe.Expected.String(),
		UpdatedAt: st.UpdatedAt, TriedAt: st.TriedAt, NextAt: st.NextAt, Err: st.Err, Used: p.used.Load(),
	}
	if nodes.from != nil {
		i.Problems, i.ProblemCount = nodes.from.Problems, nodes.from.Count
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

// ProxyProviders describes the proxy providers in the order of the file; then "default", which has all that the
// file has, and one for each group that names members.
func (r *Relay) ProxyProviders() []subscription.Info {
	now := r.current.Load()
	list := make([]subscription.Info, 0, len(now.ProxyProviders)+1+len(now.Groups))
	for _, p := range now.ProxyProviders {
		list = append(list, p.info())
	}
	list = append(list, subscription.Info{Name: "default", Vehicle: compatible, Nodes: now.everything()})
	for _, g := range now.built {
		if g.named {
			list = append(list, g.compatible())
		}
	}
	return list
}

// ProxyProvider describes one of ProxyProviders.
func (r *Relay) ProxyProvider(name string) (subscription.Info, bool) {
	if p := r.current.Load().providers[name]; p != nil {
		return p.info(), true
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

// CheckProxyProvider tests the nodes of the proxy provider called name, with its URL and those of the groups that
// use it, and returns when all have been. known is false when there is none of that name.
func (r *Relay) CheckProxyProvider(ctx context.Context, name string) (known bool) {
	var checks sync.WaitGroup
	defer checks.Wait()
	check := func(nodes []outbound.Outbound, probe health.Probe, timeout time.Duration) {
		checks.Go(func() { r.planner.Sweep(ctx, nodes, probe, timeout, checkWithin) })
	}
	now := r.current.Load()
	if p := now.providers[name]; p != nil {
		tested := make(map[string]bool)
		nodes := p.nodes.Load().list
		if p.probe.URL != "" {
			tested[p.probe.URL] = true
			check(nodes, p.probe, time.Duration(p.config.HealthCheck.Timeout)*time.Millisecond)
		}
		for _, g := range now.built {
			if slices.Contains(g.uses, p) && g.probe.URL != "" && !tested[g.probe.URL] {
				tested[g.probe.URL] = true
				check(nodes, g.probe, g.timeout)
			}
		}
		return true
	}
	for _, g := range now.built {
		if g.named && g.Info().Name == name {
			probe := g.probe
			probe.URL = cmp.Or(probe.URL, testURL)
			check(g.own, probe, g.timeout)
			return true
		}
	}
	return name == "default"
}
