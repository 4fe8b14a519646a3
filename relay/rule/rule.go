// Package rule compiles rules into a Program that says which rule is the first to hold for a flow.
// It judges only what the flow carries: a fact that is missing is asked for, never fetched.
package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Rule is one line of the configuration, taken apart.
type Rule struct {
	Type    string // as the configuration spells it, in upper case: "DOMAIN-SUFFIX"
	Payload string
	Target  string
	Params  []string // "no-resolve", "src"
}

// Info is a rule as the API shows it.
type Info struct {
	Type    string // "DomainSuffix"
	Payload string // normalized
	Target  string
	Size    int // entries of a set, -1 for what is none
}

// Need is a fact that Match lacks.
type Need uint8

// What Match may need before it can go on.
const (
	NeedNothing Need = iota
	NeedIP           // the address behind the flow's name
)

// None is the index Match gives when no rule holds.
const None = -1

// op is one compiled rule.
type op struct {
	kind    kind
	resolve bool // needs the address of a name
	network flow.Network
	text    string
	prefix  netip.Prefix
	ports   []portRange
}

type kind uint8

const (
	domain kind = iota
	domainSuffix
	domainKeyword
	ipCIDR
	srcIPCIDR
	dstPort
	srcPort
	inPort
	network
	match
)

// Program is a compiled list of rules. It is immutable; Match may be called from any goroutine.
type Program struct {
	ops  []op
	info []Info
}

// Error says what is wrong with one rule.
type Error struct {
	Index int // of the rule
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("rules[%d]: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Compile compiles rules in order. It reports every bad rule, each as an *Error.
func Compile(rules []Rule) (*Program, []*Error) {
	p := &Program{ops: make([]op, 0, len(rules)), info: make([]Info, 0, len(rules))}
	var errs []*Error
	for i := range rules {
		o, info, err := compile(&rules[i])
		if err != nil {
			errs = append(errs, &Error{Index: i, Err: err})
			continue
		}
		p.ops, p.info = append(p.ops, o), append(p.info, info)
	}
	if errs != nil {
		return nil, errs
	}
	return p, nil
}

// Len is the number of rules.
func (p *Program) Len() int { return len(p.ops) }

// Info describes rule i.
func (p *Program) Info(i int) Info { return p.info[i] }

// Match returns the first rule at or after from that holds for f, or None. It never blocks and
// never allocates. When a rule cannot be judged without a fact that f lacks, Match returns that
// rule and the need: the caller finds the fact, marks it as looked up, and calls again from there.
func (p *Program) Match(f *flow.Flow, from int) (rule int, need Need) {
	for i := from; i < len(p.ops); i++ {
		o := &p.ops[i]
		if o.resolve && !f.To.IP.IsValid() && !f.LookedUp && f.To.Host != "" {
			return i, NeedIP
		}
		if o.holds(f) {
			return i, NeedNothing
		}
	}
	return None, NeedNothing
}

func (o *op) holds(f *flow.Flow) bool {
	switch o.kind {
	case domain:
		return f.To.Host == o.text
	case domainSuffix:
		return hasSuffix(f.To.Host, o.text)
	case domainKeyword:
		return f.To.Host != "" && strings.Contains(f.To.Host, o.text)
	case ipCIDR:
		return o.prefix.Contains(f.To.IP)
	case srcIPCIDR:
		return o.prefix.Contains(f.Source.Addr())
	case dstPort:
		return inRanges(o.ports, f.To.Port)
	case srcPort:
		return inRanges(o.ports, f.Source.Port())
	case inPort:
		return inRanges(o.ports, f.Local.Port())
	case network:
		return f.Network == o.network
	case match:
		return true
	}
	return false
}

// hasSuffix says whether name is suffix or a name below it.
func hasSuffix(name, suffix string) bool {
	n := len(name) - len(suffix)
	return n >= 0 && name[n:] == suffix && (n == 0 || name[n-1] == '.')
}

var errUnknownType = errors.New("unknown rule type")
