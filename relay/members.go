package relay

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/filter"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// builtGroup is a group, where its members come from, and the tests it wants of them.
type builtGroup struct {
	group.Group
	own               []outbound.Outbound // members that the file has
	uses              []*proxyProvider    // where the others come from
	filter            *filter.Filter      // of the others
	empty             outbound.Outbound   // stands in for no members
	named             bool                // it names members, or includes the file's nodes
	probe             health.Probe
	interval, timeout time.Duration
	lazy              bool
	made              config.Group // what it was made of

	hollow bool // that it has no members has been told; Relay's gathering guards it

	mu   sync.Mutex // of last
	last provided
}

// provided is what a group takes of what its providers have.
type provided struct {
	of   []*nodeSet
	list []outbound.Outbound
}

// provide is what g takes of what its providers have now. It takes a while where that has changed.
func (g *builtGroup) provide() []outbound.Outbound {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := provided{of: make([]*nodeSet, len(g.uses))}
	for i, p := range g.uses {
		now.of[i] = p.nodes.Load()
	}
	if g.last.of != nil && slices.Equal(now.of, g.last.of) {
		return g.last.list
	}
	var all []outbound.Outbound
	for _, set := range now.of {
		all = append(all, set.list...)
	}
	now.list = filter.Apply(g.filter, all, subject)
	g.last = now
	return now.list
}

// tellHollow says, once, that a group has no members because a provider of its has not loaded any: its
// connections go where nobody may want them to.
func (g *builtGroup) tellHollow(is bool) {
	if is && !g.hollow {
		for _, p := range g.uses {
			if len(p.nodes.Load().list) == 0 {
				p.relay.log.Warn(fmt.Sprintf("group %q has no members while provider %q has no nodes: it goes through %s (see empty-fallback)",
					g.Info().Name, p.config.Name, g.empty.Info().Name))
				break
			}
		}
	}
	g.hollow = is
}

// follow takes over what old has found, where it filters alike.
func (g *builtGroup) follow(old *builtGroup) {
	if old.made.Filter != g.made.Filter || old.made.ExcludeFilter != g.made.ExcludeFilter || old.made.ExcludeType != g.made.ExcludeType {
		return
	}
	old.mu.Lock()
	defer old.mu.Unlock()
	g.last = old.last
}

// subject is what filters look at: the API's word for the type.
func subject(o outbound.Outbound) (name, kind string) { return o.Info().Name, o.Info().Type }

// gather are the members that g has now.
func (g *builtGroup) gather() []outbound.Outbound {
	list := g.own
	if len(g.uses) > 0 {
		list = append(slices.Clip(list), g.provide()...)
	}
	if len(list) == 0 {
		return []outbound.Outbound{g.empty}
	}
	return list
}
