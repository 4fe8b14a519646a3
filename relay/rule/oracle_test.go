package rule

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// The oracle walks a list of rules in order and judges each from its text. It shares no code with the
// program but the types of a rule and of a flow.
type oracle struct {
	sets map[string]*oracleSet
	subs map[string][]Rule
}

// oracleSet is a rule set as its lines.
type oracleSet struct {
	behavior string
	lines    []string
}

type answer int

const (
	isNo answer = iota
	isYes
	isLost // a set that it needs is not loaded
	asksIP
	asksProcess
)

func say(b bool) answer {
	if b {
		return isYes
	}
	return isNo
}

// facts are a flow as rules may see it: no-resolve and src change them.
type facts struct {
	flow.Flow
	noResolve bool
}

func (f *facts) wantsIP() bool {
	return f.To.Host != "" && !f.To.IP.IsValid() && !f.LookedUp && !f.noResolve
}

// walk finds the first rule that holds, and its target.
func (o *oracle) walk(rules []Rule, f *facts, from int) (int, string, answer) {
	none := isNo
	for i := from; i < len(rules); i++ {
		switch a, target := o.one(&rules[i], f); a {
		case isNo:
		case isLost:
			none = isLost
		default:
			return i, target, a
		}
	}
	return None, "", none
}

func (o *oracle) one(r *Rule, f *facts) (answer, string) {
	if r.Type != "SUB-RULE" {
		return o.holds(r, f), r.Target
	}
	cond, err := ParseCondition(strings.TrimSuffix(strings.TrimPrefix(r.Payload, "("), ")"))
	if err != nil {
		panic(err)
	}
	if a := o.holds(&cond, f); a != isYes {
		return a, ""
	}
	_, target, a := o.walk(o.subs[r.Target], f, 0)
	return a, target
}

func (o *oracle) holds(r *Rule, f *facts) answer {
	src := slices.Contains(r.Params, "src")
	resolve := !src && !slices.Contains(r.Params, "no-resolve")
	host := f.To.Host
	addr := func(test func(netip.Addr) bool) answer {
		switch {
		case src || strings.HasPrefix(r.Type, "SRC-"):
			return say(test(f.Source.Addr()))
		case f.To.IP.IsValid():
			return say(test(f.To.IP))
		case resolve && f.wantsIP():
			return asksIP
		}
		return isNo
	}
	process := func(test func() bool) answer {
		if !f.Process.LookedUp {
			return asksProcess
		}
		return say(f.Process.Found && test())
	}
	port := func(n int) bool {
		for part := range strings.SplitSeq(r.Payload, "/") {
			lo, hi, isRange := strings.Cut(part, "-")
			if !isRange {
				hi = lo
			}
			a, _ := strconv.Atoi(lo)
			b, _ := strconv.Atoi(hi)
			if min(a, b) <= n && n <= max(a, b) {
				return true
			}
		}
		return false
	}
	glob := func(s string) bool {
		p := regexp.QuoteMeta(strings.ToLower(r.Payload))
		p = strings.ReplaceAll(strings.ReplaceAll(p, `\*`, ".*"), `\?`, ".")
		return regexp.MustCompile("^" + p + "$").MatchString(strings.ToLower(s))
	}
	switch r.Type {
	case "MATCH":
		return isYes
	case "DOMAIN":
		return say(host == strings.ToLower(r.Payload))
	case "DOMAIN-SUFFIX":
		return say(strings.HasSuffix("."+host, "."+strings.ToLower(r.Payload)))
	case "DOMAIN-KEYWORD":
		return say(host != "" && strings.Contains(host, strings.ToLower(r.Payload)))
	case "DOMAIN-REGEX":
		return say(host != "" && regexp.MustCompile("(?i)"+r.Payload).MatchString(host))
	case "DOMAIN-WILDCARD":
		return say(host != "" && glob(host))
	case "IP-CIDR", "IP-CIDR6", "SRC-IP-CIDR":
		return addr(netip.MustParsePrefix(r.Payload).Contains)
	case "IP-SUFFIX", "SRC-IP-SUFFIX":
		return addr(func(a netip.Addr) bool { return endsAs(a, netip.MustParsePrefix(r.Payload)) })
	case "GEOIP", "SRC-GEOIP", "IP-ASN", "SRC-IP-ASN":
		return addr(func(a netip.Addr) bool { return o.setHas(r.Payload, a) })
	case "DST-PORT":
		return say(port(int(f.To.Port)))
	case "SRC-PORT":
		return say(port(int(f.Source.Port())))
	case "IN-PORT":
		return say(port(int(f.Local.Port())))
	case "DSCP":
		return say(port(int(f.DSCP)))
	case "NETWORK":
		return say(strings.EqualFold(r.Payload, f.Network.String()))
	case "IN-TYPE":
		return say(slices.ContainsFunc(strings.Split(r.Payload, "/"), func(w string) bool {
			return strings.EqualFold(w, f.Kind.String()) || w == "SOCKS" && strings.HasPrefix(f.Kind.String(), "Socks")
		}))
	case "IN-USER":
		return say(f.User != "" && slices.Contains(strings.Split(r.Payload, "/"), f.User))
	case "IN-NAME":
		return say(f.Inbound != "" && slices.Contains(strings.Split(r.Payload, "/"), f.Inbound))
	case "REMATCH-NAME":
		return say(f.Rematch == r.Payload)
	case "UID":
		return process(func() bool { return port(int(f.Process.UID)) })
	case "PROCESS-NAME":
		return process(func() bool { return f.Process.Path != "" && strings.EqualFold(baseName(f), r.Payload) })
	case "PROCESS-PATH":
		return process(func() bool { return f.Process.Path != "" && strings.EqualFold(f.Process.Path, r.Payload) })
	case "PROCESS-NAME-REGEX":
		return process(func() bool {
			return f.Process.Path != "" && regexp.MustCompile("(?i)"+r.Payload).MatchString(baseName(f))
		})
	case "PROCESS-PATH-REGEX":
		return process(func() bool {
			return f.Process.Path != "" && regexp.MustCompile("(?i)"+r.Payload).MatchString(f.Process.Path)
		})
	case "PROCESS-NAME-WILDCARD":
		return process(func() bool { return f.Process.Path != "" && glob(baseName(f)) })
	case "PROCESS-PATH-WILDCARD":
		return process(func() bool { return f.Process.Path != "" && glob(f.Process.Path) })
	case "GEOSITE":
		return say(host != "" && o.listHas(r.Payload, host))
	case "RULE-SET":
		return o.ruleSet(r, f, src, !resolve)
	case "AND", "OR", "NOT":
		return o.logic(r, f)
	}
	panic("the oracle does not know " + r.Type)
}

