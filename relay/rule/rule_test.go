package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// lines compiles rules without a target: TYPE,PAYLOAD[,param…].
func lines(t testing.TB, text string) *Program {
	t.Helper()
	p, errs := Compile(parse(text), nil)
	if errs != nil {
		t.Fatal(errs)
	}
	return p
}

func parse(text string) []Rule {
	var rules []Rule
	for line := range strings.SplitSeq(text, "\n") {
		f := append(strings.Split(line, ","), "")
		rules = append(rules, Rule{Type: f[0], Payload: f[1], Params: f[2:]})
	}
	return rules
}

var (
	src = netip.MustParseAddrPort("10.0.0.1:5000")
	in  = netip.MustParseAddrPort("127.0.0.1:7890")
)

func named(host string, port uint16) flow.Flow {
	return flow.Flow{Network: flow.TCP, Source: src, Local: in, To: flow.Addr{Host: host, Port: port}}
}

func addressed(ip string, port uint16) flow.Flow {
	return flow.Flow{Network: flow.UDP, Source: src, Local: in, To: flow.Addr{IP: netip.MustParseAddr(ip), Port: port}}
}

func TestMatch(t *testing.T) {
	f := func(rules string, fl flow.Flow, want int, wantNeed Need) {
		t.Helper()
		got := lines(t, rules).Match(&fl, 0)
		if got.Rule != want || got.Need != wantNeed {
			t.Errorf("%q: rule %d, need %d; want %d, %d", rules, got.Rule, got.Need, want, wantNeed)
		}
	}
	f("DOMAIN,A.test\nMATCH", named("a.test", 80), 0, NeedNothing)
	f("DOMAIN,a.test\nMATCH", named("b.a.test", 80), 1, NeedNothing)
	f("DOMAIN-SUFFIX,a.test\nMATCH", named("a.test", 80), 0, NeedNothing)
	f("DOMAIN-SUFFIX,a.test\nMATCH", named("b.a.test", 80), 0, NeedNothing)
	f("DOMAIN-SUFFIX,a.test\nMATCH", named("ba.test", 80), 1, NeedNothing)
	f("DOMAIN-SUFFIX,bücher.example", named("www.xn--bcher-kva.example", 80), 0, NeedNothing)
	f("DOMAIN-KEYWORD,OOG", named("google.test", 80), 0, NeedNothing)
	f("DOMAIN-KEYWORD,x", addressed("1.1.1.1", 80), None, NeedNothing)
	f("DOMAIN,1.1.1.1", addressed("1.1.1.1", 80), None, NeedNothing)
	f("IP-CIDR,1.1.0.0/16", addressed("1.1.2.3", 80), 0, NeedNothing)
	f("IP-CIDR,1.1.0.0/16", addressed("1.2.2.3", 80), None, NeedNothing)
	f("IP-CIDR6,2001:db8::/32", addressed("2001:db8::1", 80), 0, NeedNothing)
	// A name has no address until somebody looks it up, and a rule may do without.
	f("DST-PORT,81\nIP-CIDR,1.1.0.0/16\nMATCH", named("a.test", 80), 1, NeedIP)
	f("DOMAIN,a.test\nIP-CIDR,1.1.0.0/16", named("a.test", 80), 0, NeedNothing)
	f("IP-CIDR,1.1.0.0/16,no-resolve\nMATCH", named("a.test", 80), 1, NeedNothing)
	f("IP-CIDR,10.0.0.0/8,src", named("a.test", 80), 0, NeedNothing)
	f("SRC-IP-CIDR,10.0.0.0/8", named("a.test", 80), 0, NeedNothing)
	f("DST-PORT,443/8000-9000", named("a.test", 8080), 0, NeedNothing)
	f("DST-PORT,443", named("a.test", 8080), None, NeedNothing)
	f("SRC-PORT,5000", named("a.test", 80), 0, NeedNothing)
	f("IN-PORT,7890", named("a.test", 80), 0, NeedNothing)
	f("NETWORK,UDP\nNETWORK,tcp", named("a.test", 80), 1, NeedNothing)

	// After a lookup that found nothing, rules that wanted an address do not hold.
	fl := named("a.test", 80)
	fl.LookedUp = true
	f("IP-CIDR,1.1.0.0/16\nMATCH", fl, 1, NeedNothing)
}

