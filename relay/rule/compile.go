package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Env is what rules refer to. A func that is nil knows nothing, and so does an Env that is nil.
type Env struct {
	SubRules map[string][]Rule
	// Each returns the set of that name, or why there can be none. A set that is not loaded yet is
	// there, and empty.
	RuleSet func(name string) (*Set, error)
	GeoSite func(list string) (*Set, error)
	GeoIP   func(code string) (*Set, error) // in lower case; never "lan"
	ASN     func(number uint32) (*Set, error)
	// Off are the rules, by index, that are switched off.
	Off map[int]bool
}

// Compile compiles rules in order. It reports every bad rule, each as an *Error.
func Compile(rules []Rule, env *Env) (*Program, []*Error) {
	s := newShared(env)
	p := s.list("", rules)
	for _, name := range sortedKeys(s.env.SubRules) {
		s.sub(name) // also those that only a node of type rematch leads to
	}
	if s.errs != nil {
		return nil, s.errs
	}
	p.targets, p.subs = s.targets, s.subs
	for _, sub := range s.subs {
		sub.targets = s.targets
	}
	return p, nil
}

// CompileSet compiles the lines of a classical rule set, which have no targets. Bad lines are left out,
// and bad is told of each, in order; program is nil where no line is good.
func CompileSet(rules []Rule, env *Env, bad func(i int, err error)) (program *Program) {
	s := newShared(env)
	s.bad = bad
	s.inSet, s.regexes = true, match.RegexBudget{Bytes: 4 << 10, Instructions: 1 << 20}
	p := s.list("", rules)
	if p.Len() == 0 {
		return nil
	}
	return p
}

// shared is what the lists of one compilation have in common.
type shared struct {
	env     *Env
	inSet   bool
	bad     func(i int, err error) // where set, it is told what else would be in errs
	errs    []*Error
	subs    map[string]*Program // nil while it is being compiled
	path    []string            // of lists being compiled
	targets []string
	target  map[string]int32
	regexes match.RegexBudget
}

func newShared(env *Env) *shared {
	if env == nil {
		env = &Env{}
	}
	return &shared{
		env: env, subs: make(map[string]*Program), target: make(map[string]int32),
		regexes: match.RegexBudget{Bytes: 64 << 10, Instructions: 1 << 22},
	}
}

// compiler compiles one list.
type compiler struct {
	*shared
	p     *Program
	depth int // of logic rules around the one that is compiled
}

// maxErrors bounds what is reported of one list.
const maxErrors = 1000

func (s *shared) list(name string, rules []Rule) *Program {
	c := &compiler{shared: s, p: newProgram(len(rules))}
	c.p.name = name
	bad := 0
	for i := range rules {
		r := &rules[i]
		o, payload, err := c.rule(r)
		if err != nil {
			if bad++; s.bad != nil {
				s.bad(i, err)
			} else if bad <= maxErrors {
				s.errs = append(s.errs, &Error{Sub: name, Index: i, Err: err})
			}
			continue
		}
		if name == "" && s.env.Off[i] {
			o.off = true
		}
		c.p.append(o, payload, s.intern(r.Target))
	}
	if err := c.p.index(); err != nil {
		if s.bad != nil {
			s.bad(0, err)
			return newProgram(0)
		}
		s.errs = append(s.errs, &Error{Sub: name, Index: 0, Err: err})
	}
	return c.p
}

func (s *shared) intern(target string) int32 {
	id, ok := s.target[target]
	if !ok {
		id = int32(len(s.targets))
		s.target[target] = id
		s.targets = append(s.targets, target)
	}
	return id
}

// maxCalls bounds how deep sub-rules call each other.
const maxCalls = 256

// sub compiles the list of sub-rules called name, once.
func (s *shared) sub(name string) (*Program, error) {
	rules, ok := s.env.SubRules[name]
	if !ok {
		return nil, &NotFound{"sub-rule", name}
	}
	p, begun := s.subs[name]
	if begun && p == nil {
		i := slices.Index(s.path, name)
		return nil, fmt.Errorf("sub-rule error: %w [%s->%s]", ErrCircular, strings.Join(s.path[i:], "->"), name)
	}
	if !begun && len(s.path) < maxCalls {
		s.subs[name], s.path = nil, append(s.path, name)
		p = s.list(name, rules)
		s.subs[name], s.path = p, s.path[:len(s.path)-1]
	}
	if p == nil || p.depth >= maxCalls { // from above, or from below when that was compiled before
		return nil, fmt.Errorf("sub-rules that call each other more than %d deep", maxCalls)
	}
	return p, nil
}

