package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// world makes random rules and flows out of few words, so that they meet.
type world struct{ *rand.Rand }

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

func (w *world) host() string {
	labels := make([]string, 1+w.IntN(3))
	for i := range labels {
		labels[i] = pick(w, "a", "b", "test")
	}
	return strings.Join(labels, ".")
}

func (w *world) addr() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(w.IntN(2)), byte(w.IntN(4))})
}

// condition is a random rule without a target.
func (w *world) condition(depth int) string {
	switch w.IntN(12) {
	case 0, 1:
		return pick(w, "DOMAIN,", "DOMAIN-SUFFIX,", "DOMAIN-KEYWORD,") + w.host()
	case 2:
		return "DOMAIN-WILDCARD," + pick(w, "*.test", "?.*", "a*")
	case 3, 4:
		return fmt.Sprintf("IP-CIDR,%s/%d%s", w.addr(), 24+w.IntN(9), pick(w, "", "", ",no-resolve", ",src"))
	case 5:
		return fmt.Sprintf("SRC-IP-CIDR,%s/%d", w.addr(), 24+w.IntN(9))
	case 6:
		return fmt.Sprintf("%s,%d-%d", pick(w, "DST-PORT", "SRC-PORT"), w.IntN(4), w.IntN(4))
	case 7:
		return "NETWORK," + pick(w, "tcp", "udp")
	case 8:
		return pick(w, "PROCESS-NAME,curl", "PROCESS-PATH,/usr/bin/wget", "UID,1")
	case 9:
		return "REMATCH-NAME," + pick(w, "one", "two")
	}
	if depth > 2 {
		return "IN-TYPE," + pick(w, "HTTP", "SOCKS")
	}
	inside := "(" + w.condition(depth+1) + ")"
	if w.IntN(3) == 0 {
		return "NOT,(" + inside + ")"
	}
	return pick(w, "AND", "OR") + ",(" + inside + ",(" + w.condition(depth+1) + "))"
}

func (w *world) rules(t *testing.T, n int, subs ...string) []rule.Rule {
	t.Helper()
	list := make([]rule.Rule, n)
	for i := range list {
		line := w.condition(0)
		if w.IntN(30) == 0 {
			line = "MATCH"
		}
		r, err := rule.ParseCondition(line)
		if err != nil {
			t.Fatal(line, err)
		}
		r.Target = pick(w, "DIRECT", "leaf", "leaf", "PASS", "REJECT", "outer", "mute", "nobody", "again", "aside", "both", "circle")
		if len(subs) > 0 && w.IntN(5) == 0 {
			r = rule.Rule{Type: "SUB-RULE", Payload: "(" + w.condition(1) + ")", Target: pick(w, subs...)}
		}
		list[i] = r
	}
	return list
}

func (w *world) flow() *flow.Flow {
	f := &flow.Flow{
		Network: pick(w, flow.TCP, flow.UDP), Kind: pick(w, flow.HTTP, flow.SOCKS5),
		Source: netip.AddrPortFrom(w.addr(), uint16(w.IntN(4))), To: flow.Addr{Port: uint16(w.IntN(4))},
	}
	if w.IntN(4) > 0 {
		f.To.Host = w.host()
	}
	if f.To.Host == "" || w.IntN(4) == 0 {
		f.To.IP = w.addr()
	}
	return f
}

// newWorld is an engine with random rules, and nodes of every kind that decides about a route.
func newWorld(t *testing.T, w *world) *setup {
	t.Helper()
	s := newSetup(t, ByRule)
	env := &rule.Env{SubRules: map[string][]rule.Rule{"inner": w.rules(t, w.IntN(5))}, Off: map[int]bool{w.IntN(12): true}}
	env.SubRules["sub"] = w.rules(t, w.IntN(5), "inner")
	program, errs := rule.Compile(w.rules(t, 1+w.IntN(20), "inner", "sub"), env)
	if errs != nil {
		t.Fatal(errs)
	}
	rematch := func(name, to, sub string) outbound.Outbound {
		return outbound.NewRematch(outbound.Info{Name: name, Type: "Rematch", UDP: true}, to, sub)
	}
	leaf := named("leaf", "Http", false)
	targets := map[string]outbound.Outbound{
		"DIRECT": s.Direct, "leaf": leaf, "PASS": named("PASS", "Pass", true), "REJECT": named("REJECT", "Reject", true),
		"outer": &grouped{node: *named("outer", "Selector", false), to: &grouped{node: *named("inner", "Selector", false), to: leaf}},
		"mute":  &grouped{node: *named("mute", "Selector", false), to: s.Direct},
		"again": rematch("again", "one", ""), "both": rematch("both", "two", "sub"), "circle": rematch("circle", "", ""),
		"aside": &grouped{node: *named("aside", "Selector", false), to: rematch("aside to", "", "inner"), udp: true},
	}
	s.Rules, s.Counters, s.Targets = program, rule.NewCounters(program.Len()), nil
	for _, name := range program.Targets() {
		s.Targets = append(s.Targets, targets[name])
	}
	s.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		s.lookups++
		if len(host)%3 == 0 {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(len(host)) % 2, host[0] % 4})}, nil
	}
	s.Process = func(_ context.Context, f *flow.Flow) flow.Process {
		switch f.Source.Port() {
		case 0:
			return flow.FoundProcess(1, "/usr/bin/curl")
		case 1:
			return flow.FoundProcess(2, "/usr/bin/wget")
		}
		return flow.Process{}
	}
	return s
}

