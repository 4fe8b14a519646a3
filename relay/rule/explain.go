package rule

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Verdict is what one rule, looked at alone, says of a flow.
type Verdict struct {
	Holds bool
	Need  Need   // the fact without which it cannot be said
	Why   string // it does not hold; "" where it does
}

// Look says whether rule i holds for f. It asks the rule itself and no index.
func (p *Program) Look(f *flow.Flow, i int) Verdict {
	var e eval
	e.init(f)
	o := &p.ops[i]
	switch p.judge(o, &e) {
	case yes:
		return Verdict{Holds: true}
	case wantsIP:
		return Verdict{Need: NeedIP, Why: "needs the address of " + f.To.Host}
	case wantsProcess:
		return Verdict{Need: NeedProcess, Why: "needs the process that opened the flow"}
	}
	return Verdict{Why: p.why(o, &e)}
}

// Called is the list that rule i, a SUB-RULE, leads f to, and which rule there holds, or None. It is
// nil where rule i leads nowhere, or something is not known yet that f is to be asked for.
func (p *Program) Called(f *flow.Flow, i int) (sub *Program, hit int) {
	o := &p.ops[i]
	if o.kind != subRule || o.off {
		return nil, None
	}
	var e eval
	e.init(f)
	c := &p.calls[o.arg]
	if p.judge(&c.cond, &e) != yes {
		return nil, None
	}
	switch n, v := c.sub.run(&e, 0); v {
	case yes:
		return c.sub, int(n)
	case nay, lost:
		return c.sub, None
	}
	return nil, None
}

// why says why a rule does not hold.
func (p *Program) why(o *op, e *eval) string {
	if o.off {
		return "is switched off"
	}
	switch o.kind {
	case domain, domainSuffix, domainKeyword, domainRegex, domainWildcard:
		return whyName(o, e.name.String())
	case ipCIDR, ipSuffix, addressSet:
		return p.whyAddr(o, "the address", e.dst, e.f)
	case srcIPCIDR, srcIPSuffix, srcAddressSet:
		return p.whyAddr(o, "the source", e.src, e.f)
	case siteSet, namedSet:
		return p.whySet(o, e)
	case and, or, not:
		return p.whyLogic(o, e)
	case subRule:
		if c := &p.calls[o.arg]; p.judge(&c.cond, e) != yes {
			return "the condition does not hold: " + p.why(&c.cond, e)
		}
		return "no rule of the sub-rules holds"
	}
	if o.kind.needsProcess() {
		return whyProcess(o, &e.f.Process)
	}
	return p.whyInbound(o, e)
}

func whyName(o *op, name string) string {
	relation := map[kind]string{
		domain: "is not", domainSuffix: "is not, and is not below,", domainKeyword: "does not contain",
		domainRegex: "does not match", domainWildcard: "does not look like",
	}[o.kind]
	if name == "" {
		return "the flow has no name"
	}
	return fmt.Sprintf("the name %s %s %s", name, relation, o.text)
}

func (p *Program) whyAddr(o *op, what string, a netip.Addr, f *flow.Flow) string {
	isSet := o.kind == addressSet || o.kind == srcAddressSet
	switch {
	case isSet && !p.sets[o.arg].loaded():
		return o.text + " is not loaded"
	case a.IsValid() && isSet:
		return fmt.Sprintf("%s %s is not in %s", what, a, o.text)
	case a.IsValid() && (o.kind == ipSuffix || o.kind == srcIPSuffix):
		return fmt.Sprintf("%s %s does not end as %s", what, a, o.text)
	case a.IsValid():
		return fmt.Sprintf("%s %s is not in %s", what, a, o.text)
	case f.LookedUp:
		return "no address was found for the name"
	}
	return "no address is known, and the rule does without (no-resolve)"
}

func (p *Program) whySet(o *op, e *eval) string {
	c := p.sets[o.arg].Content()
	switch {
	case !p.sets[o.arg].loaded():
		return o.text + " is not loaded"
	case c.Rules != nil:
		return fmt.Sprintf("none of the %d rules of %s holds", c.Count, o.text)
	case c.Domains != nil && e.name.String() == "":
		return "the flow has no name"
	case c.Domains != nil:
		return fmt.Sprintf("the name %s is not in %s", e.name.String(), o.text)
	case o.swap:
		return fmt.Sprintf("the source %s is not in %s", e.src, o.text)
	case e.dst.IsValid():
		return fmt.Sprintf("the address %s is not in %s", e.dst, o.text)
	}
	return "no address is known"
}

func (p *Program) whyLogic(o *op, e *eval) string {
	children := p.logic[o.arg]
	switch o.kind {
	case not:
		if p.judge(&children[0], e) == lost {
			return p.why(&children[0], e)
		}
		return fmt.Sprintf("(%s,%s) holds", children[0].api, children[0].text)
	case or:
		return "no condition holds"
	}
	for i := range children {
		if c := &children[i]; p.judge(c, e) != yes {
			return fmt.Sprintf("(%s,%s) does not hold: %s", c.api, c.text, p.why(c, e))
		}
	}
	return ""
}

func whyProcess(o *op, who *flow.Process) string {
	switch {
	case !who.Found:
		return "the process is not known"
	case o.kind == uid && who.NoUser:
		return "the user of the process is not known"
	case o.kind == uid:
		return fmt.Sprintf("the user %d is not %s", who.UID, o.text)
	case who.Path == "":
		return "only the user of the process is known"
	case strings.HasPrefix(o.api, "ProcessName"):
		return fmt.Sprintf("the process %s is not %s", who.Name(), o.text)
	}
	return fmt.Sprintf("the process %s is not %s", who.Path, o.text)
}

func (p *Program) whyInbound(o *op, e *eval) string {
	f := e.f
	switch o.kind {
	case dstPort:
		return fmt.Sprintf("the port %d is not %s", e.dport, o.text)
	case srcPort:
		return fmt.Sprintf("the source's port %d is not %s", e.sport, o.text)
	case inPort:
		return fmt.Sprintf("the inbound's port %d is not %s", f.Local.Port(), o.text)
	case dscp:
		return fmt.Sprintf("the DSCP %d is not %s", f.DSCP, o.text)
	case network:
		return fmt.Sprintf("the network is %s", f.Network)
	case inType:
		return fmt.Sprintf("the inbound is of type %s", f.Kind)
	case inUser:
		return fmt.Sprintf("the user %q is not %s", f.User, o.text)
	case inName:
		return fmt.Sprintf("the inbound %q is not %s", f.Inbound, o.text)
	case rematchName:
		return fmt.Sprintf("the flow's rematch name %q is not %s", f.Rematch, o.text)
	}
	return "it does not hold"
}