// rule compiles one rule, on its own or inside a logic rule.
func (c *compiler) rule(r *Rule) (op, string, error) {
	t, ok := types[r.Type]
	switch {
	case !ok:
		return op{}, "", &UnknownType{r.Type}
	case c.inSet && (r.Type == "RULE-SET" || r.Type == "SUB-RULE" || r.Type == "MATCH"):
		return op{}, "", fmt.Errorf("unsupported rule type [%s] in a rule set", r.Type)
	case c.depth > 0 && (r.Type == "SUB-RULE" || r.Type == "MATCH"):
		return op{}, "", fmt.Errorf("unsupported rule type [%s] on logic rule", r.Type)
	}
	o := op{kind: t.kind, api: t.api}
	src := slices.Contains(r.Params, "src")
	if src && t.src != "" {
		o.kind, o.api = t.kind.source(), t.src
	}
	o.noResolve = src || slices.Contains(r.Params, "no-resolve")
	o.swap = src && t.kind == namedSet
	payload, err := c.payload(&o, r, t.kind)
	return o, payload, err
}

// payload compiles the payload of a rule of kind k into o, and returns how the API shows it. The sets
// of addresses have their own ways to be named.
func (c *compiler) payload(o *op, r *Rule, k kind) (string, error) {
	switch k {
	case domain:
		return compileName(r.Payload)
	case domainSuffix: // some files have the signs of a domain set here
		return compileName(strings.TrimPrefix(strings.TrimPrefix(r.Payload, "+"), "."))
	case domainKeyword:
		return compileKeyword(r)
	case domainWildcard:
		return compileWildcard(r)
	case domainRegex, processNameRegex, processPathRegex:
		return c.regex(o, r)
	case processName, processPath, processNameWildcard, processPathWildcard:
		return c.program(o, r)
	case rematchName:
		return compileText(r)
	case inUser, inName:
		return c.inboundWords(o, r)
	case inType:
		return compileInType(o, r)
	case network:
		return compileNetwork(o, r)
	case ipCIDR, srcIPCIDR:
		return c.cidr(o, r)
	case ipSuffix, srcIPSuffix:
		return c.ipSuffix(o, r)
	case dstPort, srcPort, inPort, dscp, uid:
		return c.numbers(o, r)
	case namedSet:
		return c.refer(o, r.Payload, c.env.RuleSet, &NotFound{"rule set", r.Payload})
	case siteSet:
		o.geo = true
		return c.refer(o, strings.ToLower(r.Payload), c.env.GeoSite, &NotFound{"list", r.Payload})
	case addressSet, srcAddressSet:
		if strings.HasSuffix(r.Type, "ASN") {
			return c.system(o, r)
		}
		return c.country(o, r)
	case and, or, not:
		return c.conditions(o, r)
	case subRule:
		return c.call(o, r)
	}
	return "", nil // MATCH
}

func compileName(name string) (string, error) {
	host, ip, err := flow.ParseHost(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("want a domain name, got %q", clip(name))
	case ip.IsValid(): // configurations have such rules; no name is ever an address
		return name, nil
	}
	return host, nil
}

func compileKeyword(r *Rule) (string, error) {
	if r.Payload == "" {
		return "", errors.New("want a part of a domain name, got nothing")
	}
	text := strings.ToLower(r.Payload)
	if host, ip, err := flow.ParseHost(text); err == nil && !ip.IsValid() && !isASCII(text) {
		text = host // an IDN keyword means its punycode
	}
	return text, nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

func compileWildcard(r *Rule) (string, error) {
	if r.Payload == "" {
		return "", errors.New("want a pattern such as *.example.org, got nothing")
	}
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(r.Payload, ".")), ".")
	for i, l := range labels {
		if !isASCII(l) && !strings.ContainsAny(l, "*?") {
			if host, _, err := flow.ParseHost(l); err == nil {
				labels[i] = host
			}
		}
	}
	return strings.Join(labels, "."), nil
}

func (c *compiler) regex(o *op, r *Rule) (string, error) {
	if r.Payload == "" {
		return "", errors.New("want a regular expression, got nothing")
	}
	re, err := c.regexes.Compile(r.Payload)
	if err != nil {
		return "", err
	}
	o.arg = int32(len(c.p.regexes))
	c.p.regexes = append(c.p.regexes, re)
	return r.Payload, nil
}

func compileText(r *Rule) (string, error) {
	if r.Payload == "" {
		return "", errors.New("want a name, got nothing")
	}
	return r.Payload, nil
}

// program compiles what the name or the path of a program is compared with, in lower case.
func (c *compiler) program(o *op, r *Rule) (string, error) {
	if r.Payload == "" {
		return "", errors.New("want the name or the path of a program, got nothing")
	}
	o.arg = int32(len(c.p.words))
	c.p.words = append(c.p.words, []string{strings.ToLower(r.Payload)})
	return r.Payload, nil
}

func (c *compiler) inboundWords(o *op, r *Rule) (string, error) {
	var words []string
	for w := range strings.SplitSeq(r.Payload, "/") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	if words == nil {
		return "", errors.New("want a name, or some parted by /, got nothing")
	}
	o.arg = int32(len(c.p.words))
	c.p.words = append(c.p.words, words)
	return r.Payload, nil
}

func (c *compiler) cidr(o *op, r *Rule) (string, error) {
	p, err := netip.ParsePrefix(r.Payload)
	if err != nil {
		return "", fmt.Errorf("want a prefix such as 192.0.2.0/24 or 2001:db8::/32, got %q", clip(r.Payload))
	}
	c.prefix(o, match.Unmap(p))
	return p.String(), nil
}