// TestExplainIsTheRoute compares what is explained with what carries traffic, on random rules and
// flows.
func TestExplainIsTheRoute(t *testing.T) {
	seed := uint64(1)
	if s := os.Getenv("SWITCHYARD_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	seen := make(map[string]int) // that the cases are there
	for n := range 400 {
		w := &world{rand.New(rand.NewPCG(seed, uint64(n)))}
		s := newWorld(t, w)
		for range 25 {
			explained := w.flow()
			carried := *explained
			what := fmt.Sprintf("program %d of seed %d, %+v", n, seed, carried)
			before := s.Counters.All()
			s.lookups = 0
			x, xerr := s.Explain(t.Context(), explained, s.Process(t.Context(), explained), true)
			asked := s.lookups
			if after := s.Counters.All(); !slices.Equal(before, after) {
				t.Fatalf("%s: it counts: %v, then %v", what, before, after)
			}
			s.lookups = 0
			r, err := s.route(t.Context(), s.Snapshot, &carried)
			if !reflect.DeepEqual(xerr, err) || x.Rule != r.rule || x.Info != r.info || !slices.Equal(x.Chain, r.chain) || x.Mode != r.mode ||
				(x.List != "") != (r.program != nil && r.program != s.Rules) || *explained != carried || asked != s.lookups || asked > 1 {
				t.Fatalf("%s: explained as %+v, %v with %d lookups; is %+v, %v with %d", what, x, xerr, asked, r, err, s.lookups)
			}
			if (x.Lookup != nil) != (asked > 0) || x.AskedProcess != carried.Process.LookedUp {
				t.Fatalf("%s: %+v", what, x)
			}
			checkTrace(t, what, x, xerr)
			brief, _ := s.Explain(t.Context(), w.fresh(explained), s.Process(t.Context(), explained), false)
			if brief.Rule != x.Rule || !slices.Equal(brief.Chain, x.Chain) || brief.Trace != nil {
				t.Fatalf("%s: without a trace %+v; with one %+v", what, brief, x)
			}
			note(seen, x, xerr)
		}
	}
	for _, want := range append(reasons, "decided", "no rule", "lookup", "process", "rematched", "sub-rules", "circle") {
		if seen[want] < 10 {
			t.Errorf("only %d times: %s", seen[want], want)
		}
	}
	t.Log(seen)
}

// fresh is f as it came in.
func (w *world) fresh(f *flow.Flow) *flow.Flow {
	again := *f
	if again.Process, again.Rematch = (flow.Process{}), ""; again.LookedUp {
		again.LookedUp, again.To.IP = false, netip.Addr{}
	}
	return &again
}

// checkTrace holds that the last step is the rule that decided, and that those before it say why they
// did not.
func checkTrace(t *testing.T, what string, x *Explanation, err error) {
	t.Helper()
	passed := x.Trace
	for i, step := range passed { // what is inside a SUB-RULE comes before it, and has its name
		if step.Inside > 0 && (step.List == "" || i+1 == len(passed)) {
			t.Fatalf("%s: step %d: %+v", what, i, step)
		}
	}
	if x.Rule != rule.None {
		if len(passed) == 0 {
			t.Fatalf("%s: no trace of %+v", what, x)
		}
		last := passed[len(passed)-1]
		if last.Rule != x.Rule || last.List != x.List || last.Info != x.Info || !last.Holds || last.Why != "" {
			t.Fatalf("%s: the last step is %+v of %+v", what, last, x)
		}
		passed = passed[:len(passed)-1]
	}
	if err != nil {
		passed = passed[:len(passed)-1] // the one where it ends
	}
	next := 0
	for i, step := range passed {
		if step.Inside > 0 {
			continue
		}
		if step.Why == "" || x.Cut || strings.HasPrefix(step.Why, "needs ") {
			t.Fatalf("%s: step %d: %+v", what, i, step)
		}
		if step.Rule != next {
			t.Fatalf("%s: step %d is about rule %d; want %d", what, i, step.Rule, next)
		}
		if next++; strings.HasPrefix(step.Why, "it is matched again") {
			next = 0
		}
	}
}

// reasons are why a rule does not decide, beside that it does not hold.
var reasons = []string{
	"is switched off", "it hands on (PASS)", "its target carries no UDP", "its target is not there", "it is matched again (",
}

// note counts what cases there are.
func note(seen map[string]int, x *Explanation, err error) {
	add := func(what string, is bool) {
		if is {
			seen[what]++
		}
	}
	add("decided", x.Rule != rule.None)
	add("no rule", x.Rule == rule.None && err == nil)
	add("circle", errors.Is(err, errCircle))
	add("lookup", x.Lookup != nil)
	add("process", x.AskedProcess)
	add("rematched", len(x.Rematched) > 0)
	add("sub-rules", x.List != "")
	for _, step := range x.Trace {
		for _, why := range reasons {
			add(why, strings.HasPrefix(step.Why, why))
		}
	}
}

// TestExplainCutsLongTraces asks about more rules than a trace holds.
func TestExplainCutsLongTraces(t *testing.T) {
	rules := make([]string, MaxTrace+1)
	for i := range rules {
		rules[i] = fmt.Sprintf("DOMAIN,%d.test,leaf", i)
	}
	f := func(host string, wantRule, wantSteps int, wantCut bool) {
		t.Helper()
		s := newSetup(t, ByRule, append(rules, "MATCH,DIRECT")...)
		x, err := s.Explain(t.Context(), to(flow.TCP, host), flow.Process{}, true)
		if err != nil || x.Rule != wantRule || len(x.Trace) != wantSteps || x.Cut != wantCut {
			t.Errorf("%s: rule %d, %d steps, cut %v, %v", host, x.Rule, len(x.Trace), x.Cut, err)
		}
	}
	f("7.test", 7, 8, false)
	f("9999.test", MaxTrace-1, MaxTrace, false)
	f("10000.test", MaxTrace, MaxTrace, true)
	f("a.test", MaxTrace+1, MaxTrace, true)
}

// TestExplainOtherModes has nothing to say of rules where others decide.
func TestExplainOtherModes(t *testing.T) {
	f := func(mode Mode, chain string) {
		t.Helper()
		s := newSetup(t, mode, "MATCH,REJECT")
		x, err := s.Explain(t.Context(), to(flow.TCP, "a.test"), flow.Process{}, true)
		if err != nil || x.Mode != mode || x.Rule != rule.None || strings.Join(x.Chain, " ") != chain || len(x.Trace) > 0 || s.Counters.All()[0].Hits > 0 {
			t.Errorf("%+v, %v", x, err)
		}
	}
	f(Global, "leaf inner outer")
	f(Direct, "DIRECT")
}

// TestExplainTakesNoTurn: who asks where a flow would go takes nobody's place, in every mode.
func TestExplainTakesNoTurn(t *testing.T) {
	for _, mode := range []Mode{ByRule, Global} {
		s := newSetup(t, mode, "MATCH,leaf")
		turns := group.NewLoadBalance(group.Config{
			Name: "turns", Strategy: group.RoundRobin,
			Members: []outbound.Outbound{named("a", "Http", false), named("b", "Http", false)},
		})
		s.Targets[0], s.Global = turns, turns
		asked := func(want string) {
			t.Helper()
			for range 3 {
				x, err := s.Explain(t.Context(), to(flow.TCP, "a.test"), flow.Process{}, false)
				if err != nil || strings.Join(x.Chain, " ") != want {
					t.Errorf("%+v, %v; want %s", x, err, want)
				}
			}
		}
		asked("a turns")
		if !turns.LastUsed().IsZero() {
			t.Error("who asks does not use")
		}
		if _, err := s.Open(t.Context(), to(flow.TCP, "a.test")); !errors.Is(err, errRefused) {
			t.Fatal(err)
		}
		asked("b turns")
	}
}
