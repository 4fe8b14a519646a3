package relay

import (
	"cmp"
	"context"
	"crypto/x509"
	"iter"
	"slices"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// check tests the members of a group soon.
func (r *Relay) check(g group.Group, url string) {
	for _, m := range g.Members() {
		r.planner.Trigger(m, url)
	}
}

// wants are the tests that the groups and providers of n want to be repeated.
func (n *Running) wants() iter.Seq[health.Want] {
	return func(yield func(health.Want) bool) {
		for _, p := range n.ProxyProviders {
			for w := range p.wants(n.usersOf(p)) {
				if !yield(w) {
					return
				}
			}
		}
		for _, g := range n.built {
			if g.interval == 0 || g.probe.URL == "" {
				continue
			}
			w := health.Want{Probe: g.probe, Interval: g.interval, Timeout: g.timeout}
			if g.lazy {
				w.Used = g.LastUsed
			}
			for _, w.Node = range g.Members() {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// usersOf are the groups that use p.
func (n *Running) usersOf(p *proxyProvider) (users []group.Group) {
	for _, g := range n.built {
		if slices.Contains(g.uses, p) {
			users = append(users, g.Group)
		}
	}
	return users
}

// watch has the planner test what n wants, and forgets what is known of nodes that are gone. Relay's gathering
// is held.
func (r *Relay) watch(n *Running) {
	used := make(map[*outbound.Info]bool)
	for _, o := range n.Outbounds {
		used[o.Info()] = true
	}
	for _, p := range n.ProxyProviders {
		for _, o := range p.nodes.Load().list {
			used[o.Info()] = true
		}
	}
	r.planner.Limit(n.Config.HealthChecks)
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

// HealthCount counts what tests have found: another count is that Health may say something else.
func (r *Relay) HealthCount() uint64 { return r.book.Changed() }

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
