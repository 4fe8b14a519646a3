package engine

import (
	"context"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// Explanation says where a flow would go, and why.
type Explanation struct {
	Mode  Mode
	Rule  int       // index of the rule, or rule.None
	Info  rule.Info // of the rule, where there is one
	List  string    // the sub-rules that Rule is in, where a rematch led to; "" for the rules
	Chain []string  // leaf first

	Lookup       *Lookup // the one that a rule asked for
	AskedProcess bool    // a rule asked for the process
	Rematched    []string
	Trace        []Step // where asked for: every rule that was looked at, in order
	Cut          bool   // there were more rules than a trace holds
}

// Lookup is a name that was resolved for a rule.
type Lookup struct {
	Host  string
	Addrs []netip.Addr
	Err   error
}

// Step is one rule that was looked at.
type Step struct {
	Rule   int
	List   string // the sub-rules that Rule is in; "" for the rules
	Inside int    // how many SUB-RULEs led there; they follow behind the rules inside
	Info   rule.Info
	Holds  bool
	Why    string // it did not decide
}

// MaxTrace is how many rules a trace holds.
const MaxTrace = 10_000

// Explain says where f would go, by the program that carries traffic now. It opens no connection; a
// name is looked up where a rule asks for its address, and a rule that asks for the process is told
// who. Nothing of it is counted.
func (e *Engine) Explain(ctx context.Context, f *flow.Flow, who flow.Process, trace bool) (*Explanation, error) {
	now := *e.current.Load()
	s := &now
	if s.Process != nil { // else nobody looks, for traffic either
		s.Process = func(context.Context, *flow.Flow) flow.Process { return who }
	}
	o := &observer{explain: new(Explanation)}
	if s.Restore != nil {
		if err := s.Restore(f); err != nil {
			o.explain.Mode, o.explain.Rule = s.Mode, rule.None
			return o.explain, err
		}
	}
	if trace {
		o.trace = MaxTrace
	}
	if s.AlwaysProcess {
		e.findProcess(ctx, s, f)
	}
	r, err := e.decide(ctx, s, f, s.Rules, 0, o)
	x := o.explain
	x.Mode, x.Rule, x.Info, x.Chain = r.mode, r.rule, r.info, r.chain
	if r.program != nil {
		x.List = r.program.Name()
	}
	return x, err
}

// passed writes down the rules before one that needs a fact, and returns that one.
func (o *observer) passed(p *rule.Program, f *flow.Flow, from, to int) int {
	o.write(p, f, from, to, 0)
	return to
}

// ended counts the end of an evaluation, or writes it down.
func (o *observer) ended(p *rule.Program, main bool, f *flow.Flow, from, hit int) {
	switch {
	case o.explain == nil && main:
		o.counters.Hit(hit)
	case o.explain != nil:
		o.write(p, f, from, end(p, hit), 0)
	}
}

// end is the number of rules that are looked at when hit is the one that holds.
func end(p *rule.Program, hit int) int {
	if hit == rule.None {
		return p.Len()
	}
	return hit + 1
}

// goesOn notes that a rule that held did not decide, and returns the next one.
func (o *observer) goesOn(main bool, hit int, why string) int {
	if o.explain == nil && main {
		o.counters.GoesOn(hit)
	}
	o.undecided(hit, why)
	return hit + 1
}

// rematched notes that the rule hit led to the node called name, by which the flow is matched again.
func (o *observer) rematched(hit int, name string) {
	if o.explain != nil {
		o.explain.Rematched = append(o.explain.Rematched, name)
		o.undecided(hit, "it is matched again ("+name+")")
	}
}

// undecided writes down why the rule hit, which held, did not decide.
func (o *observer) undecided(hit int, why string) {
	if o.explain == nil || len(o.explain.Trace) == 0 {
		return
	}
	if last := &o.explain.Trace[len(o.explain.Trace)-1]; last.Rule == hit {
		last.Why = why
	}
}

func (o *observer) lookedUp(host string, addrs []netip.Addr, err error) {
	if o.explain != nil {
		o.explain.Lookup = &Lookup{host, addrs, err}
	}
}

func (o *observer) askedProcess() {
	if o.explain != nil {
		o.explain.AskedProcess = true
	}
}

// write writes down the rules from from up to, not including, to. What is inside a SUB-RULE comes before
// it.
func (o *observer) write(p *rule.Program, f *flow.Flow, from, to, inside int) {
	x := o.explain
	if x == nil || o.trace == 0 {
		return
	}
	for i := from; i < to; i++ {
		if sub, hit := p.Called(f, i); sub != nil {
			o.write(sub, f, 0, end(sub, hit), inside+1)
		}
		if len(x.Trace) == o.trace {
			x.Cut = true
			return
		}
		v := p.Look(f, i)
		x.Trace = append(x.Trace, Step{Rule: i, List: p.Name(), Inside: inside, Info: p.Info(i), Holds: v.Holds, Why: v.Why})
	}
}
