//go:build !race

package engine

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/logs"
)

// TestRouteAllocatesForTheRouteAlone decides about flows behind few rules and behind many. What it
// allocates is the chain: as nodes, once for each rule that holds and once for the route, and as the
// names of nodes and of their providers. The rules, whatever their number, allocate nothing.
func TestRouteAllocatesForTheRouteAlone(t *testing.T) {
	f := func(rules int, network flow.Network, want float64) {
		t.Helper()
		var lines []string
		for i := range rules {
			lines = append(lines,
				fmt.Sprintf("DOMAIN-SUFFIX,a%d.test,outer", i), fmt.Sprintf("DOMAIN-KEYWORD,key%d,outer", i),
				fmt.Sprintf("DOMAIN-WILDCARD,*.w%d.test,outer", i), fmt.Sprintf("DST-PORT,%d-%d,outer", i, i+1),
				fmt.Sprintf("SRC-IP-CIDR,192.0.%d.0/24,outer", i%256), "NETWORK,udp,leaf", "IN-TYPE,HTTP,PASS")
		}
		s := newSetup(t, ByRule, append(lines, "MATCH,DIRECT")...)
		fl := to(network, "www.example.org")
		fl.Kind = flow.SOCKS5
		got := testing.AllocsPerRun(100, func() {
			if r, err := s.route(t.Context(), s.Snapshot, fl); err != nil || r.rule != s.Rules.Len()-1 {
				t.Fatal(r, err)
			}
		})
		if got != want {
			t.Errorf("%d rules: %v allocations a flow; want %v", s.Rules.Len(), got, want)
		}
	}
	f(0, flow.TCP, 3)
	f(10, flow.TCP, 3)
	f(200, flow.TCP, 3)
	f(1, flow.UDP, 4) // one rule that holds has a target that carries no UDP
}

// TestLogAllocatesForTheLineAlone writes the line of a new flow: nobody reads the structured form, and its
// fields cost nothing. A line that nobody wants costs nothing at all.
func TestLogAllocatesForTheLineAlone(t *testing.T) {
	s := newSetup(t, ByRule, "DOMAIN-SUFFIX,example.org,outer")
	fl := to(flow.TCP, "www.example.org")
	r, err := s.route(t.Context(), s.Snapshot, fl)
	if err != nil {
		t.Fatal(err)
	}
	en := r.entry(fl)
	s.Table.Open(en, func() {})
	f := func(level slog.Level, log func(), want float64) {
		t.Helper()
		s.Engine.log = logs.NewHub(io.Discard, level).Logger()
		if got := testing.AllocsPerRun(100, log); got != want {
			t.Errorf("%v allocations a line; want %v", got, want)
		}
	}
	line := func() { s.logFlow(t.Context(), fl, &r, en) }
	f(slog.LevelInfo, line, 8) // of the text
	f(slog.LevelWarn, line, 0)
	f(slog.LevelInfo, func() { s.logEnd(t.Context(), en) }, 0)
	f(slog.LevelInfo, func() { s.logFailure(t.Context(), fl, &r, flow.ErrNoName) }, 0)
}