func baseName(f *facts) string {
	return f.Process.Path[strings.LastIndex(f.Process.Path, "/")+1:]
}

func endsAs(a netip.Addr, p netip.Prefix) bool {
	if a.Is4() != p.Addr().Is4() {
		return false
	}
	bits := func(a netip.Addr) string {
		var b strings.Builder
		for _, c := range a.AsSlice() {
			fmt.Fprintf(&b, "%08b", c)
		}
		return b.String()
	}
	want := bits(p.Addr())
	return strings.HasSuffix(bits(a), want[len(want)-p.Bits():])
}

func (o *oracle) setHas(name string, a netip.Addr) bool {
	return slices.ContainsFunc(o.sets[name].lines, func(l string) bool { return netip.MustParsePrefix(l).Contains(a) })
}

func (o *oracle) listHas(name, host string) bool {
	return slices.ContainsFunc(o.sets[name].lines, func(l string) bool { return patternHas(l, host) })
}

// patternHas says whether host is one of the names that a line of a domain set stands for.
func patternHas(line, host string) bool {
	if name := strings.TrimLeft(line, "+."); !strings.Contains(name, "*") && !strings.HasSuffix(host, name) {
		return false // which most lines of a long list are
	}
	if rest, ok := strings.CutPrefix(line, "+."); ok {
		return patternHas(rest, host) || patternHas("."+rest, host)
	}
	if rest, ok := strings.CutPrefix(line, "."); ok {
		p, h := strings.Split(rest, "."), strings.Split(host, ".")
		return len(h) > len(p) && labelsEqual(p, h[len(h)-len(p):])
	}
	return labelsEqual(strings.Split(line, "."), strings.Split(host, "."))
}

func labelsEqual(pattern, name []string) bool {
	return slices.EqualFunc(pattern, name, func(p, n string) bool { return p == "*" || p == n })
}

