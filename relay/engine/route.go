package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// route is the decision about one flow.
type route struct {
	leaf    outbound.Outbound
	way     []outbound.Outbound // from the target to leaf
	chain   []string            // leaf first
	provs   []string
	program *rule.Program // that rule is in: a list of sub-rules after a rematch
	rule    int           // None outside of rule mode and when nothing matched
	info    rule.Info
	mode    Mode
}

// picker is what a group is to the engine.
type picker interface {
	Pick(f *flow.Flow) outbound.Outbound
}

// peeker is a group that can say whom it would pick, and take no notice.
type peeker interface {
	Peek(f *flow.Flow) outbound.Outbound
}

// rematcher is an outbound that dials nothing: it gives the flow a name, and it is matched again.
type rematcher interface {
	Rematch() (name, subRule string)
}

const (
	maxDepth   = 64 // of groups; loops are refused at load
	maxRematch = 16 // times that one flow is matched again
)

// errCircle means that nodes of type rematch lead a flow to each other.
var errCircle = fmt.Errorf("matched again more than %d times: nodes of type rematch lead to each other", maxRematch)

// follow goes from a target through the groups' choices to the outbound that dials. Where a flow is only
// asked about, no group takes it for one.
func follow(target outbound.Outbound, f *flow.Flow, asked bool) (leaf outbound.Outbound, chain []outbound.Outbound) {
	chain = make([]outbound.Outbound, 0, 4)
	for range maxDepth {
		chain = append(chain, target)
		if g, ok := target.(peeker); ok && asked {
			target = g.Peek(f)
			continue
		}
		g, ok := target.(picker)
		if !ok {
			break
		}
		target = g.Pick(f)
	}
	return target, chain
}

// observer is told how a decision came about; nil hears nothing.
type observer struct {
	counters *rule.Counters
	explain  *Explanation
	trace    int // rules that may still be written down
}

// asked says that nobody is to be carried.
func (o *observer) asked() bool { return o.explain != nil }

// route decides where f goes. It adds to f what rules need to know of it.
func (e *Engine) route(ctx context.Context, s *Snapshot, f *flow.Flow) (route, error) {
	if s.Restore != nil {
		if err := s.Restore(f); err != nil {
			return route{rule: rule.None}, err
		}
	}
	if s.AlwaysProcess {
		e.findProcess(ctx, s, f)
	}
	return e.decide(ctx, s, f, s.Rules, 0, &observer{counters: s.Counters})
}

// reroute decides anew, by the rules behind that of r.
func (e *Engine) reroute(ctx context.Context, s *Snapshot, f *flow.Flow, r *route) (route, error) {
	if r.program == s.Rules {
		s.Counters.GoesOn(r.rule)
	}
	return e.decide(ctx, s, f, r.program, r.rule+1, &observer{counters: s.Counters})
}

// decide is the one place where it is decided where a flow goes, whether it is carried or only asked
// about.
func (e *Engine) decide(ctx context.Context, s *Snapshot, f *flow.Flow, rules *rule.Program, from int, o *observer) (route, error) {
	switch s.Mode {
	case Global:
		return decided(s.Global, f, Global, o.asked()), nil
	case Direct:
		return decided(s.Direct, f, Direct, o.asked()), nil
	}
	for again := 0; ; {
		hit := rules.Match(f, from)
		switch hit.Need {
		case rule.NeedIP:
			from = o.passed(rules, f, from, hit.Rule)
			e.lookup(ctx, s, f, o)
			continue
		case rule.NeedProcess:
			from = o.passed(rules, f, from, hit.Rule)
			e.findProcess(ctx, s, f)
			o.askedProcess()
			continue
		}
		o.ended(rules, rules == s.Rules, f, from, hit.Rule)
		if hit.Rule == rule.None {
			return decided(s.Direct, f, ByRule, o.asked()), nil
		}
		target := s.Targets[hit.Target]
		if target == nil {
			from = o.goesOn(rules == s.Rules, hit.Rule, "its target is not there")
			continue
		}
		leaf, chain := follow(target, f, o.asked())
		if m, ok := leaf.(rematcher); ok {
			if again++; again > maxRematch {
				return wayOf(leaf, chain, ByRule), errCircle
			}
			rules, from = rematch(s, f, m), 0
			o.rematched(hit.Rule, leaf.Info().Name)
			continue
		}
		if why := passes(leaf, chain, f); why != "" {
			from = o.goesOn(rules == s.Rules, hit.Rule, why)
			continue
		}
		r := wayOf(leaf, chain, ByRule)
		r.program, r.rule, r.info = rules, hit.Rule, rules.Info(hit.Rule)
		return r, nil
	}
}

