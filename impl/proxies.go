package impl

import (
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// ListProxies implements server.Handler.
func (c *Controller) ListProxies(_ *fasthttp.RequestCtx, w server.ListProxiesW) rt.Reply {
	all := c.o.Relay.Outbounds()
	return w.JSON200Append(func(b []byte) []byte {
		b = append(b, `{"proxies":{`...)
		for i, o := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(rt.AppendString(b, o.Info().Name), ':')
			p := proxyEntity(o)
			b = p.AppendJSON(b)
		}
		return append(b, "}}"...)
	})
}

// GetProxy implements server.Handler.
func (c *Controller) GetProxy(_ *fasthttp.RequestCtx, name string, w server.GetProxyW) rt.Reply {
	o := c.find(name)
	if o == nil {
		return w.JSON404(notFound)
	}
	return w.JSON200(proxyEntity(o))
}

// find finds a node or group by the name of a path.
func (c *Controller) find(name string) outbound.Outbound {
	o, _ := byName(name, func(name string) (outbound.Outbound, bool) {
		o := c.o.Relay.Outbound(name)
		return o, o != nil
	})
	return o
}

// byName finds what a path names. Some clients escape twice: a name that is not there is tried again
// with one more escape taken off.
func byName[T any](name string, find func(name string) (T, bool)) (T, bool) {
	found, ok := find(name)
	if again, escaped := rt.Unescape(name); !ok && escaped && again != name {
		return find(again)
	}
	return found, ok
}

// SelectProxy implements server.Handler.
func (c *Controller) SelectProxy(_ *fasthttp.RequestCtx, name string, body *api.Selection, w server.SelectProxyW) rt.Reply {
	o := c.find(name)
	if o == nil {
		return w.JSON404(notFound)
	}
	g, ok := o.(*group.Select)
	if !ok {
		return w.JSON400(&api.Error{Message: "Must be a Selector", Code: api.ErrorCodeNotSelectable})
	}
	if err := c.o.Relay.Select(g.Info().Name, body.Name); err != nil {
		_, e := failure(err)
		return w.JSON400(e)
	}
	return w.Empty204()
}

// UnfixProxy implements server.Handler. The groups there are so far are picked by hand and have no
// pin to take out.
func (c *Controller) UnfixProxy(_ *fasthttp.RequestCtx, name string, w server.UnfixProxyW) rt.Reply {
	if c.find(name) == nil {
		return w.JSON404(notFound)
	}
	return w.JSON400(&api.Error{Message: "Body invalid", Code: api.ErrorCodeNotPinnable})
}

// ListGroups implements server.Handler.
func (c *Controller) ListGroups(_ *fasthttp.RequestCtx, w server.ListGroupsW) rt.Reply {
	groups := c.o.Relay.Groups()
	list := &api.GroupList{Proxies: make([]api.Proxy, 0, len(groups))}
	for _, g := range groups {
		list.Proxies = append(list.Proxies, *proxyEntity(g))
	}
	return w.JSON200(list)
}

// GetGroup implements server.Handler.
func (c *Controller) GetGroup(_ *fasthttp.RequestCtx, name string, w server.GetGroupW) rt.Reply {
	g, ok := c.find(name).(*group.Select)
	if !ok {
		return w.JSON404(notFound)
	}
	return w.JSON200(proxyEntity(g))
}

// proxyEntity is what the API shows of a node or group.
func proxyEntity(o outbound.Outbound) *api.Proxy {
	i := o.Info()
	p := &api.Proxy{
		Name: i.Name, Type: api.AdapterType(i.Type), Alive: true,
		History: []api.Delay{}, Extra: map[string]api.TestState{},
		UDP: i.UDP, Uot: i.UOT, Xudp: i.XUDP, Tfo: i.TFO, Mptcp: i.MPTCP, Smux: i.SMux,
		Interface: i.Interface, RoutingMark: int64(i.RoutingMark), DialerProxy: i.DialerProxy,
		ProviderName: i.Provider,
	}
	g, ok := o.(*group.Select)
	if !ok {
		p.ID = &i.ID
		return p
	}
	conf, now := g.Config(), g.Now().Info().Name
	p.UDP, p.Now, p.Hidden, p.Icon = g.UDP(), &now, &conf.Hidden, &conf.Icon
	p.TestURL, p.EmptyFallback = &conf.TestURL, &conf.Empty
	p.All = make([]string, 0, len(conf.Members))
	for _, m := range conf.Members {
		p.All = append(p.All, m.Info().Name)
	}
	return p
}
