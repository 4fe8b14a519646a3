package impl

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// ValidateConfigs implements server.Handler.
func (c *Controller) ValidateConfigs(_ *fasthttp.RequestCtx, body *api.ConfigSource, w server.ValidateConfigsW) rt.Reply {
	n, diags, err := c.o.Relay.Judge(body.Path, body.Payload)
	if err != nil {
		status, e := failure(err)
		if status == 400 {
			return w.JSON400(e)
		}
		return w.JSON500(e)
	}
	if n != nil {
		diags = diags.Merge(judge(n))
	}
	return w.JSON200(&api.Verdict{Valid: diags.Err() == nil, Diagnostics: diagnostics(diags)})
}

// PlanConfigs implements server.Handler.
func (c *Controller) PlanConfigs(_ *fasthttp.RequestCtx, q server.PlanConfigsQuery, body *api.ConfigSource, w server.PlanConfigsW) rt.Reply {
	p, err := c.o.Relay.Plan(body.Path, body.Payload, q.Force)
	if err != nil {
		status, e := failure(err)
		if status == 400 {
			return w.JSON400(e)
		}
		return w.JSON500(e)
	}
	return w.JSON200(planEntity(p))
}

func planEntity(p *config.Plan) *api.ConfigPlan {
	e := &api.ConfigPlan{
		Diagnostics:    diagnostics(p.Warnings),
		Listeners:      make([]api.PlannedListener, len(p.Sockets)),
		Proxies:        plannedNames(p.Nodes),
		Groups:         plannedNames(p.Groups),
		ProxyProviders: plannedNames(p.ProxyProviders),
		RuleProviders:  plannedNames(p.RuleProviders),
		Rules:          api.PlannedRules{Before: p.RulesBefore, After: p.RulesAfter, CountersKept: p.CountersKept},
		Settings:       make([]api.PlannedSetting, len(p.Settings)),
		Connections: api.PlannedConnections{
			Total: p.Flows.Total, Through: connectionIDs(p.Flows.Through), Inbound: connectionIDs(p.Flows.Inbound),
			Ended: make([]api.EndedConnections, len(p.Flows.Ended)),
		},
	}
	for i, s := range p.Sockets {
		e.Listeners[i] = api.PlannedListener{
			Owner: api.ListenerOwner(s.Owner), Network: api.ListenerNetwork(s.Network), Address: s.Addr,
			Change: api.ListenerChange(s.Fate),
		}
		if s.From != "" {
			e.Listeners[i].From = &p.Sockets[i].From
		}
	}
	for i := range p.Settings {
		s := &p.Settings[i]
		e.Settings[i] = api.PlannedSetting{Key: s.Key, Applied: s.Applied}
		if s.Shown {
			e.Settings[i].Before, e.Settings[i].After = &s.Before, &s.After
		}
	}
	for i, l := range p.Flows.Ended {
		e.Connections.Ended[i] = api.EndedConnections{
			Reason: l.Reason, AfterSeconds: int(l.After / time.Second), Connections: connectionIDs(l.FlowList),
		}
	}
	return e
}

func plannedNames(f config.Fates) api.PlannedNames {
	return api.PlannedNames{Kept: f.Kept, Rebuilt: f.Rebuilt, Added: f.Added, Removed: f.Removed}
}

func connectionIDs(l config.FlowList) api.ConnectionIDs {
	return api.ConnectionIDs{Count: l.Count, Ids: l.IDs}
}
