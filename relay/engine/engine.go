// Package engine takes a flow from the inbound that accepted it to the outbound that carries it:
// mode, rules, groups, dial, table. It is the only package that knows the whole way.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/nat"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// Mode says what decides where a flow goes.
type Mode uint8

// The modes.
const (
	ByRule Mode = iota
	Global
	Direct
)

// Snapshot is one configuration, built. A flow loads it once and sees nothing else until it ends.
type Snapshot struct {
	Mode    Mode
	Rules   *rule.Program
	Targets []outbound.Outbound // of each rule
	Global  outbound.Outbound
	Direct  outbound.Outbound
	// Lookup resolves a name for a rule that needs its address.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Engine carries flows by the current snapshot.
type Engine struct {
	Table   *track.Table
	log     *slog.Logger
	current atomic.Pointer[Snapshot]
	nat     *nat.Table
	panics  atomic.Int64
	selves  flow.Selves
}

// Selves are the connections of ours that may come back to us.
func (e *Engine) Selves() *flow.Selves { return &e.selves }

// New makes an engine; Use must be called before the first flow.
func New(log *slog.Logger, table *track.Table) *Engine {
	e := &Engine{Table: table, log: log}
	e.nat = nat.New(nat.Config{Open: e.openPacket, Recovered: e.Recovered})
	return e
}

// Use makes s the configuration of the flows that come from now on.
func (e *Engine) Use(s *Snapshot) { e.current.Store(s) }

// Current is the snapshot in use.
func (e *Engine) Current() *Snapshot { return e.current.Load() }

// Panics counts the bugs that ended a flow.
func (e *Engine) Panics() int64 { return e.panics.Load() }

// lookupTimeout bounds the wait for an address that a rule asked for.
const lookupTimeout = 5 * time.Second

// sweepEvery and sweepQuiet end a half-closed flow that moved nothing for some five minutes.
const (
	sweepEvery = 30 // seconds
	sweepQuiet = 10
)

// Serve keeps the rates and ends idle flows until ctx is done; then it ends every flow.
func (e *Engine) Serve(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- e.nat.Serve(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			e.Table.Tick()
			if n%sweepEvery == 0 {
				e.Table.Sweep(sweepQuiet)
			}
		case <-ctx.Done():
			e.Table.EndAll(track.Shutdown)
			return <-done
		}
	}
}

// route is the decision about one flow.
type route struct {
	leaf  outbound.Outbound
	chain []string // leaf first
	provs []string
	rule  int // None outside of rule mode and when nothing matched
	info  rule.Info
	mode  Mode
}

// picker is what a group is to the engine.
type picker interface {
	Pick(f *flow.Flow) outbound.Outbound
}

// maxDepth bounds the walk through groups; loops are refused at load.
const maxDepth = 64

// follow goes from a target through the groups' choices to the outbound that dials.
func follow(target outbound.Outbound, f *flow.Flow) (leaf outbound.Outbound, chain []outbound.Outbound) {
	chain = make([]outbound.Outbound, 0, 4)
	for range maxDepth {
		chain = append(chain, target)
		g, ok := target.(picker)
		if !ok {
			break
		}
		target = g.Pick(f)
	}
	return target, chain
}

// route decides where f goes, by the rules at from and after it. It adds the address of f's name when
// a rule needs it.
func (e *Engine) route(ctx context.Context, s *Snapshot, f *flow.Flow, from int) route {
	switch s.Mode {
	case Global:
		return decided(s.Global, f, rule.None, rule.Info{}, Global)
	case Direct:
		return decided(s.Direct, f, rule.None, rule.Info{}, Direct)
	}
	for {
		i, need := s.Rules.Match(f, from)
		if need == rule.NeedIP {
			e.lookup(ctx, s, f)
			from = i
			continue
		}
		if i == rule.None {
			return decided(s.Direct, f, rule.None, rule.Info{}, ByRule)
		}
		leaf, chain := follow(s.Targets[i], f)
		if passes(leaf, chain, f) {
			from = i + 1
			continue
		}
		return decided(s.Targets[i], f, i, s.Rules.Info(i), ByRule)
	}
}

// passes says that a matched target hands the flow on to the next rule.
func passes(leaf outbound.Outbound, chain []outbound.Outbound, f *flow.Flow) bool {
	if leaf.Info().Type == "Pass" {
		return true
	}
	return f.Network == flow.UDP && !carriesUDP(leaf, chain)
}

func carriesUDP(leaf outbound.Outbound, chain []outbound.Outbound) bool {
	if g, ok := chain[0].(interface{ UDP() bool }); ok {
		return g.UDP()
	}
	return leaf.Info().UDP
}

