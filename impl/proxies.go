package impl

import (
	"cmp"
	"sync"
	"weak"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// ListProxies implements server.Handler.
func (c *Controller) ListProxies(_ *fasthttp.RequestCtx, w server.ListProxiesW) rt.Reply {
	all := c.o.Relay.Outbounds()
	return w.JSON200Append(func(b []byte) []byte {
		b = append(b, `{"proxies":{`...)
		nodes := c.nodes.of(all, c.o.Relay.HealthCount(), c.appendProxy)
		from := 0
		for i, o := range all {
			if i > 0 {
				b = append(b, ',')
			}
			if end := nodes.ends[i]; end > from {
				b = append(b, nodes.text[from:end]...)
				from = end
			} else {
				b = c.appendProxy(b, o)
			}
		}
		return append(b, "}}"...)
	})
}

// appendProxy appends a node or group as a member of an object.
func (c *Controller) appendProxy(b []byte, o outbound.Outbound) []byte {
	b = append(rt.AppendString(b, o.Info().Name), ':')
	return c.proxyEntity(o).AppendJSON(b)
}

// nodesText keeps the JSON of all nodes until a test finds something or there are other nodes. Panels ask for
// it every few seconds.
type nodesText struct {
	mu   sync.Mutex
	last *nodesJSON
}

// nodesJSON is the JSON of nodes, one behind the other. It is not changed.
type nodesJSON struct {
	list  weak.Pointer[outbound.Outbound] // the first of them: it does not keep what a reload has replaced
	count uint64                          // of tests
	text  []byte
	ends  []int // of each in text; that of a group, which has nothing there, is the one before
}

// of returns the JSON of the nodes in all, as it is or a little later than at that count of tests.
func (n *nodesText) of(all []outbound.Outbound, count uint64, write func([]byte, outbound.Outbound) []byte) *nodesJSON {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list weak.Pointer[outbound.Outbound]
	if len(all) > 0 {
		list = weak.Make(&all[0])
	}
	if l := n.last; l != nil && l.list == list && len(l.ends) == len(all) && l.count == count {
		return n.last
	}
	j := &nodesJSON{list: list, count: count, ends: make([]int, len(all))}
	for i, o := range all {
		if _, isGroup := o.(group.Group); !isGroup {
			j.text = write(j.text, o)
		}
		j.ends[i] = len(j.text)
	}
	n.last = j
	return j
}

// GetProxy implements server.Handler.
func (c *Controller) GetProxy(_ *fasthttp.RequestCtx, name string, w server.GetProxyW) rt.Reply {
	o := c.find(name)
	if o == nil {
		return w.JSON404(notFound)
	}
	return w.JSON200(c.proxyEntity(o))
}

// find finds a node or group by the name of a path.
func (c *Controller) find(name string) outbound.Outbound {
	o, _ := byName(name, func(name string) (outbound.Outbound, bool) {
		o := c.o.Relay.Outbound(name)
		return o, o != nil
	})
	return o
}

// findGroup finds a group by the name of a path; nil is none.
func (c *Controller) findGroup(name string) group.Group {
	g, _ := c.find(name).(group.Group)
	return g
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
	if _, ok := o.(group.Wisher); !ok {
		return w.JSON400(&api.Error{Message: "Must be a Selector", Code: api.ErrorCodeNotSelectable})
	}
	err := c.o.Relay.Select(o.Info().Name, body.Name)
	if err == nil {
		return w.Empty204()
	}
	status, e := failure(err)
	if status == 400 {
		return w.JSON400(e)
	}
	return w.JSON500(e)
}

// UnfixProxy implements server.Handler.
func (c *Controller) UnfixProxy(_ *fasthttp.RequestCtx, name string, w server.UnfixProxyW) rt.Reply {
	o := c.find(name)
	if o == nil {
		return w.JSON404(notFound)
	}
	if !c.o.Relay.Unpin(o.Info().Name) {
		return w.JSON400(notPinnable)
	}
	return w.Empty204()
}

// UnfixGroup implements server.Handler.
func (c *Controller) UnfixGroup(_ *fasthttp.RequestCtx, name string, w server.UnfixGroupW) rt.Reply {
	g := c.findGroup(name)
	if g == nil {
		return w.JSON404(notFound)
	}
	if !c.o.Relay.Unpin(g.Info().Name) {
		return w.JSON400(notPinnable)
	}
	return w.Empty204()
}

// ListGroups implements server.Handler.
func (c *Controller) ListGroups(_ *fasthttp.RequestCtx, w server.ListGroupsW) rt.Reply {
	groups := c.o.Relay.Groups()
	list := &api.GroupList{Proxies: make([]api.Proxy, 0, len(groups))}
	for _, g := range groups {
		list.Proxies = append(list.Proxies, *c.proxyEntity(g))
	}
	return w.JSON200(list)
}

// GetGroup implements server.Handler.
func (c *Controller) GetGroup(_ *fasthttp.RequestCtx, name string, w server.GetGroupW) rt.Reply {
	g := c.findGroup(name)
	if g == nil {
		return w.JSON404(notFound)
	}
	return w.JSON200(c.proxyEntity(g))
}

// proxyEntity is what the API shows of a node or group.
func (c *Controller) proxyEntity(o outbound.Outbound) *api.Proxy {
	i := o.Info()
	tests := c.o.Relay.Health(i)
	p := &api.Proxy{
		Name: i.Name, Type: api.AdapterType(i.Type), Alive: tests.Alive,
		History: delays(tests.History), Extra: make(map[string]api.TestState, len(tests.Extra)),
		UDP: i.UDP, Uot: i.UOT, Xudp: i.XUDP, Tfo: i.TFO, Mptcp: i.MPTCP, Smux: i.SMux,
		Interface: i.Interface, RoutingMark: int64(i.RoutingMark), DialerProxy: i.DialerProxy,
		ProviderName: i.Provider,
	}
	for url, found := range tests.Extra {
		p.Extra[url] = api.TestState{Alive: found.Alive, History: delays(found.History)}
	}
	if g, ok := o.(group.Group); ok {
		describeGroup(p, g)
	} else {
		p.ID = &i.ID
	}
	return p
}

func delays(records []health.Record) []api.Delay {
	list := make([]api.Delay, 0, len(records))
	for _, r := range records {
		list = append(list, api.Delay{Time: r.Time, Delay: int(r.Delay)})
	}
	return list
}

// describeGroup adds what groups alone have.
func describeGroup(p *api.Proxy, g group.Group) {
	conf, members := g.Config(), g.Members()
	p.UDP, p.Hidden, p.Icon = g.UDP(), &conf.Hidden, &conf.Icon
	p.All = make([]string, 0, len(members))
	for _, m := range members {
		p.All = append(p.All, m.Info().Name)
	}
	if chooser, ok := g.(group.Chooser); ok {
		now := chooser.Now().Info().Name
		p.Now = &now
	}
	if pinner, ok := g.(group.Pinner); ok {
		fixed := pinner.Fixed()
		p.Fixed = &fixed
	}
	switch g.(type) {
	case *group.Relay: // tests no members
		return
	case *group.Select: // expects no status
	default:
		expected := cmp.Or(conf.Expected, "*")
		p.ExpectedStatus = &expected
	}
	p.TestURL, p.EmptyFallback = &conf.TestURL, &conf.Empty
}
