package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// node is an outbound that can be seen, and refuses.
type node struct {
	info outbound.Info
	err  error
}

func (n *node) Info() *outbound.Info                                { return &n.info }
func (n *node) Dial(context.Context, *flow.Flow) (flow.Conn, error) { return nil, n.err }

func (n *node) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) { return nil, n.err }

// group is a node that another one stands for.
type grouped struct {
	node
	to  outbound.Outbound
	udp bool
}

func (g *grouped) Pick(*flow.Flow) outbound.Outbound { return g.to }
func (g *grouped) UDP() bool                         { return g.udp }

var errRefused = errors.New("refused")

func named(name, kind string, udp bool) *node {
	return &node{info: outbound.Info{Name: name, Type: kind, UDP: udp}, err: errRefused}
}

// setup is an engine with the nodes of a small configuration, and rules TYPE,PAYLOAD,TARGET.
type setup struct {
	*Engine
	*Snapshot
	log     bytes.Buffer
	lookups int
}

func newSetup(t *testing.T, mode Mode, rules ...string) *setup {
	t.Helper()
	direct := named("DIRECT", "Direct", true)
	leaf := named("leaf", "Http", false)
	inner := &grouped{node: *named("inner", "Selector", false), to: leaf}
	targets := map[string]outbound.Outbound{
		"DIRECT": direct, "leaf": leaf, "PASS": named("PASS", "Pass", true),
		"REJECT": &node{info: outbound.Info{Name: "REJECT", Type: "Reject", UDP: true}, err: flow.ErrRejected},
		"far":    &node{info: outbound.Info{Name: "far", Type: "Socks5", UDP: true}, err: flow.ErrNoUDP},
		"dns":    named("dns", "Dns", true),
		"again":  outbound.NewRematch(outbound.Info{Name: "again", Type: "Rematch", UDP: true}, "", ""),
		"outer":  &grouped{node: *named("outer", "Selector", false), to: inner},
		"mute":   &grouped{node: *named("mute", "Selector", false), to: direct}, // disable-udp
	}
	s := &setup{}
	s.Engine = New(slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), track.NewTable())
	s.Snapshot = &Snapshot{
		Mode: mode, Direct: direct, Global: targets["outer"],
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			s.lookups++
			if host == "known.test" {
				return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
			}
			return nil, errors.New("no such host")
		},
	}
	var list []rule.Rule
	for _, text := range rules {
		f := strings.Split(text, ",")
		r := rule.Rule{Type: f[0], Target: f[len(f)-1]}
		if len(f) > 2 {
			r.Payload = f[1]
		}
		list = append(list, r)
	}
	program, errs := rule.Compile(list, nil)
	if errs != nil {
		t.Fatal(errs)
	}
	s.Rules, s.Counters = program, rule.NewCounters(program.Len())
	for _, name := range program.Targets() {
		s.Targets = append(s.Targets, targets[name])
	}
	s.Use(s.Snapshot)
	return s
}

func to(network flow.Network, host string) *flow.Flow {
	return &flow.Flow{
		Network: network, Source: netip.MustParseAddrPort("10.0.0.1:5000"),
		To: flow.Addr{Host: host, Port: 443},
	}
}