// rematch gives f the name of m, and returns the list to go on with: the rules, where there is no such
// list of sub-rules.
func rematch(s *Snapshot, f *flow.Flow, m rematcher) *rule.Program {
	name, sub := m.Rematch()
	if name != "" {
		f.Rematch = name
	}
	if p := s.Rules.Sub(sub); p != nil {
		return p
	}
	return s.Rules
}

// passes says why a matched target hands the flow on to the next rule; "" is that it does not.
func passes(leaf outbound.Outbound, chain []outbound.Outbound, f *flow.Flow) string {
	if leaf.Info().Type == "Pass" {
		return "it hands on (PASS)"
	}
	if leaf.Info().Type == "Dns" && f.Kind == flow.Inner {
		return "its target answers with what we ask for here"
	}
	if f.Network == flow.UDP && !carriesUDP(leaf, chain) {
		return "its target carries no UDP"
	}
	return ""
}

func carriesUDP(leaf outbound.Outbound, chain []outbound.Outbound) bool {
	if g, ok := chain[0].(interface{ UDP() bool }); ok {
		return g.UDP()
	}
	return leaf.Info().UDP
}

// decided is the way to target, of a flow or for who only asks; which rule it was is left to say.
func decided(target outbound.Outbound, f *flow.Flow, m Mode, asked bool) route {
	leaf, chain := follow(target, f, asked)
	return wayOf(leaf, chain, m)
}

// wayOf is the way that the groups have chosen; they are asked once for a flow.
func wayOf(leaf outbound.Outbound, chain []outbound.Outbound, m Mode) route {
	r := route{leaf: leaf, way: chain, rule: rule.None, mode: m}
	r.chain, r.provs = make([]string, len(chain)), make([]string, len(chain))
	for j, o := range chain {
		r.chain[len(chain)-1-j], r.provs[len(chain)-1-j] = o.Info().Name, o.Info().Provider
	}
	return r
}

// lookup finds the address of f's name. Rules that wanted it do not hold when there is none.
func (e *Engine) lookup(ctx context.Context, s *Snapshot, f *flow.Flow, o *observer) {
	f.LookedUp = true
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := s.Lookup(ctx, f.To.Host)
	o.lookedUp(f.To.Host, addrs, err)
	if err != nil || len(addrs) == 0 {
		e.log.LogAttrs(ctx, slog.LevelDebug, "resolve for a rule", slog.String("host", f.To.Host), slog.Any("err", err))
		return
	}
	f.To.IP = addrs[0]
}

// findProcess finds who opened f. Rules that wanted it do not hold when nobody is found.
func (e *Engine) findProcess(ctx context.Context, s *Snapshot, f *flow.Flow) {
	if f.Process.LookedUp {
		return
	}
	if s.Process != nil && f.Source.IsValid() {
		f.Process = s.Process(ctx, f)
	}
	f.Process.LookedUp = true
}

// tickRules sets the clock of the rules' counters.
func (e *Engine) tickRules() {
	if s := e.current.Load(); s != nil && s.Counters != nil {
		s.Counters.Tick(time.Now())
	}
}