// TestProcess judges by what is known of a process, which may not be all of it.
func TestProcess(t *testing.T) {
	f := func(rules string, who flow.Process, want int, wantNeed Need) {
		t.Helper()
		fl := named("a.test", 80)
		fl.Process = who
		if got := lines(t, rules).Match(&fl, 0); got.Rule != want || got.Need != wantNeed {
			t.Errorf("%q, %+v: %+v; want %d, %d", rules, who, got, want, wantNeed)
		}
	}
	root := flow.FoundProcess(0, "/usr/bin/Wget")
	nobody := root
	nobody.NoUser = true
	pathless := flow.FoundProcess(0, "")
	f("UID,0\nMATCH", root, 0, NeedNothing)
	f("UID,0\nMATCH", nobody, 1, NeedNothing)
	f("UID,0\nMATCH", flow.Process{LookedUp: true}, 1, NeedNothing)
	f("DOMAIN,b.test\nUID,0\nMATCH", flow.Process{}, 1, NeedProcess)
	f("MATCH\nUID,0", flow.Process{}, 0, NeedNothing)
	f("PROCESS-NAME,WGET\nMATCH", nobody, 0, NeedNothing)
	f("PROCESS-NAME,wge\nMATCH", nobody, 1, NeedNothing)
	f("PROCESS-PATH-WILDCARD,*/BIN/*\nMATCH", root, 0, NeedNothing)
	f("PROCESS-PATH-REGEX,.*\nUID,0\nMATCH", pathless, 1, NeedNothing)
}

// TestNotLoaded makes no rule hold whose set is not there, in whatever way it asks.
func TestNotLoaded(t *testing.T) {
	set := func(string) (*Set, error) { return new(Set), nil }
	f := func(line string) {
		t.Helper()
		r, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		p, errs := Compile([]Rule{r, {Type: "MATCH"}}, &Env{RuleSet: set, GeoSite: set, GeoIP: set})
		if errs != nil {
			t.Fatal(errs)
		}
		for _, fl := range []flow.Flow{named("a.test", 80), addressed("1.2.3.4", 80)} {
			if hit := p.Match(&fl, 0); hit.Rule != 1 || hit.Need != NeedNothing {
				t.Errorf("%s: %+v", line, hit)
			}
			if v := p.Look(&fl, 0); !strings.Contains(v.Why, "not loaded") {
				t.Errorf("%s: %+v", line, v)
			}
		}
	}
	f("GEOIP,cn,t")
	f("GEOSITE,cn,t")
	f("RULE-SET,x,t")
	f("NOT,((GEOIP,cn)),t")
	f("NOT,((RULE-SET,x)),t")
	f("NOT,((AND,((GEOSITE,cn),(DST-PORT,80)))),t")
	f("AND,((NOT,((GEOSITE,cn))),(DST-PORT,80)),t")
}

