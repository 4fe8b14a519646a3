package impl

import (
	"context"
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
)

// ListRuleProviders implements server.Handler.
func (c *Controller) ListRuleProviders(_ *fasthttp.RequestCtx, w server.ListRuleProvidersW) rt.Reply {
	all := c.o.Relay.RuleProviders()
	return w.JSON200Append(func(b []byte) []byte { // in the order of the file
		b = append(b, `{"providers":{`...)
		for i := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(rt.AppendString(b, all[i].Name), ':')
			b = ruleProviderEntity(&all[i]).AppendJSON(b)
		}
		return append(b, "}}"...)
	})
}

// GetRuleProvider implements server.Handler.
func (c *Controller) GetRuleProvider(_ *fasthttp.RequestCtx, name string, w server.GetRuleProviderW) rt.Reply {
	p, ok := c.findRuleProvider(name)
	if !ok {
		return w.JSON404(notFound)
	}
	return w.JSON200(ruleProviderEntity(&p))
}

// findRuleProvider finds a rule provider by the name of a path.
func (c *Controller) findRuleProvider(name string) (ruleset.Info, bool) {
	return byName(name, c.o.Relay.RuleProvider)
}

// UpdateRuleProvider implements server.Handler.
func (c *Controller) UpdateRuleProvider(_ *fasthttp.RequestCtx, name string, w server.UpdateRuleProviderW) rt.Reply {
	p, ok := c.findRuleProvider(name)
	if !ok {
		return w.JSON404(notFound)
	}
	known, err := c.o.Relay.UpdateRuleProvider(c.ctx, p.Name)
	switch {
	case !known: // a reload came between
		return w.JSON404(notFound)
	case err != nil:
		return w.JSON503(updateFailed(err))
	}
	return w.Empty204()
}

func updateFailed(err error) *api.Error {
	if errors.Is(err, context.Canceled) {
		err = errors.New("the daemon stops")
	}
	return &api.Error{Message: err.Error(), Code: api.ErrorCodeUpdateFailed}
}

var (
	ruleBehaviors = map[ruleset.Behavior]api.RuleBehavior{
		ruleset.Domain: api.RuleBehaviorDomain, ruleset.IPCIDR: api.RuleBehaviorIPCIDR, ruleset.Classical: api.RuleBehaviorClassical,
	}
	ruleFormats = map[ruleset.Format]api.RuleFormat{
		ruleset.YAML: api.RuleFormatYamlRule, ruleset.Text: api.RuleFormatTextRule, ruleset.MRS: api.RuleFormatMrsRule,
	}
)

// ruleProviderEntity is what the API shows of a rule provider.
func ruleProviderEntity(i *ruleset.Info) *api.RuleProvider {
	p := &api.RuleProvider{
		Name: i.Name, Type: "Rule", Behavior: ruleBehaviors[i.Behavior], Format: ruleFormats[i.Format],
		VehicleType: api.VehicleType(i.Vehicle), RuleCount: i.Count, UpdatedAt: i.UpdatedAt,
		TriedAt: i.TriedAt, NextAt: i.NextAt, WarningCount: i.Warnings.Total,
	}
	if p.VehicleType == api.VehicleTypeInline {
		p.Format, p.Payload = "", append([]string{}, i.Payload...)
	}
	if i.Err != nil {
		p.Error = i.Err.Error()
	}
	for _, w := range i.Warnings.First {
		p.Warnings = append(p.Warnings, api.LineWarning{Line: w.Line, Message: w.Text})
	}
	return p
}

// UpdateGeo implements server.Handler.
func (c *Controller) UpdateGeo(_ *fasthttp.RequestCtx, w server.UpdateGeoW) rt.Reply {
	if err := c.o.Relay.UpdateGeo(c.ctx); err != nil {
		return w.JSON500(updateFailed(err))
	}
	return w.Empty204()
}

// UpgradeGeo implements server.Handler.
func (c *Controller) UpgradeGeo(_ *fasthttp.RequestCtx, w server.UpgradeGeoW) rt.Reply {
	if err := c.o.Relay.UpdateGeo(c.ctx); err != nil {
		return w.JSON500(updateFailed(err))
	}
	return w.Empty204()
}
