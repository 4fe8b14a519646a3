package impl

import (
	"cmp"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/subscription"
)

// ListProxyProviders implements server.Handler.
func (c *Controller) ListProxyProviders(_ *fasthttp.RequestCtx, w server.ListProxyProvidersW) rt.Reply {
	all := c.o.Relay.ProxyProviders()
	return w.JSON200Append(func(b []byte) []byte { // in their order
		b = append(b, `{"providers":{`...)
		for i := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(rt.AppendString(b, all[i].Name), ':')
			b = c.proxyProviderEntity(&all[i]).AppendJSON(b)
		}
		return append(b, "}}"...)
	})
}

// GetProxyProvider implements server.Handler.
func (c *Controller) GetProxyProvider(_ *fasthttp.RequestCtx, name string, w server.GetProxyProviderW) rt.Reply {
	p, ok := c.findProxyProvider(name)
	if !ok {
		return w.JSON404(notFound)
	}
	return w.JSON200(c.proxyProviderEntity(&p))
}

// findProxyProvider finds a proxy provider by the name of a path.
func (c *Controller) findProxyProvider(name string) (subscription.Info, bool) {
	return byName(name, c.o.Relay.ProxyProvider)
}

// UpdateProxyProvider implements server.Handler.
func (c *Controller) UpdateProxyProvider(_ *fasthttp.RequestCtx, name string, w server.UpdateProxyProviderW) rt.Reply {
	p, ok := c.findProxyProvider(name)
	if !ok {
		return w.JSON404(notFound)
	}
	known, err := c.o.Relay.UpdateProxyProvider(c.ctx, p.Name)
	switch {
	case !known: // a reload came between
		return w.JSON404(notFound)
	case err != nil:
		return w.JSON503(updateFailed(err))
	}
	return w.Empty204()
}

// CheckProxyProvider implements server.Handler.
func (c *Controller) CheckProxyProvider(_ *fasthttp.RequestCtx, name string, w server.CheckProxyProviderW) rt.Reply {
	p, ok := c.findProxyProvider(name)
	if !ok || !c.o.Relay.CheckProxyProvider(c.ctx, p.Name) {
		return w.JSON404(notFound)
	}
	return w.Empty204()
}

// GetProviderProxy implements server.Handler.
func (c *Controller) GetProviderProxy(_ *fasthttp.RequestCtx, name, node string, w server.GetProviderProxyW) rt.Reply {
	o := c.findNode(name, node)
	if o == nil {
		return w.JSON404(notFound)
	}
	return w.JSON200(c.proxyEntity(o))
}

// TestProviderProxy implements server.Handler.
func (c *Controller) TestProviderProxy(_ *fasthttp.RequestCtx, name, node string, q server.TestProviderProxyQuery, w server.TestProviderProxyW) rt.Reply {
	return c.testNode(c.findNode(name, node), server.TestProxyQuery(q), w)
}

// findNode finds a node of a proxy provider by the names of a path; nil is none.
func (c *Controller) findNode(name, node string) outbound.Outbound {
	p, _ := c.findProxyProvider(name)
	o, _ := byName(node, func(node string) (outbound.Outbound, bool) {
		for _, o := range p.Nodes {
			if o.Info().Name == node {
				return o, true
			}
		}
		return nil, false
	})
	return o
}

// proxyProviderEntity is what the API shows of a proxy provider.
func (c *Controller) proxyProviderEntity(i *subscription.Info) *api.ProxyProvider {
	p := &api.ProxyProvider{
		Name: i.Name, Type: "Proxy", VehicleType: api.ProxyVehicleType(i.Vehicle), Proxies: make([]api.Proxy, 0, len(i.Nodes)),
		TestURL: i.TestURL, ExpectedStatus: cmp.Or(i.Expected, "*"),
		UpdatedAt: i.UpdatedAt, TriedAt: i.TriedAt, NextAt: i.NextAt, WarningCount: i.ProblemCount,
	}
	for _, o := range i.Nodes {
		p.Proxies = append(p.Proxies, *c.proxyEntity(o))
	}
	if u := i.Used; u != nil {
		p.SubscriptionInfo = &api.SubscriptionInfo{Upload: u.Upload, Download: u.Download, Total: u.Total, Expire: u.Expire}
	}
	if i.Err != nil {
		p.Error = i.Err.Error()
	}
	p.Warnings = make([]api.NodeWarning, 0, len(i.Problems))
	for _, b := range i.Problems {
		p.Warnings = append(p.Warnings, api.NodeWarning{Line: b.Line, Name: b.Name, Message: b.Text})
	}
	return p
}