func (o *oracle) ruleSet(r *Rule, f *facts, src, noResolve bool) answer {
	set := o.sets[r.Payload]
	switch set.behavior {
	case "":
		return isLost
	case "domain":
		return say(f.To.Host != "" && o.listHas(r.Payload, f.To.Host))
	case "ipcidr":
		one := *r
		one.Type = "GEOIP" // the same question
		return o.holds(&one, f)
	}
	inner := *f
	inner.noResolve = inner.noResolve || noResolve
	if src {
		inner.Source, inner.To.IP, inner.To.Port = netip.AddrPortFrom(f.To.IP, f.To.Port), f.Source.Addr(), f.Source.Port()
	}
	var rules []Rule
	for _, l := range set.lines {
		c, err := ParseCondition(l)
		if err != nil {
			panic(err)
		}
		rules = append(rules, c)
	}
	_, _, a := o.walk(rules, &inner, 0)
	return a
}

func (o *oracle) logic(r *Rule, f *facts) answer {
	parts, err := splitConditions(r.Payload)
	if err != nil {
		panic(err)
	}
	unsure := false
	for _, part := range parts {
		c, _ := ParseCondition(part)
		a := o.holds(&c, f)
		switch {
		case a == isLost, unsure && r.Type == "AND" && a != isYes && a != isNo:
			unsure = true
		case a == asksIP, a == asksProcess:
			return a
		case r.Type == "NOT":
			return say(a == isNo)
		case r.Type == "AND" && a == isNo:
			return isNo
		case r.Type == "OR" && a == isYes:
			return isYes
		}
	}
	if unsure {
		return isLost
	}
	return say(r.Type == "AND")
}

// world makes random rules and flows out of few words, so that they meet.
type world struct {
	*rand.Rand
	o oracle
}

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

func (w *world) host() string {
	labels := make([]string, 1+w.IntN(4))
	for i := range labels {
		labels[i] = pick(w, "a", "b", "ab", "test", "xn--bcher-kva")
	}
	return strings.Join(labels, ".")
}

func (w *world) pattern() string {
	labels := strings.Split(w.host(), ".")
	for i := range labels {
		if w.IntN(6) == 0 {
			labels[i] = "*"
		}
	}
	return pick(w, "", "", "+.", ".") + strings.Join(labels, ".")
}

func (w *world) addr() netip.Addr {
	if w.IntN(3) == 0 {
		return netip.AddrFrom16([16]byte{0x20, 1, byte(w.IntN(2)), 0, 15: byte(w.IntN(4))})
	}
	return netip.AddrFrom4([4]byte{10, byte(w.IntN(2)), byte(w.IntN(2)) * 128, byte(w.IntN(4))})
}