func TestEveryBadRuleIsReported(t *testing.T) {
	_, errs := Compile(parse("DOMAIN,a..b\nMATCH\nIP-CIDR,1.1.1.1\nDST-PORT,70000\nNETWORK,icmp\nFOO,x"), nil)
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := `rules[0]: want a domain name, got "a..b"
rules[2]: want a prefix such as 192.0.2.0/24 or 2001:db8::/32, got "1.1.1.1"
rules[3]: want a number from 0 to 65535 or a range, got "70000"
rules[4]: unsupported network type, only TCP/UDP: want tcp or udp, got "icmp"
rules[5]: unsupported rule type: FOO`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestErrors(t *testing.T) {
	sets := func(name string) (*Set, error) {
		if name == "known" {
			return new(Set), nil
		}
		return nil, &NotFound{"rule set", name}
	}
	f := func(line, want string) {
		t.Helper()
		r, err := Parse(line)
		if err == nil {
			_, errs := Compile([]Rule{r}, &Env{
				RuleSet: sets, GeoSite: sets, GeoIP: sets,
				SubRules: map[string][]Rule{
					"sub": {{Type: "MATCH", Target: "t"}},
					"a":   {{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: "b"}},
					"b":   {{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: "a"}},
				},
			})
			for _, e := range errs {
				if e.Sub == "" {
					err = e.Err
				}
			}
		}
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	// The shape of a line.
	f("DOMAIN", "format invalid: want TYPE,PAYLOAD,TARGET")
	f("DOMAIN,t", "format invalid: want TYPE,PAYLOAD,TARGET")
	f("DOMAIN,a.test,", "want a target")
	f("MATCH", "want a target")
	f("FOO,a,t", "unsupported rule type: FOO")
	// Payloads.
	f("DOMAIN-KEYWORD,,t", "want a part of a domain name, got nothing")
	f("DOMAIN-REGEX,[a,t", "error parsing regexp: missing closing ]: `[a`; RE2 has no lookaround and no backreferences")
	f("DOMAIN-REGEX,(?=a),t", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`; RE2 has no lookaround and no backreferences")
	f("DOMAIN-REGEX,((a{99}){99}){99},t", "error parsing regexp: invalid repeat count: `{99}`; RE2 has no lookaround and no backreferences")
	f("DOMAIN-WILDCARD,,t", "want a pattern such as *.example.org, got nothing")
	f("IP-SUFFIX,8.8.8.8,t", `want an address and the number of its last bits, such as 8.8.8.8/24, got "8.8.8.8"`)
	f("IP-ASN,x,t", `want the number of an autonomous system such as 13335, got "x"`)
	f("DSCP,64,t", `want a number from 0 to 63 or a range, got "64"`)
	f("UID,-1,t", `want a number from 0 to 4294967295 or a range, got "-1"`)
	f("DST-PORT,,t", `want 1 to 28 numbers or ranges such as 80/443/1000-2000, got ""`)
	f("IN-USER,/,t", "want a name, or some parted by /, got nothing")
	f("PROCESS-NAME,,t", "want the name or the path of a program, got nothing")
	f("RULE-SET,nope,t", "rule set [nope] not found")
	f("RULE-SET,,t", "want a name, got nothing")
	// Logic.
	f("AND,DOMAIN,t", `payload format error: want conditions such as ((DOMAIN,example.org),(NETWORK,tcp)), got "DOMAIN"`)
	f("AND,(),t", "want conditions such as ((DOMAIN,example.org),(NETWORK,tcp)), got none")
	f("OR,((DOMAIN,a.test),(NETWORK,tcp),t", "format error is missing ) after \"(NETWORK,tcp\"")
	f("OR,((DOMAIN,a.test)(NETWORK,tcp)),t", `payload format error: want a comma between conditions, got "((DOMAIN,a.test)(NETWORK,tcp))"`)
	f("OR,((DOMAIN,a.test),NETWORK),t", `format error is missing '(' before "NETWORK"`)
	f("NOT,((DOMAIN,a.test),(NETWORK,tcp)),t", "not rule must contain one rule")
	f("AND,((MATCH)),t", "unsupported rule type [MATCH] on logic rule")
	f("AND,((AND,((DOMAIN,a..b)))),t", `want a domain name, got "a..b"`)
	f("AND,((RULE-SET,nope)),t", "rule set [nope] not found")
	f("AND,"+strings.Repeat("((NOT,", 40)+"((NETWORK,tcp))"+strings.Repeat("))", 40)+",t", "more than 32 logic rules inside each other")
	// Sub-rules.
	f("SUB-RULE,(NETWORK,tcp),nope", "sub-rule [nope] not found")
	f("SUB-RULE,NETWORK,sub", `payload format error: want one condition such as (NETWORK,tcp), got "NETWORK"`)
	f("SUB-RULE,(NETWORK,tcp),(NETWORK,udp),sub", `payload format error: want one condition such as (NETWORK,tcp), got "(NETWORK,tcp),(NETWORK,udp)"`)
	f("SUB-RULE,(MATCH,x),sub", "unsupported rule type [MATCH] on logic rule")
	f("AND,((DOMAIN-SUFIX,a)),t", "unsupported rule type: DOMAIN-SUFIX")
	// What is right.
	f("DOMAIN-SUFFIX,.a.test,t", "<nil>")
	f("SUB-RULE,(AND,((NETWORK,tcp),(DST-PORT,1))),sub", "<nil>")
	f("and,((RULE-SET,known,no-resolve),(Domain,A.Test)),t", "<nil>")
	f("DOMAIN-REGEX,^a{1,3},b$,t", "<nil>")
	f("GEOIP,lan,t,no-resolve,src", "<nil>")
}

// TestCircular reports sub-rules that lead back, in a program of their own.
func TestCircular(t *testing.T) {
	call := func(name string) []Rule { return []Rule{{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: name}} }
	_, errs := Compile(nil, &Env{SubRules: map[string][]Rule{"a": call("b"), "b": call("c"), "c": call("b")}})
	if len(errs) != 1 || errs[0].Error() != "sub-rules[c][0]: sub-rule error: circular references [b->c->b]" || !errors.Is(errs[0], ErrCircular) {
		t.Error(errs)
	}
}

// TestLooksAreBounded refuses sub-rules that call each other so often that a flow would wait for ever.
func TestLooksAreBounded(t *testing.T) {
	subs := map[string][]Rule{"s0": {{Type: "DOMAIN", Payload: "a.test", Target: "t"}}}
	for i := range 40 {
		call := Rule{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: fmt.Sprintf("s%d", i)}
		subs[fmt.Sprintf("s%d", i+1)] = []Rule{call, call}
	}
	_, errs := Compile(nil, &Env{SubRules: subs})
	if len(errs) == 0 || !strings.Contains(errs[0].Error(), "rules to look at") {
		t.Error(errs)
	}
}

// TestCallsAreBounded refuses sub-rules that call each other without end, which are no circle, in
// whatever order they are compiled: that is by name.
func TestCallsAreBounded(t *testing.T) {
	f := func(format string, calls int, want bool) {
		t.Helper()
		subs := map[string][]Rule{fmt.Sprintf(format, 0): {{Type: "MATCH", Target: "t"}}}
		for i := range calls {
			subs[fmt.Sprintf(format, i+1)] = []Rule{{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: fmt.Sprintf(format, i)}}
			subs["z"+fmt.Sprintf(format, i)] = nil // in between
		}
		_, errs := Compile([]Rule{{Type: "SUB-RULE", Payload: "(NETWORK,tcp)", Target: fmt.Sprintf(format, calls)}}, &Env{SubRules: subs})
		if got := errs == nil; got != want || !want && !strings.Contains(errs[0].Error(), "more than 256 deep") {
			t.Errorf("%d calls: %v", calls, errs)
		}
	}
	f("s%04d", maxCalls-1, true)
	f("s%04d", maxCalls, false)
	f("s%04d", 1000, false)
}

func TestParseCondition(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		r, err := ParseCondition(line)
		if got := fmt.Sprint(r, err); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	f("DOMAIN,a.test", "{DOMAIN a.test  []} <nil>")
	f("ip-cidr, 10.0.0.0/8 ,Proxy, No-Resolve", "{IP-CIDR 10.0.0.0/8  [no-resolve]} <nil>")
	f("AND,((DOMAIN,a.test),(NETWORK,tcp)),Proxy", "{AND ((DOMAIN,a.test),(NETWORK,tcp))  []} <nil>")
	f("NOT,((DOMAIN,a.test))", "{NOT ((DOMAIN,a.test))  []} <nil>")
	f("DOMAIN-REGEX,^a{1,2}$", "{DOMAIN-REGEX ^a{1,2}$  []} <nil>")
	f("DOMAIN", `{DOMAIN   []} format invalid: want TYPE,PAYLOAD, got "DOMAIN"`)
}

func TestInfo(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		r, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		set := func(string) (*Set, error) { return new(Set), nil }
		p, errs := Compile([]Rule{r}, &Env{
			RuleSet: set, GeoSite: set, GeoIP: set, ASN: func(uint32) (*Set, error) { return new(Set), nil },
			SubRules: map[string][]Rule{"sub": nil},
		})
		if errs != nil {
			t.Fatal(errs)
		}
		if got := fmt.Sprint(p.Info(0)); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	f("DOMAIN-SUFFIX,Bücher.Example.,t", "{DomainSuffix xn--bcher-kva.example t -1}")
	f("GEOSITE,Google@CN,t", "{GeoSite google@cn t 0}")
	f("GEOIP,CN,t,src", "{SrcGeoIP cn t 0}")
	f("GEOIP,LAN,t", "{GeoIP lan t 12}")
	f("IP-ASN,AS13335,t", "{IPASN 13335 t -1}")
	f("IP-CIDR,10.1.0.0/8,t,src", "{SrcIPCIDR 10.1.0.0/8 t -1}")
	f("NETWORK,UDP,t", "{Network udp t -1}")
	f("IN-TYPE,socks/tuic,t", "{InType SOCKS/TUIC t -1}")
	f("AND,((DOMAIN,And.test),(NETWORK,TCP)),t", "{AND ((Domain,and.test) && (Network,tcp)) t -1}")
	f("OR,((DOMAIN,a),(DOMAIN-SUFFIX,b)),t", "{OR ((Domain,a) || (DomainSuffix,b)) t -1}")
	f("NOT,((NOT,((DOMAIN,x.test)))),t", "{NOT (!(NOT,(!(Domain,x.test)))) t -1}")
	f("SUB-RULE,(DOMAIN-SUFFIX,sub.test),sub", "{SubRules (DOMAIN-SUFFIX,sub.test) sub -1}")
	f("MATCH,t", "{Match  t -1}")
}

// FuzzRule takes lines apart and compiles them; what compiles can be asked and explained.
func FuzzRule(f *testing.F) {
	for _, line := range []string{
		"DOMAIN,a.test,t", "IP-CIDR,1.1.1.1/8,t,src", "DST-PORT,1-2/3,t", "AND,((DOMAIN,a.test),(NOT,((NETWORK,tcp)))),t",
		"SUB-RULE,(DOMAIN-REGEX,^(a|b)$),sub", "DOMAIN-WILDCARD,*a?,t", "IP-SUFFIX,2001:db8::1/64,t", "PROCESS-PATH-REGEX,/x,t",
		"RULE-SET,s,t,no-resolve", "IN-TYPE,SOCKS/HTTP,t", "UID,0-1000,t", "MATCH,t",
	} {
		f.Add(line)
	}
	set := func(string) (*Set, error) { return lan, nil }
	env := &Env{
		RuleSet: set, GeoSite: set, GeoIP: set, ASN: func(uint32) (*Set, error) { return lan, nil },
		SubRules: map[string][]Rule{"sub": {{Type: "DOMAIN", Payload: "a.test", Target: "t"}}},
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := Parse(line)
		if err != nil {
			return
		}
		p, errs := Compile([]Rule{r}, env)
		if errs != nil {
			return
		}
		for _, fl := range []flow.Flow{named("a.test", 1), addressed("1.2.3.4", 1), addressed("2001:db8::1", 2), {}} {
			hit, alone := p.Match(&fl, 0), p.Look(&fl, 0)
			if alone.Holds != (hit.Rule == 0 && hit.Need == NeedNothing) || alone.Need != hit.Need {
				t.Errorf("%q: %+v, alone %+v", line, hit, alone)
			}
		}
	})
}