func (c *compiler) prefix(o *op, p netip.Prefix) {
	o.arg = int32(len(c.p.prefixes))
	c.p.prefixes = append(c.p.prefixes, p)
}

func (c *compiler) ipSuffix(o *op, r *Rule) (string, error) {
	p, err := netip.ParsePrefix(r.Payload)
	if err != nil {
		return "", fmt.Errorf("want an address and the number of its last bits, such as 8.8.8.8/24, got %q", clip(r.Payload))
	}
	c.prefix(o, p)
	return r.Payload, nil
}

// limits are the largest numbers of the kinds that have ranges.
var limits = map[kind]uint32{dstPort: 65535, srcPort: 65535, inPort: 65535, dscp: 63, uid: 1<<32 - 1}

func (c *compiler) numbers(o *op, r *Rule) (string, error) {
	rs, err := match.ParseRanges(r.Payload, limits[o.kind])
	if err != nil {
		return "", err
	}
	o.arg = int32(len(c.p.ranges))
	c.p.ranges = append(c.p.ranges, rs)
	return r.Payload, nil
}

func compileNetwork(o *op, r *Rule) (string, error) {
	switch strings.ToLower(r.Payload) {
	case "tcp":
		o.arg = int32(flow.TCP)
	case "udp":
		o.arg = int32(flow.UDP)
	default:
		return "", fmt.Errorf("unsupported network type, only TCP/UDP: want tcp or udp, got %q", clip(r.Payload))
	}
	return flow.Network(o.arg).String(), nil
}

// inTypes are the words for kinds of inbounds, with the kinds that there are today.
var inTypes = map[string][]flow.Kind{
	"HTTP": {flow.HTTP}, "HTTPS": {flow.HTTPS}, "SOCKS": {flow.SOCKS4, flow.SOCKS5}, "SOCKS4": {flow.SOCKS4},
	"SOCKS5": {flow.SOCKS5}, "INNER": {flow.Inner}, "SHADOWSOCKS": nil, "SNELL": nil, "VMESS": nil, "VLESS": nil,
	"REDIR": nil, "TPROXY": nil, "TROJAN": nil, "TUNNEL": nil, "TUN": nil, "TUIC": nil, "HYSTERIA2": nil,
	"ANYTLS": nil, "MIERU": nil, "SUDOKU": nil, "TRUSTTUNNEL": nil, "SHADOWQUIC": nil,
}

func compileInType(o *op, r *Rule) (string, error) {
	payload := strings.ToUpper(strings.ReplaceAll(r.Payload, " ", ""))
	for word := range strings.SplitSeq(payload, "/") {
		kinds, known := inTypes[word]
		if !known {
			return "", fmt.Errorf("unknown type: %s; want some of %s", clip(word), strings.Join(sortedKeys(inTypes), "/"))
		}
		for _, k := range kinds {
			o.arg |= 1 << k
		}
	}
	return payload, nil
}

func (c *compiler) set(o *op, s *Set) {
	o.arg = int32(len(c.p.sets))
	c.p.sets = append(c.p.sets, s)
}

func (c *compiler) country(o *op, r *Rule) (string, error) {
	o.geo = true
	code := strings.ToLower(r.Payload)
	if code == "lan" {
		c.set(o, lan)
		return code, nil
	}
	return c.refer(o, code, c.env.GeoIP, &NotFound{"country", r.Payload})
}

func (c *compiler) refer(o *op, name string, find func(string) (*Set, error), missing error) (string, error) {
	if name == "" {
		return "", errors.New("want a name, got nothing")
	}
	if find == nil {
		return "", missing
	}
	s, err := find(name)
	if err != nil {
		return "", err
	}
	c.set(o, s)
	return name, nil
}

func (c *compiler) system(o *op, r *Rule) (string, error) {
	digits := strings.TrimPrefix(strings.ToUpper(r.Payload), "AS")
	n, err := strconv.ParseUint(digits, 10, 32)
	switch {
	case err != nil:
		return "", fmt.Errorf("want the number of an autonomous system such as 13335, got %q", clip(r.Payload))
	case c.env.ASN == nil:
		return "", &NotFound{"autonomous system", r.Payload}
	}
	s, err := c.env.ASN(uint32(n))
	if err != nil {
		return "", err
	}
	c.set(o, s)
	return digits, nil
}

// lan are the addresses that belong to no country.
var lan = func() *Set {
	var b match.PrefixesBuilder
	for _, p := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", // private
		"127.0.0.0/8", "::1/128", // loopback
		"169.254.0.0/16", "fe80::/10", // link-local
		"224.0.0.0/4", "ff00::/8", // multicast
		"0.0.0.0/32", "::/128", // unspecified
	} {
		b.Add(netip.MustParsePrefix(p))
	}
	s := new(Set)
	s.Replace(&Content{Prefixes: b.Build(), Count: b.Len()})
	return s
}()

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