func (w *world) prefix() string {
	a := w.addr()
	bits := w.IntN(a.BitLen() + 1)
	if w.IntN(4) > 0 {
		bits = a.BitLen() - w.IntN(9)
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}

func (w *world) ports(limit int) string {
	items := make([]string, 1+w.IntN(3))
	for i := range items {
		items[i] = strconv.Itoa(w.IntN(limit))
		if w.IntN(2) == 0 {
			items[i] += "-" + strconv.Itoa(w.IntN(limit))
		}
	}
	return strings.Join(items, "/")
}

var paths = []string{"/usr/bin/curl", "/usr/bin/Wget", "/opt/a b/Curl"}

// condition makes a random rule without a target. inSet leaves out what a set cannot hold.
func (w *world) condition(depth int, inSet bool) string {
	params := func() string { return pick(w, "", "", ",no-resolve", ",src") }
	type maker struct {
		types string
		make  func(t string) string
	}
	makers := []maker{
		{"DOMAIN DOMAIN-SUFFIX DOMAIN DOMAIN-SUFFIX DOMAIN DOMAIN-SUFFIX", func(string) string { return pick(w, w.host(), strings.ToUpper(w.host())) }},
		{"DOMAIN-KEYWORD DOMAIN-KEYWORD", func(string) string { return pick(w, "a", "B", "b.t", "es", "t.a", "ab.ab", "zz") }},
		{"DOMAIN-REGEX", func(string) string { return pick(w, `^a\.`, "B$", `(a|b)\.test`) }},
		{"DOMAIN-WILDCARD", func(string) string { return pick(w, "*.test", "?.*", "*a*", "a?.test") }},
		{"IP-CIDR IP-CIDR6 IP-CIDR IP-CIDR", func(string) string { return w.prefix() + params() }},
		{"SRC-IP-CIDR SRC-IP-CIDR", func(string) string { return w.prefix() }},
		{"IP-SUFFIX", func(string) string { return netip.PrefixFrom(w.addr(), w.IntN(33)).String() + params() }},
		{"SRC-IP-SUFFIX", func(string) string { return netip.PrefixFrom(w.addr(), w.IntN(33)).String() }},
		{"GEOIP", func(string) string { return pick(w, "cn", "us") + params() }},
		{"SRC-GEOIP", func(string) string { return pick(w, "cn", "us") }},
		{"IP-ASN", func(string) string { return pick(w, "1", "2") + params() }},
		{"DST-PORT SRC-PORT IN-PORT DST-PORT", func(string) string { return w.ports(6) }},
		{"DSCP", func(string) string { return w.ports(4) }},
		{"UID", func(string) string { return w.ports(3) }},
		{"NETWORK", func(string) string { return pick(w, "tcp", "UDP") }},
		{"IN-TYPE", func(string) string { return pick(w, "HTTP", "SOCKS", "SOCKS5/HTTPS", "TUN") }},
		{"IN-USER IN-NAME", func(string) string { return pick(w, "x", "x/y", "z") }},
		{"REMATCH-NAME", func(string) string { return pick(w, "x", "y") }},
		{"PROCESS-NAME", func(string) string { return pick(w, "curl", "WGET") }},
		{"PROCESS-PATH", func(string) string { return pick(w, paths...) }},
		{"PROCESS-NAME-REGEX PROCESS-PATH-REGEX", func(string) string { return pick(w, "^cu", "BIN", "get$") }},
		{"PROCESS-NAME-WILDCARD PROCESS-PATH-WILDCARD", func(string) string { return pick(w, "c*", "*/bin/*", "?get") }},
		{"GEOSITE", func(string) string { return pick(w, "site1", "site2") }},
	}
	if !inSet {
		makers = append(makers, maker{"RULE-SET RULE-SET RULE-SET", func(string) string {
			return pick(w, "names", "cidrs", "lines", "empty") + params()
		}})
	}
	if depth < 3 {
		makers = append(makers, maker{"AND OR", func(string) string {
			parts := make([]string, 1+w.IntN(3))
			for i := range parts {
				parts[i] = "(" + w.condition(depth+1, inSet) + ")"
			}
			return "(" + strings.Join(parts, ",") + ")"
		}}, maker{"NOT", func(string) string { return "((" + w.condition(depth+1, inSet) + "))" }})
	}
	m := pick(w, makers...)
	t := pick(w, strings.Fields(m.types)...)
	return t + "," + m.make(t)
}

func (w *world) rules(n int, subs ...string) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		if len(subs) > 0 && w.IntN(5) == 0 {
			rules[i] = Rule{Type: "SUB-RULE", Payload: "(" + w.condition(1, false) + ")", Target: pick(w, subs...)}
			continue
		}
		if w.IntN(40) == 0 {
			rules[i] = Rule{Type: "MATCH"}
		} else {
			rules[i], _ = ParseCondition(w.condition(0, false))
		}
		rules[i].Target = "t" + strconv.Itoa(w.IntN(5))
	}
	return rules
}

// sets makes the sets that rules refer to, for the oracle and for the program.
func (w *world) sets(t *testing.T) *Env {
	w.o.sets = map[string]*oracleSet{"empty": {}}
	made := map[string]*Set{"empty": new(Set)}
	for _, name := range []string{"names", "site1", "site2"} {
		s := &oracleSet{behavior: "domain"}
		var b match.DomainsBuilder
		for range w.IntN(8) {
			s.lines = append(s.lines, w.pattern())
			if err := b.Add(s.lines[len(s.lines)-1]); err != nil {
				t.Fatal(err)
			}
		}
		d, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		w.o.sets[name], made[name] = s, new(Set)
		made[name].Replace(&Content{Domains: d, Count: d.Len()})
	}
	for _, name := range []string{"cidrs", "cn", "us", "1", "2"} {
		s := &oracleSet{behavior: "ipcidr"}
		var b match.PrefixesBuilder
		for range w.IntN(8) {
			s.lines = append(s.lines, w.prefix())
			b.Add(netip.MustParsePrefix(s.lines[len(s.lines)-1]))
		}
		w.o.sets[name], made[name] = s, new(Set)
		made[name].Replace(&Content{Prefixes: b.Build(), Count: b.Len()})
	}
	find := func(name string) (*Set, error) { return made[name], nil }
	env := &Env{
		RuleSet: find, GeoSite: find, GeoIP: find,
		ASN: func(n uint32) (*Set, error) { return made[strconv.Itoa(int(n))], nil },
	}
	lines := &oracleSet{behavior: "classical"}
	var rules []Rule
	for range 1 + w.IntN(6) {
		line := w.condition(0, true)
		r, _ := ParseCondition(line)
		lines.lines, rules = append(lines.lines, line), append(rules, r)
	}
	program := CompileSet(rules, env, func(i int, err error) { t.Fatal(lines.lines[i], err) })
	w.o.sets["lines"], made["lines"] = lines, new(Set)
	made["lines"].Replace(&Content{Rules: program, Count: program.Len()})
	return env
}