func TestRoute(t *testing.T) {
	f := func(s *setup, fl *flow.Flow, wantRule int, wantChain string, wantLookups int) {
		t.Helper()
		r, err := s.route(t.Context(), s.Snapshot, fl)
		if err != nil {
			t.Fatal(err)
		}
		if chain := strings.Join(r.chain, " "); r.rule != wantRule || chain != wantChain || s.lookups != wantLookups {
			t.Errorf("rule %d, %s, %d lookups; want %d, %s, %d", r.rule, chain, s.lookups, wantRule, wantChain, wantLookups)
		}
	}
	// The chain is leaf first, the outermost group last.
	f(newSetup(t, ByRule, "DOMAIN,a.test,outer", "MATCH,DIRECT"), to(flow.TCP, "a.test"), 0, "leaf inner outer", 0)
	f(newSetup(t, ByRule, "DOMAIN,b.test,outer"), to(flow.TCP, "a.test"), rule.None, "DIRECT", 0)
	f(newSetup(t, Global, "MATCH,DIRECT"), to(flow.TCP, "a.test"), rule.None, "leaf inner outer", 0)
	f(newSetup(t, Direct, "MATCH,leaf"), to(flow.TCP, "a.test"), rule.None, "DIRECT", 0)
	// PASS hands on, and so does what carries no UDP, or is told not to.
	f(newSetup(t, ByRule, "DOMAIN,a.test,PASS", "MATCH,leaf"), to(flow.TCP, "a.test"), 1, "leaf", 0)
	f(newSetup(t, ByRule, "MATCH,PASS"), to(flow.TCP, "a.test"), rule.None, "DIRECT", 0)
	f(newSetup(t, ByRule, "MATCH,leaf", "MATCH,mute", "MATCH,DIRECT"), to(flow.UDP, "a.test"), 2, "DIRECT", 0)
	f(newSetup(t, ByRule, "MATCH,mute", "MATCH,DIRECT"), to(flow.TCP, "a.test"), 0, "DIRECT mute", 0)
	// A node that answers questions is for clients, not for those that it asks.
	f(newSetup(t, ByRule, "MATCH,dns", "MATCH,leaf"), to(flow.TCP, "a.test"), 0, "dns", 0)
	own := to(flow.TCP, "a.test")
	own.Kind = flow.Inner
	f(newSetup(t, ByRule, "MATCH,dns", "MATCH,leaf"), own, 1, "leaf", 0)
	// One lookup is enough, whatever it finds; a rule that decides before needs none.
	f(newSetup(t, ByRule, "IP-CIDR,10.0.0.0/8,leaf", "IP-CIDR,192.0.2.0/24,outer", "MATCH,DIRECT"), to(flow.TCP, "known.test"), 1, "leaf inner outer", 1)
	f(newSetup(t, ByRule, "IP-CIDR,10.0.0.0/8,leaf", "IP-CIDR,192.0.2.0/24,outer", "MATCH,DIRECT"), to(flow.TCP, "a.test"), 2, "DIRECT", 1)
	f(newSetup(t, ByRule, "DOMAIN,a.test,leaf", "IP-CIDR,10.0.0.0/8,outer"), to(flow.TCP, "a.test"), 0, "leaf", 0)
}

// TestUDPGoesOn tries the next rule when the way to a node turns out to carry no UDP.
func TestUDPGoesOn(t *testing.T) {
	f := func(wantErr error, wantTried int, rules ...string) {
		t.Helper()
		s := newSetup(t, ByRule, rules...)
		tried := 0
		_, err := s.openPacket(t.Context(), to(flow.UDP, "a.test"), func(_ any, open func() (flow.PacketConn, error)) (flow.PacketConn, error) {
			tried++
			return open()
		}, func() {})
		if tried != wantTried || !errors.Is(err, wantErr) {
			t.Errorf("%q: %d tried, %v; want %d, %v", rules, tried, err, wantTried, wantErr)
		}
	}
	f(flow.ErrRejected, 2, "MATCH,far", "MATCH,REJECT")
	f(flow.ErrNoUDP, maxTries+1, "MATCH,far", "MATCH,again") // which leads back to far
}

// TestLogPhrases holds the texts that programs read.
func TestLogPhrases(t *testing.T) {
	f := func(s *setup, wantErr error, want string) {
		t.Helper()
		if _, err := s.Open(t.Context(), to(flow.TCP, "a.test")); !errors.Is(err, wantErr) {
			t.Errorf("%v; want %v", err, wantErr)
		}
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("logged %s; want %s", s.log.String(), want)
		}
	}
	f(newSetup(t, ByRule, "DOMAIN,a.test,REJECT"), flow.ErrRejected,
		"[TCP] 10.0.0.1:5000 --> a.test:443 match Domain(a.test) using REJECT")
	f(newSetup(t, ByRule, "MATCH,REJECT"), flow.ErrRejected,
		"[TCP] 10.0.0.1:5000 --> a.test:443 match Match using REJECT")
	f(newSetup(t, ByRule, "DOMAIN,a.test,outer"), errRefused,
		"[TCP] dial outer (match Domain/a.test) 10.0.0.1:5000 --> a.test:443 error: refused")
	f(newSetup(t, Global), errRefused, "[TCP] dial outer 10.0.0.1:5000 --> a.test:443 error: refused")
}
