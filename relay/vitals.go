package relay

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/provider"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// signs are what vitals are made of that nothing else keeps.
type signs struct {
	stopping atomic.Bool
	bugs     atomic.Uint64 // in changes of the configuration

	mu      sync.Mutex
	reloads vitals.Reloads
}

// reloaded notes how it went to read a configuration and to apply it.
func (s *signs) reloaded(err error) {
	if errors.Is(err, config.ErrStale) {
		return // nothing was tried
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reloads.Err, s.reloads.Step = err, ""
	if err == nil {
		s.reloads.Worked++
		return
	}
	s.reloads.Failed++
	s.reloads.FailedAt = time.Now()
	if step, ok := errors.AsType[*StepError](err); ok {
		s.reloads.Step = step.Step
	}
}

// applied notes that a configuration begins to run.
func (s *signs) applied() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reloads.AppliedAt = time.Now()
}

func (s *signs) changes() vitals.Reloads {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reloads
}

// Vitals is how r is. It waits for no change that is under way.
func (r *Relay) Vitals() *vitals.Vitals {
	v := &vitals.Vitals{
		Reloads: r.signs.changes(), Flows: r.engine.Counts(), Names: r.dns.life.Counts(), Tests: r.planner.Counts(),
	}
	v.Panics = []vitals.Panics{
		{Where: "flows", Count: uint64(r.engine.Panics())},
		{Where: "dns", Count: v.Names.Panics},
		{Where: "tests", Count: v.Tests.Panics},
		{Where: "config", Count: r.signs.bugs.Load()},
	}
	now := r.current.Load()
	switch {
	case now == nil:
		return v
	case r.signs.stopping.Load():
		v.Phase = vitals.Stopping
	default:
		v.Phase = vitals.Serving
	}
	v.Inbounds = r.inbounds.vitals()
	v.DNS = vitals.DNS{Enabled: now.Config.DNS.Enable, Listen: now.Config.DNS.Listen, Serving: r.dns.address.Load() != nil}
	used, _ := r.geoInUse()
	v.Geo = r.geo.vitals(used)
	v.Providers = now.providerVitals()
	return v
}

func (n *Running) providerVitals() (list []vitals.Provider) {
	add := func(kind, name string, count int, st provider.State) {
		list = append(list, vitals.Provider{
			Kind: kind, Name: name, Count: count,
			Loaded: st.Loaded, UpdatedAt: st.UpdatedAt, TriedAt: st.TriedAt, Err: st.Err,
		})
	}
	for _, p := range n.ProxyProviders {
		add("proxy", p.config.Name, len(p.nodes.Load().list), p.source.State())
	}
	for _, p := range n.RuleProviders {
		add("rule", p.config.Name, p.set.Len(), p.source.State())
	}
	return list
}

// vitals are the kinds of geo data that used refers to.
func (g *geoData) vitals(used map[geoKey]bool) (list []vitals.Geo) {
	loaded := make(map[geo.Kind]bool)
	g.mu.Lock()
	for key := range used {
		s := g.sets[key]
		before, seen := loaded[key.kind]
		loaded[key.kind] = (before || !seen) && s != nil && s.Content() != nil
	}
	g.mu.Unlock()
	for kind, ok := range loaded {
		list = append(list, vitals.Geo{Name: kind.File(), Loaded: ok})
	}
	slices.SortFunc(list, func(a, b vitals.Geo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// vitals are the listening sockets.
func (in *inbounds) vitals() (list []vitals.Listener) {
	live := in.shown.Load()
	if live == nil {
		return nil
	}
	for k, l := range *live {
		v := vitals.Listener{Network: k.network, Addr: k.addr, Serving: true}
		select {
		case <-l.ended:
			v.Serving = false
		default:
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b vitals.Listener) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Network, b.Network))
	})
	return list
}
