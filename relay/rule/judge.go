package rule

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// verdict is what one rule says of a flow.
type verdict uint8

const (
	nay  verdict = iota
	lost         // it cannot be said: what the rule needs is not loaded
	yes
	wantsIP
	wantsProcess
)

func verdictOf(holds bool) verdict {
	if holds {
		return yes
	}
	return nay
}

// judge says whether one rule or condition holds, looked at alone. It knows nothing of the indexes,
// and where they say something else, they are wrong.
func (p *Program) judge(o *op, e *eval) verdict {
	if o.off {
		return nay
	}
	if o.kind.needsProcess() {
		return p.judgeProcess(o, e)
	}
	switch o.kind {
	case always:
		return yes
	case domain, domainSuffix, domainKeyword, domainRegex, domainWildcard:
		return verdictOf(e.name.String() != "" && p.judgeName(o, e.name.String()))
	case ipCIDR, ipSuffix, addressSet:
		switch {
		case o.kind == addressSet && !p.sets[o.arg].loaded():
			return lost
		case !e.dst.IsValid():
			return e.lacksIP(o)
		}
		return p.judgeAddr(o, e.dst)
	case srcIPCIDR, srcIPSuffix, srcAddressSet:
		return p.judgeAddr(o, e.src)
	case siteSet, namedSet:
		return p.judgeSet(o, e)
	case and, or, not:
		return p.judgeLogic(o, e)
	case subRule:
		return p.judgeCall(o, e)
	}
	return verdictOf(p.judgeInbound(o, e))
}

// lacksIP is the verdict of a rule about an address while none is known.
func (e *eval) lacksIP(o *op) verdict {
	if e.resolvable && !o.noResolve {
		return wantsIP
	}
	return nay
}

func (p *Program) judgeName(o *op, name string) bool {
	switch o.kind {
	case domain:
		return name == o.text
	case domainSuffix:
		return match.HasSuffix(name, o.text)
	case domainKeyword:
		return strings.Contains(name, o.text)
	case domainWildcard:
		return match.Glob(o.text, name)
	}
	return p.regexes[o.arg].MatchString(name)
}

func (p *Program) judgeAddr(o *op, a netip.Addr) verdict {
	switch o.kind {
	case ipCIDR, srcIPCIDR:
		return verdictOf(p.prefixes[o.arg].Contains(a))
	case ipSuffix, srcIPSuffix:
		return verdictOf(sameEnd(p.prefixes[o.arg], a))
	}
	c := p.sets[o.arg].Content()
	if c == nil || c.Prefixes == nil {
		return lost
	}
	return verdictOf(c.Prefixes.Has(a) != c.Not)
}

// sameEnd says whether the last bits of a are those of p's address.
func sameEnd(p netip.Prefix, a netip.Addr) bool {
	if p.Addr().BitLen() != a.BitLen() {
		return false
	}
	x, y := p.Addr().As16(), a.As16()
	bits := p.Bits()
	for i := 15; bits > 0; i, bits = i-1, bits-8 {
		mask := byte(0xff)
		if bits < 8 {
			mask = 1<<bits - 1
		}
		if (x[i]^y[i])&mask != 0 {
			return false
		}
	}
	return true
}

func (p *Program) judgeInbound(o *op, e *eval) bool {
	f := e.f
	switch o.kind {
	case dstPort:
		return p.ranges[o.arg].Has(uint32(e.dport))
	case srcPort:
		return p.ranges[o.arg].Has(uint32(e.sport))
	case inPort:
		return p.ranges[o.arg].Has(uint32(f.Local.Port()))
	case dscp:
		return p.ranges[o.arg].Has(uint32(f.DSCP))
	case network:
		return flow.Network(o.arg) == f.Network
	case inType:
		return o.arg>>f.Kind&1 != 0
	case inUser:
		return f.User != "" && slices.Contains(p.words[o.arg], f.User)
	case inName:
		return f.Inbound != "" && slices.Contains(p.words[o.arg], f.Inbound)
	case rematchName:
		return f.Rematch == o.text
	}
	return false
}

func (p *Program) judgeProcess(o *op, e *eval) verdict {
	who := &e.f.Process
	switch {
	case !who.LookedUp:
		return wantsProcess
	case o.kind == uid:
		return verdictOf(who.Found && !who.NoUser && p.ranges[o.arg].Has(who.UID))
	case who.Path == "":
		return nay
	}
	switch o.kind {
	case processName:
		return verdictOf(who.FoldName() == p.words[o.arg][0])
	case processPath:
		return verdictOf(who.Fold == p.words[o.arg][0])
	case processNameRegex:
		return verdictOf(p.regexes[o.arg].MatchString(who.Name()))
	case processPathRegex:
		return verdictOf(p.regexes[o.arg].MatchString(who.Path))
	case processNameWildcard:
		return verdictOf(match.Glob(p.words[o.arg][0], who.FoldName()))
	}
	return verdictOf(match.Glob(p.words[o.arg][0], who.Fold))
}

func (p *Program) judgeSet(o *op, e *eval) verdict {
	c := p.sets[o.arg].Content()
	switch {
	case c == nil:
		return lost
	case c.Rules != nil:
		return c.Rules.holds(o, e)
	case c.Domains != nil:
		return verdictOf(e.name.String() != "" && c.Domains.Has(&e.name) != c.Not)
	case c.Prefixes == nil:
		return lost
	case o.swap:
		return verdictOf(c.Prefixes.Has(e.src) != c.Not)
	case !e.dst.IsValid():
		return e.lacksIP(o)
	}
	return verdictOf(c.Prefixes.Has(e.dst) != c.Not)
}

// holds says whether any rule of a classical set does, as the rule o asks.
func (p *Program) holds(o *op, e *eval) verdict {
	if o.swap {
		e.turn()
		defer e.turn()
	}
	if resolvable := e.resolvable; o.noResolve {
		e.resolvable = false
		defer func() { e.resolvable = resolvable }()
	}
	_, v := p.run(e, 0)
	return v
}

// turn makes the source the destination, and back.
func (e *eval) turn() {
	e.src, e.dst = e.dst, e.src
	e.sport, e.dport = e.dport, e.sport
}

// judgeLogic asks the conditions in order and stops at the one that decides; what only later ones
// would need is not asked for. What cannot be said stays so, also in NOT: a list that is not loaded
// makes no rule hold.
func (p *Program) judgeLogic(o *op, e *eval) verdict {
	decides, all := yes, nay
	if o.kind == and {
		decides, all = nay, yes
	}
	children := p.logic[o.arg]
	for i := range children {
		v := p.judge(&children[i], e)
		switch {
		case v == lost, o.kind == and && all == lost && (v == wantsIP || v == wantsProcess):
			all = lost // nothing is asked for in vain
		case v == wantsIP, v == wantsProcess:
			return v
		case o.kind == not:
			return verdictOf(v == nay)
		case v == decides:
			return decides
		}
	}
	return all
}

func (p *Program) judgeCall(o *op, e *eval) verdict {
	c := &p.calls[o.arg]
	if v := p.judge(&c.cond, e); v != yes {
		return v
	}
	i, v := c.sub.run(e, 0)
	if v == yes {
		e.target = c.sub.targetOf(e, i)
	}
	return v
}