func decided(target outbound.Outbound, f *flow.Flow, i int, info rule.Info, m Mode) route {
	leaf, chain := follow(target, f)
	r := route{leaf: leaf, rule: i, info: info, mode: m}
	r.chain, r.provs = make([]string, len(chain)), make([]string, len(chain))
	for j, o := range chain {
		r.chain[len(chain)-1-j], r.provs[len(chain)-1-j] = o.Info().Name, o.Info().Provider
	}
	return r
}

// lookup finds the address of f's name. Rules that wanted it do not hold when there is none.
func (e *Engine) lookup(ctx context.Context, s *Snapshot, f *flow.Flow) {
	f.LookedUp = true
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := s.Lookup(ctx, f.To.Host)
	if err != nil || len(addrs) == 0 {
		e.log.LogAttrs(ctx, slog.LevelDebug, "resolve for a rule", slog.String("host", f.To.Host), slog.Any("err", err))
		return
	}
	f.To.IP = addrs[0]
}

// Open implements inbound.Handler: it carries f to its outbound and dials.
func (e *Engine) Open(ctx context.Context, f *flow.Flow) (flow.Stream, error) {
	r := e.route(ctx, e.current.Load(), f, 0)
	if e.selves.Loops(f.Source, f.Local) {
		e.logFailure(ctx, f, &r, flow.ErrLoop)
		return nil, flow.ErrLoop
	}
	conn, err := r.leaf.Dial(ctx, f)
	if err != nil {
		e.logFailure(ctx, f, &r, err)
		return nil, err
	}
	s := &stream{Conn: conn, engine: e, entry: r.entry(f)}
	if a := conn.RemoteAddr(); a != nil {
		s.entry.Remote = host(a.String())
	}
	e.Table.Open(s.entry, s.end)
	e.logFlow(ctx, f, &r)
	return s, nil
}

func (r *route) entry(f *flow.Flow) *track.Entry {
	return &track.Entry{
		Flow: f, Chain: r.chain, ProviderChain: r.provs, Rule: r.info.Type, RulePayload: r.info.Payload,
	}
}

// host is the address of an address and port.
func host(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().String()
	}
	return ""
}

// Packet implements inbound.Handler: it carries one datagram of f, and the replies to r.
func (e *Engine) Packet(f flow.Flow, local netip.Addr, p []byte, r flow.Replier) {
	e.nat.Send(f, local, p, r)
}

// EndSources implements inbound.Handler: it ends the associations of sources that are gone.
func (e *Engine) EndSources(gone func(netip.AddrPort, flow.Replier) bool) { e.nat.EndSources(gone) }

// resolver is an outbound that looks names up here, not at the other end of a proxy.
type resolver interface {
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

// locate fills in the address that datagrams of f go to, before the flow is shown.
func locate(ctx context.Context, leaf outbound.Outbound, f *flow.Flow) error {
	r, ok := leaf.(resolver)
	if !ok {
		return nil
	}
	addrs, err := r.Resolve(ctx, f.To.Host)
	if len(addrs) > 0 {
		f.To.IP = addrs[0]
	}
	return err
}

// openPacket opens the association of one source with one target.
func (e *Engine) openPacket(ctx context.Context, f *flow.Flow, dial nat.Dial, end func()) (*nat.Session, error) {
	s := e.current.Load()
	r := e.route(ctx, s, f, 0)
	conn, err := dial(r.leaf, func() (flow.PacketConn, error) { return r.leaf.DialPacket(ctx, f) })
	for errors.Is(err, flow.ErrNoUDP) && r.rule != rule.None { // the way to a node may not carry it
		r = e.route(ctx, s, f, r.rule+1)
		conn, err = dial(r.leaf, func() (flow.PacketConn, error) { return r.leaf.DialPacket(ctx, f) })
	}
	if err == nil && !f.To.IP.IsValid() {
		err = locate(ctx, r.leaf, f)
	}
	if err != nil {
		e.logFailure(ctx, f, &r, err)
		return nil, err
	}
	entry := r.entry(f)
	e.Table.Open(entry, end)
	e.logFlow(ctx, f, &r)
	return &nat.Session{
		To: f.To, Conn: conn, Up: &entry.Up, Down: &entry.Down,
		Closed: func(idle bool) {
			reason := track.Done
			if idle {
				reason = track.Idle
			}
			e.Table.Remove(entry, reason)
			e.logEnd(ctx, entry)
		},
	}, nil
}

// rejected says that an error is a rule's word and no failure.
func rejected(err error) bool { return errors.Is(err, flow.ErrRejected) }
