package rule

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// op is one compiled rule or condition.
type op struct {
	kind      kind
	off       bool // switched off
	noResolve bool // does without the address of a name
	swap      bool // looks at the source as if it were the destination
	geo       bool // refers to geo data, which has a size to show
	arg       int32
	api       string // the type in the API
	text      string // the payload
}

// call is a SUB-RULE.
type call struct {
	cond op
	sub  *Program
}

// Program is a compiled list of rules. It is immutable but for the content of the sets it refers to;
// Match may be called from any goroutine.
type Program struct {
	name    string // of the list of sub-rules; "" for the rules
	ops     []op
	target  []int32 // of each rule, into targets
	targets []string
	subs    map[string]*Program
	looks   int // rules that one flow can make us look at
	depth   int // of sub-rules that call each other

	prefixes []netip.Prefix
	ranges   []match.Ranges
	regexes  []*regexp.Regexp
	words    [][]string
	sets     []*Set
	logic    [][]op
	calls    []call

	// The indexes; nil where there are no such rules.
	exact, suffix *match.Index
	keywords      *match.Keywords
	to, from      *match.PrefixIndex
	ports         [3]*portIndex // dstPort, srcPort, inPort
	process, path map[string][]int32
	resolving     []int32 // indexed rules that want the address of a name
	processing    []int32 // indexed rules that want the process
	residual      []int32 // rules that are looked at one by one
}

func newProgram(size int) *Program {
	return &Program{ops: make([]op, 0, size), target: make([]int32, 0, size), looks: size}
}

func (p *Program) append(o op, payload string, target int32) {
	o.text = payload
	p.ops, p.target = append(p.ops, o), append(p.target, target)
}

// Len is the number of rules.
func (p *Program) Len() int { return len(p.ops) }

// Targets are the names that rules lead to, each once: also those of sub-rules.
func (p *Program) Targets() []string { return p.targets }

// Name is the name of the list of sub-rules that p is; "" for the rules, and for a rule set.
func (p *Program) Name() string { return p.name }

// Sub is the list of sub-rules called name, or nil. Its targets are those of p.
func (p *Program) Sub(name string) *Program { return p.subs[name] }

// Info describes rule i.
func (p *Program) Info(i int) Info {
	o := &p.ops[i]
	info := Info{Type: o.api, Payload: o.text, Size: -1}
	if p.targets != nil {
		info.Target = p.targets[p.target[i]]
	}
	if o.geo {
		info.Size = p.sets[o.arg].Len()
	}
	return info
}

// Off says whether rule i is switched off.
func (p *Program) Off(i int) bool { return p.ops[i].off }

// no is more than the index of any rule.
const no = math.MaxInt32

// index builds the indexes.
func (p *Program) index() error {
	for i := range p.ops {
		o, n := &p.ops[i], int32(i)
		if !o.off {
			p.indexOne(o, n)
		}
	}
	for _, x := range []*match.Index{p.exact, p.suffix} {
		if x != nil {
			if err := x.Build(); err != nil {
				return err
			}
		}
	}
	if p.keywords != nil {
		p.keywords.Build()
	}
	for _, x := range []*match.PrefixIndex{p.to, p.from} {
		if x != nil {
			x.Build()
		}
	}
	return nil
}

func made[T any](p **T, build func() *T) *T {
	if *p == nil {
		*p = build()
	}
	return *p
}

func (p *Program) indexOne(o *op, n int32) {
	switch o.kind {
	case domain:
		made(&p.exact, match.NewIndex).Add(o.text, n)
	case domainSuffix:
		made(&p.suffix, match.NewIndex).Add(o.text, n)
	case domainKeyword:
		made(&p.keywords, match.NewKeywords).Add(o.text, n)
	case ipCIDR:
		made(&p.to, newPrefixIndex).Add(p.prefixes[o.arg], n)
		if !o.noResolve {
			p.resolving = append(p.resolving, n)
		}
	case srcIPCIDR:
		made(&p.from, newPrefixIndex).Add(p.prefixes[o.arg], n)
	case dstPort, srcPort, inPort:
		made(&p.ports[o.kind-dstPort], newPortIndex).add(p.ranges[o.arg], n)
	case processName:
		addWord(&p.process, o.text, n)
		p.processing = append(p.processing, n)
	case processPath:
		addWord(&p.path, o.text, n)
		p.processing = append(p.processing, n)
	default:
		p.residual = append(p.residual, n)
	}
}

