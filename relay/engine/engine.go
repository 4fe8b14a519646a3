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
	"github.com/switchyard-proxy/switchyard/relay/group"
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
	Via // a node or group that was named, by whoever opened the flow
)

// Snapshot is one configuration, built. A flow loads it once and sees nothing else until it ends.
type Snapshot struct {
	Mode     Mode
	Rules    *rule.Program
	Counters *rule.Counters      // of Rules
	Targets  []outbound.Outbound // of Rules.Targets; nil where there is none of that name
	Global   outbound.Outbound
	Direct   outbound.Outbound
	// Restore finds the name that a client was given the flow's address for, before rules look at it; nil
	// finds none. With an error the flow goes nowhere.
	Restore func(f *flow.Flow) error
	// Lookup resolves a name for a rule that needs its address.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Process finds who opened a flow, for a rule that needs it; nil is that nobody looks.
	Process func(ctx context.Context, f *flow.Flow) flow.Process
	// AlwaysProcess looks for the process of every flow.
	AlwaysProcess bool
}

// Engine carries flows by the current snapshot.
type Engine struct {
	Table    *track.Table
	log      *slog.Logger
	counters *counters
	current  atomic.Pointer[Snapshot]
	nat      *nat.Table
	panics   atomic.Int64
	selves   flow.Selves
}

// Selves are the connections of ours that may come back to us.
func (e *Engine) Selves() *flow.Selves { return &e.selves }

// New makes an engine; Use must be called before the first flow.
func New(log *slog.Logger, table *track.Table) *Engine {
	e := &Engine{Table: table, log: log, counters: newCounters()}
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
			e.tickRules()
			if n%sweepEvery == 0 {
				e.Table.Sweep(sweepQuiet)
			}
		case <-ctx.Done():
			e.Table.EndAll(track.Shutdown)
			return <-done
		}
	}
}

// Open implements inbound.Handler: it carries f to its outbound and dials.
func (e *Engine) Open(ctx context.Context, f *flow.Flow) (flow.Stream, error) {
	r, err := e.route(ctx, e.current.Load(), f)
	return e.dial(ctx, f, &r, err)
}

// OpenVia is Open through target, whatever mode and rules say.
func (e *Engine) OpenVia(ctx context.Context, f *flow.Flow, target outbound.Outbound) (flow.Stream, error) {
	r := decided(target, f, Via, false)
	return e.dial(ctx, f, &r, nil)
}

// dial goes the way r, unless err says that there is none.
func (e *Engine) dial(ctx context.Context, f *flow.Flow, r *route, err error) (flow.Stream, error) {
	if err == nil && e.selves.Loops(f.Source, f.Local) {
		err = flow.ErrLoop
	}
	if err != nil {
		e.failed(ctx, f, r, err)
		return nil, err
	}
	e.counters.matched(r)
	conn, err := r.leaf.Dial(ctx, f)
	group.Tell(r.way, err)
	if err != nil {
		e.failed(ctx, f, r, err)
		return nil, err
	}
	s := &stream{Conn: conn, engine: e, entry: r.entry(f)}
	if a := conn.RemoteAddr(); a != nil {
		s.entry.Remote = host(a.String())
	}
	e.Table.Open(s.entry, s.end)
	e.logFlow(ctx, f, r, s.entry)
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

// EndTargets ends the associations for which gone says so: asked is what the client sends to, and host the
// name that was taken for, or "".
func (e *Engine) EndTargets(gone func(asked flow.Addr, host string) bool) { e.nat.EndTargets(gone) }

// resolver is an outbound that looks names up here, not at the other end of a proxy.
type resolver interface {
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
}

// sentTo is what leaf sends datagrams of f to. An address that was looked up here for rules means nothing
// where a proxy is given the name: answers come from what it finds.
func sentTo(leaf outbound.Outbound, f *flow.Flow) flow.Addr {
	to := f.Target()
	if _, here := leaf.(resolver); !here && to.Host != "" {
		to.IP = netip.Addr{}
	}
	return to
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

// maxTries bounds the nodes that one association is tried with: a rematch can lead to one again.
const maxTries = 64

// socketOf names the connection that datagrams of f go through: one for all that a source sends through
// an outbound. A name that was given a fake address has one of its own, which tells whose the answers are
// when two names have the same address.
func socketOf(r *route, f *flow.Flow) any {
	if f.DNSMode == flow.DNSFakeIP {
		return struct {
			leaf outbound.Outbound
			host string
		}{r.leaf, f.To.Host}
	}
	return r.leaf
}

// openPacket opens the association of one source with one target.
func (e *Engine) openPacket(ctx context.Context, f *flow.Flow, dial nat.Dial, end func()) (*nat.Session, error) {
	s := e.current.Load()
	r, err := e.route(ctx, s, f)
	var conn flow.PacketConn
	for tries := 0; err == nil; tries++ {
		conn, err = dial(socketOf(&r, f), func() (flow.PacketConn, error) {
			c, err := r.leaf.DialPacket(ctx, f)
			group.Tell(r.way, err)
			return c, err
		})
		if !errors.Is(err, flow.ErrNoUDP) || r.rule == rule.None || tries == maxTries {
			break
		}
		r, err = e.reroute(ctx, s, f, &r) // the way to a node may not carry it
	}
	if r.leaf != nil && !errors.Is(err, errCircle) {
		e.counters.matched(&r)
	}
	if err == nil && !f.To.IP.IsValid() {
		err = locate(ctx, r.leaf, f)
	}
	if err != nil {
		e.failed(ctx, f, &r, err)
		return nil, err
	}
	entry := r.entry(f)
	e.Table.Open(entry, end)
	e.logFlow(ctx, f, &r, entry)
	return &nat.Session{
		To: sentTo(r.leaf, f), Conn: conn, Up: &entry.Up, Down: &entry.Down,
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
