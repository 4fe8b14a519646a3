package impl

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// ListRules implements server.Handler.
func (c *Controller) ListRules(_ *fasthttp.RequestCtx, w server.ListRulesW) rt.Reply {
	program, stats := c.o.Relay.Rules()
	return w.JSON200Append(func(b []byte) []byte {
		b = append(b, `{"rules":[`...)
		var extra api.RuleExtra // of one rule at a time: there may be many
		r := api.Rule{Extra: &extra}
		for i := range program.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			fillRule(&r, program, i, &stats[i])
			b = r.AppendJSON(b)
		}
		return append(b, "]}"...)
	})
}

// fillRule makes r what the API shows of rule i.
func fillRule(r *api.Rule, p *rule.Program, i int, s *rule.Stat) {
	info := p.Info(i)
	r.Index, r.Type, r.Payload, r.Proxy, r.Size = i, api.RuleType(info.Type), info.Payload, info.Target, info.Size
	*r.Extra = api.RuleExtra{
		Disabled: p.Off(i), HitCount: int64(s.Hits), HitAt: s.HitAt, MissCount: int64(s.Misses), MissAt: s.MissAt,
	}
}

// SwitchRules implements server.Handler.
func (c *Controller) SwitchRules(_ *fasthttp.RequestCtx, body *api.RuleSwitches, w server.SwitchRulesW) rt.Reply {
	off := make(map[int]bool, len(*body))
	for key, is := range *body {
		i, err := strconv.Atoi(key)
		if err != nil {
			return w.JSON400(&api.Error{Message: "there is no rule " + strconv.Quote(key), Code: api.ErrorCodeUnknownRule})
		}
		off[i] = is
	}
	if err := c.o.Relay.SwitchRules(off); err != nil {
		status, e := failure(err)
		if status == 400 {
			return w.JSON400(e)
		}
		return w.JSON500(e)
	}
	return w.Empty204()
}

// explainTimeout bounds the answer about one route, lookups included.
const explainTimeout = 10 * time.Second

// MatchRules implements server.Handler.
func (c *Controller) MatchRules(_ *fasthttp.RequestCtx, body *api.RouteQuery, w server.MatchRulesW) rt.Reply {
	f, err := flowOf(body)
	if err != nil {
		return w.JSON400(&api.Error{Message: err.Error(), Code: api.ErrorCodeQueryInvalid})
	}
	ctx, cancel := context.WithTimeout(c.ctx, explainTimeout)
	defer cancel()
	x, err := c.o.Relay.Explain(ctx, f, processOf(body), body.Trace)
	return w.JSON200(routeEntity(x, err))
}

// flowOf is the flow that somebody asks about.
func flowOf(q *api.RouteQuery) (*flow.Flow, error) {
	f := &flow.Flow{
		Network: flow.TCP, Kind: flow.SOCKS5, Inbound: q.Inbound, User: q.User, DSCP: uint8(q.Dscp),
		To:    flow.Addr{Port: uint16(q.Port)},
		Local: netip.AddrPortFrom(netip.Addr{}, uint16(q.InboundPort)),
	}
	switch strings.ToLower(q.Network) {
	case "", "tcp":
	case "udp":
		f.Network = flow.UDP
	default:
		return nil, errors.New("network: want tcp or udp, got " + strconv.Quote(q.Network))
	}
	if q.Type != "" {
		if f.Kind = flow.ParseKind(q.Type); f.Kind == 0 {
			return nil, errors.New("type: want a kind of inbound such as HTTPS or Socks5, got " + strconv.Quote(q.Type))
		}
	}
	var err error
	if q.Host != "" {
		if f.To.Host, f.To.IP, err = flow.ParseHost(q.Host); err != nil {
			return nil, errors.New("host: want a name or an address, got " + strconv.Quote(q.Host))
		}
	}
	if q.IP != "" {
		if f.To.IP, err = parseAddr("ip", q.IP); err != nil {
			return nil, err
		}
	}
	if f.To.Host == "" && !f.To.IP.IsValid() {
		return nil, errors.New("want a host or an ip")
	}
	source := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if q.Source != "" {
		if source, err = parseAddr("source", q.Source); err != nil {
			return nil, err
		}
	}
	f.Source = netip.AddrPortFrom(source, uint16(q.SourcePort))
	return f, nil
}

// processOf is what is said of the process.
func processOf(q *api.RouteQuery) flow.Process {
	switch {
	case q.UID != nil:
		return flow.FoundProcess(uint32(*q.UID), q.Process)
	case q.Process != "":
		p := flow.FoundProcess(0, q.Process)
		p.NoUser = true
		return p
	}
	return flow.Process{LookedUp: true}
}

func parseAddr(key, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, errors.New(key + ": want an address, got " + strconv.Quote(s))
	}
	return a.Unmap().WithZone(""), nil
}

var modeNames = map[engine.Mode]api.Mode{engine.ByRule: api.ModeRule, engine.Global: api.ModeGlobal, engine.Direct: api.ModeDirect}

func routeEntity(x *engine.Explanation, err error) *api.Route {
	r := &api.Route{
		Mode: modeNames[x.Mode], Chains: x.Chain, AskedProcess: x.AskedProcess, Rematched: x.Rematched, TraceCut: x.Cut,
	}
	if err != nil {
		text := err.Error()
		r.Error = &text
	}
	if x.Rule != rule.None {
		r.Rule = matchedRule(x.Rule, x.List, &x.Info)
	}
	if l := x.Lookup; l != nil {
		r.Lookup = &api.RouteLookup{Host: l.Host, Addresses: make([]string, 0, len(l.Addrs))}
		for _, a := range l.Addrs {
			r.Lookup.Addresses = append(r.Lookup.Addresses, a.String())
		}
		if l.Err != nil {
			text := l.Err.Error()
			r.Lookup.Error = &text
		}
	}
	for i := range x.Trace {
		s := &x.Trace[i]
		r.Trace = append(r.Trace, api.RouteStep{Rule: *matchedRule(s.Rule, s.List, &s.Info), Holds: s.Holds, Why: s.Why})
	}
	return r
}

func matchedRule(i int, list string, info *rule.Info) *api.MatchedRule {
	r := &api.MatchedRule{Index: i, List: "rules", Type: api.RuleType(info.Type), Payload: info.Payload, Proxy: info.Target}
	if list != "" {
		r.List = "sub-rules[" + list + "]"
	}
	return r
}