func newPrefixIndex() *match.PrefixIndex { return new(match.PrefixIndex) }

func addWord(m *map[string][]int32, word string, n int32) {
	if *m == nil {
		*m = make(map[string][]int32)
	}
	word = strings.ToLower(word)
	(*m)[word] = append((*m)[word], n)
}

// eval is one flow while rules look at it.
type eval struct {
	f          *flow.Flow
	src, dst   netip.Addr
	sport      uint16
	dport      uint16
	resolvable bool // the address of the name is not known, and may be asked for
	target     int32
	name       match.Name
}

func (e *eval) init(f *flow.Flow) {
	e.f = f
	e.src, e.sport = f.Source.Addr().Unmap().WithZone(""), f.Source.Port()
	e.dst, e.dport = f.To.IP.Unmap().WithZone(""), f.To.Port
	e.resolvable = !e.dst.IsValid() && f.To.Host != "" && !f.LookedUp
	e.name.Set(f.To.Host)
}

// Match returns the first rule at or after from that holds for f. It never blocks and never
// allocates. When a rule cannot be judged without a fact that f lacks, Match returns that rule and
// the need: the caller finds the fact, marks it as looked up, and calls again from there.
func (p *Program) Match(f *flow.Flow, from int) Hit {
	var e eval
	e.init(f)
	i, v := p.run(&e, int32(from))
	switch v {
	case yes:
		return Hit{Rule: int(i), Target: int(p.targetOf(&e, i))}
	case wantsIP:
		return Hit{Rule: int(i), Target: None, Need: NeedIP}
	case wantsProcess:
		return Hit{Rule: int(i), Target: None, Need: NeedProcess}
	}
	return Hit{Rule: None, Target: None}
}

// targetOf is where rule i leads; run has found that it holds.
func (p *Program) targetOf(e *eval, i int32) int32 {
	if p.ops[i].kind == subRule {
		return e.target
	}
	return p.target[i]
}

// run finds the first rule from from on that holds, or whose need comes before all that do.
func (p *Program) run(e *eval, from int32) (int32, verdict) {
	best := p.indexed(e, from)
	ask, need := int32(no), nay
	if e.resolvable && p.resolving != nil {
		if i := firstFrom(p.resolving, from); i < best {
			ask, need = i, wantsIP
		}
	}
	if p.processing != nil && !e.f.Process.LookedUp {
		if i := firstFrom(p.processing, from); i < best && i < ask {
			ask, need = i, wantsProcess
		}
	}
	k, _ := slices.BinarySearch(p.residual, from)
	none := nay
	for _, i := range p.residual[k:] {
		if i > best || i > ask {
			break
		}
		switch v := p.judge(&p.ops[i], e); v {
		case nay:
		case lost:
			none = lost
		default:
			return i, v
		}
	}
	switch {
	case ask != no:
		return ask, need
	case best != no:
		return best, yes
	}
	return no, none
}

// indexed is the first rule from from on that the indexes know to hold.
func (p *Program) indexed(e *eval, from int32) int32 {
	best := int32(no)
	if host := e.name.String(); host != "" {
		if p.exact != nil {
			best = p.exact.Exact(&e.name, from, best)
		}
		if p.suffix != nil {
			best = p.suffix.Suffix(&e.name, from, best)
		}
		if p.keywords != nil {
			best = p.keywords.First(host, from, best)
		}
	}
	if p.to != nil {
		best = p.to.First(e.dst, from, best)
	}
	if p.from != nil {
		best = p.from.First(e.src, from, best)
	}
	for i, port := range [...]uint16{e.dport, e.sport, e.f.Local.Port()} {
		if p.ports[i] != nil {
			best = p.ports[i].first(port, from, best)
		}
	}
	if p.process != nil {
		best = firstWord(p.process, e.f.Process.FoldName(), from, best)
	}
	if p.path != nil {
		best = firstWord(p.path, e.f.Process.Fold, from, best)
	}
	return best
}

// firstFrom is the first of ascending numbers that is from or more, or no.
func firstFrom(numbers []int32, from int32) int32 {
	i, _ := slices.BinarySearch(numbers, from)
	if i == len(numbers) {
		return no
	}
	return numbers[i]
}

// firstWord is the first rule about word, which is in lower case.
func firstWord(m map[string][]int32, word string, from, best int32) int32 {
	return min(best, firstFrom(m[word], from))
}