func (w *world) flow() flow.Flow {
	f := flow.Flow{
		Network: pick(w, flow.TCP, flow.UDP), Kind: pick(w, flow.HTTP, flow.HTTPS, flow.SOCKS4, flow.SOCKS5),
		Source: netip.AddrPortFrom(w.addr(), uint16(w.IntN(6))), Local: netip.AddrPortFrom(w.addr(), uint16(w.IntN(6))),
		User: pick(w, "", "x", "y"), Inbound: pick(w, "x", "z"), DSCP: uint8(w.IntN(4)), Rematch: pick(w, "", "", "x", "y"),
		To: flow.Addr{Port: uint16(w.IntN(6))},
	}
	if w.IntN(4) > 0 {
		f.To.Host = w.host()
	}
	if f.To.Host == "" || w.IntN(3) == 0 {
		f.To.IP = w.addr()
	} else if w.IntN(3) == 0 {
		f.LookedUp = true
	}
	switch w.IntN(3) {
	case 0:
		f.Process = flow.FoundProcess(uint32(w.IntN(3)), pick(w, append(paths, "")...))
	case 1:
		f.Process.LookedUp = true
	}
	return f
}

// TestOracle compares programs with the oracle, at every place that matching can go on from.
func TestOracle(t *testing.T) {
	compared, programs := 0, 3000
	few := testing.Short() || testkit.Race
	if few {
		programs = 200
	}
	seed := uint64(1)
	if s := os.Getenv("SWITCHYARD_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	for n := range programs {
		w := &world{Rand: rand.New(rand.NewPCG(seed, uint64(n)))}
		env := w.sets(t)
		inner := w.rules(w.IntN(6))
		w.o.subs = map[string][]Rule{"inner": inner, "outer": w.rules(w.IntN(6), "inner")}
		rules := w.rules(1+w.IntN(40), "inner", "outer")
		env.SubRules = w.o.subs
		p, errs := Compile(rules, env)
		if errs != nil {
			t.Fatal(errs)
		}
		for range 60 {
			f := w.flow()
			for from := 0; from >= 0 && from <= len(rules); {
				got := p.Match(&f, from)
				wantRule, wantTarget, wantAnswer := w.o.walk(rules, &facts{Flow: f}, from)
				compared++
				need := map[answer]Need{asksIP: NeedIP, asksProcess: NeedProcess}[wantAnswer]
				target := ""
				if got.Target != None {
					target = p.Targets()[got.Target]
				}
				if wantAnswer != isYes {
					wantTarget = ""
				}
				if got.Rule != wantRule || got.Need != need || target != wantTarget {
					t.Fatalf("program %d of seed %d, from %d: got %+v %q, want rule %d %q, need %d\nflow %+v\n%s",
						n, seed, from, got, target, wantRule, wantTarget, need, f, show(&w.o, rules))
				}
				for i := from; i < wantRule; i++ { // each alone says the same
					if v := p.Look(&f, i); v.Holds || v.Need != NeedNothing || v.Why == "" {
						t.Fatalf("program %d: rule %d %v alone: %+v", n, i, rules[i], v)
					}
				}
				switch got.Need {
				case NeedIP:
					f.LookedUp, from = true, got.Rule
					if w.IntN(3) > 0 {
						f.To.IP = w.addr()
					}
				case NeedProcess:
					f.Process.LookedUp, from = true, got.Rule
					if w.IntN(3) > 0 {
						f.Process = flow.FoundProcess(uint32(w.IntN(3)), pick(w, paths...))
					}
				default:
					if from = got.Rule + 1; got.Rule == None {
						from = -1
					}
				}
			}
		}
	}
	t.Logf("%d comparisons", compared)
	if !few && compared < 1_000_000 {
		t.Errorf("only %d comparisons", compared)
	}
}

func show(o *oracle, rules []Rule) string {
	var b strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&b, "%d: %v\n", i, r)
	}
	for name, s := range o.sets {
		fmt.Fprintf(&b, "set %s %s: %q\n", name, s.behavior, s.lines)
	}
	for name, s := range o.subs {
		fmt.Fprintf(&b, "sub %s: %v\n", name, s)
	}
	return b.String()
}
