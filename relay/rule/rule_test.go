package rule

import (
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

func FuzzCompile(f *testing.F) {
	f.Add("DOMAIN", "a.test", "")
	f.Add("IP-CIDR", "1.1.1.1/8", "src")
	f.Add("DST-PORT", "1-2/3", "")
	f.Fuzz(func(t *testing.T, typ, payload, param string) {
		p, errs := Compile([]Rule{{Type: typ, Payload: payload, Params: []string{param}}}, nil)
		if errs != nil {
			return
		}
		for _, fl := range []flow.Flow{named("a.test", 1), addressed("1.2.3.4", 1), addressed("2001:db8::1", 2)} {
			p.Match(&fl, 0)
		}
	})
}
