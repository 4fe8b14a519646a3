package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// TestDNSDiagnostics: what is wrong with the resolver is said where it stands, all of it at once.
func TestDNSDiagnostics(t *testing.T) {
	const begin = "dns:\n  enable: true\n  nameserver: [1.1.1.1]\n"
	f := func(text string, want ...string) {
		t.Helper()
		if strings.HasPrefix(text, "  ") {
			text = begin + text
		}
		if got, want := said(text), strings.Join(want, "\n"); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	const schemes = ", want udp, tcp, tls, https, http, quic, system, dhcp or rcode"
	const pattern = ": want a domain such as example.org, +.example.org, .example.org or *.example.org"
	leftOut := func(text string) string {
		return fmt.Sprintf("matches no name, and is left out (%q%s)", text, pattern)
	}
	// Servers.
	const none = "error: dns.nameserver: want at least one name server, such as 1.1.1.1 or https://dns.example/dns-query"
	f("dns: {enable: true, nameserver: []}", "f:1:21: "+none)
	const asked = "note: dns.nameserver: is not there: https://doh.pub/dns-query and tls://223.5.5.5 are asked, unless it names others"
	f("dns: {enable: true}", "f:1:1: "+asked)
	f("mode: rule\ndns:\n  enable: true\n  nameserver:", "f:4:3: "+asked)
	f("dns: {enable: true, nameserver: [upd://1.1.1.1, 'tls://dns.example:99999', '1.1.1.1#disable-ipv7=true', 1.1.1.1]}",
		"f:1:34: error: dns.nameserver[0]: unknown scheme upd"+schemes,
		"f:1:49: error: dns.nameserver[1]: invalid port: want 1-65535 behind the colon",
		"f:1:76: error: dns.nameserver[2]: unknown parameter disable-ipv7; known are h3, skip-cert-verify, ecs, ecs-override, disable-ipv4, disable-ipv6, disable-qtype-65 (did you mean \"disable-ipv4\"?)")
	f("  fallback: [zz://x]\n  direct-nameserver: [zz://x]\n  proxy-server-nameserver:\n  - zz://x",
		"f:4:14: error: dns.fallback[0]: unknown scheme zz"+schemes,
		"f:5:23: error: dns.direct-nameserver[0]: unknown scheme zz"+schemes,
		"f:7:5: error: dns.proxy-server-nameserver[0]: unknown scheme zz"+schemes)
	f("  default-nameserver: []", "f:4:3: error: dns.default-nameserver: want at least one name server, or leave the key out")
	f("  default-nameserver: [system, dns.example, 'tls://dns.example', 'https://8.8.8.8/dns-query', 'dhcp://eth0']",
		"f:4:32: error: dns.default-nameserver[1]: want an address: this server resolves the names of the others",
		"f:4:45: error: dns.default-nameserver[2]: want an address: this server resolves the names of the others")
	f("  respect-rules: true", "f:4:3: error: dns.respect-rules: needs proxy-server-nameserver: name servers that are reached without a proxy, for the names of proxies")
	// What a server goes through may be an interface, though not one that looks like a proxy.
	f("proxies: [{name: Proxy, type: direct}]\ndns: {enable: true, nameserver: ['1.1.1.1#Proxyy', '1.1.1.1#eth0', '1.1.1.1#Proxy', '1.1.1.1#RULES', '1.1.1.1#GLOBAL']}",
		`f:2:34: warning: dns.nameserver[0]: no proxy or group is called "Proxyy": it is taken for an interface (did you mean "Proxy"?)`)
	f("  direct-nameserver: ['https://1.1.1.1/dns-query#skip-cert-verify']", "f:4:23: error: dns.direct-nameserver[0]: skip-cert-verify has no value: write skip-cert-verify=true")
	// A node has to carry what the server is asked with, and to lead elsewhere.
	const nodes = "proxies: [{name: h, type: http, server: 192.0.2.1, port: 1}, {name: s, type: socks5, server: 192.0.2.1, port: 1}," +
		" {name: u, type: socks5, server: 192.0.2.1, port: 1, udp: true}, {name: d, type: dns}, {name: straight, type: direct}]\n" +
		"proxy-groups: [{name: g, type: select, proxies: [h]}]\ndns:\n  enable: true\n"
	f(nodes+"  nameserver:\n  - 1.1.1.1#h\n  - dns.example:54#s\n  - quic://1.1.1.1#h\n  - https://me:secret@dns.example/secret#s&h3=true\n  - 1.1.1.1#d",
		`f:6:5: warning: dns.nameserver[0]: is asked over UDP, which the node "h" does not carry (write tcp://1.1.1.1:53 or tls://…)`,
		`f:7:5: warning: dns.nameserver[1]: is asked over UDP, which the node "s" does not carry (write tcp://dns.example:54 or tls://…, or give the node udp: true)`,
		`f:8:5: warning: dns.nameserver[2]: is asked over UDP, which the node "h" does not carry (write tls://… or https://…)`,
		`f:9:5: warning: dns.nameserver[3]: is asked over UDP, which the node "s" does not carry (leave h3=true out, or give the node udp: true)`,
		`f:10:5: error: dns.nameserver[4]: the node "d" leads to this resolver: it would ask itself`)
	f(nodes + "  nameserver: ['1.1.1.1#u', '1.1.1.1#g', '1.1.1.1#straight', 'tcp://1.1.1.1#h', 'tls://1.1.1.1#s', 'https://1.1.1.1#h', 'quic://1.1.1.1#u', 'rcode://refused#h']")
	// The daemon's own server is not asked by itself.
	const own = "this is dns.listen: the server would ask itself"
	f("dns: {enable: true, listen: '127.0.0.1:53', nameserver: [127.0.0.1, 'tcp://127.0.0.1', '127.0.0.1#eth0', 'tls://127.0.0.1:53', 127.0.0.2, '127.0.0.1:54']}",
		"f:1:58: error: dns.nameserver[0]: "+own, "f:1:69: error: dns.nameserver[1]: "+own)
	for _, all := range []string{":53", "[::]:53"} {
		f("  listen: '"+all+"'\n  direct-nameserver: [127.0.0.2, '[::1]', 192.0.2.1]",
			"f:5:23: error: dns.direct-nameserver[0]: "+own, "f:5:34: error: dns.direct-nameserver[1]: "+own)
	}
	f("  listen: 0.0.0.0:53\n  direct-nameserver: [127.0.0.2, '[::1]', 192.0.2.1]", "f:5:23: error: dns.direct-nameserver[0]: "+own)
	// Policies.
	f("  nameserver-policy:\n    '+.a.test': zz://a\n    'geosite:': 1.1.1.1\n    'rule-set:nmes': 1.1.1.1\n    'rule-set:ips': 1.1.1.1\n"+
		"    'a..b': 1.1.1.1\n    'b.test': []\n    'c.test,+.d.test': [1.1.1.1, 'tls://x:0']\n    'rule-set:names, names': system\n"+
		"rule-providers:\n  names: {type: inline, behavior: domain, payload: [a]}\n  ips: {type: inline, behavior: ipcidr, payload: [10.0.0.0/8]}",
		"f:5:5: error: dns.nameserver-policy.+.a.test: unknown scheme zz"+schemes,
		"f:6:5: error: dns.nameserver-policy.geosite:: want a name behind each colon and comma",
		`f:7:5: error: dns.nameserver-policy.rule-set:nmes: no rule set is called "nmes" (did you mean "names"?)`,
		`f:8:5: error: dns.nameserver-policy.rule-set:ips: the rule set "ips" holds addresses and no names`,
		`f:9:5: error: dns.nameserver-policy.a..b: "a..b"`+pattern,
		"f:10:5: error: dns.nameserver-policy.b.test: want at least one name server",
		"f:11:5: error: dns.nameserver-policy.c.test,+.d.test: invalid port: want 1-65535 behind the colon")
	f("  proxy-server-nameserver-policy: {a.test: zz://x}",
		"f:4:3: error: dns.proxy-server-nameserver-policy: needs proxy-server-nameserver",
		"f:4:36: error: dns.proxy-server-nameserver-policy.a.test: unknown scheme zz"+schemes)
	// Of two that are the same the first counts, unless a list stands between them.
	f("  nameserver-policy:\n    a.test,A.test.: 1.1.1.1\n    +.a.test: 1.1.1.1\n    .a.test: 1.1.1.1\n    b.test,a.test: 1.1.1.1\n    geosite:cn: 1.1.1.1\n    a.TEST: 1.1.1.1",
		`f:5:5: warning: dns.nameserver-policy.a.test,A.test.: "a.test" stands in line 5 too, and is left out here`,
		`f:8:5: warning: dns.nameserver-policy.b.test,a.test: "a.test" stands in line 5 too, and is left out here`)
	// All that is wrong in a key is said.
	f("  nameserver-policy: {'a..b,c.test,d..e': 1.1.1.1}",
		`f:4:23: error: dns.nameserver-policy.a..b,c.test,d..e: "a..b"`+pattern, `f:4:23: error: dns.nameserver-policy.a..b,c.test,d..e: "d..e"`+pattern)
	f("  fallback: [8.8.8.8]\n  fallback-filter:\n    domain:\n    - +.ok.test\n    - Mijia Cloud\n    - ''\n    - .",
		"f:8:7: warning: dns.fallback-filter.domain[1]: "+leftOut("Mijia Cloud"), "f:9:7: warning: dns.fallback-filter.domain[2]: "+leftOut(""),
		"f:10:7: warning: dns.fallback-filter.domain[3]: "+leftOut("."))
	f("  fallback: [8.8.8.8]\n  fallback-filter: {domain: ['+.ok.test', a..b], ipcidr: [zz]}",
		`f:5:43: warning: dns.fallback-filter.domain[1]: `+leftOut("a..b"),
		`f:5:59: error: dns.fallback-filter.ipcidr[0]: want a prefix such as 192.168.0.0/16, got "zz"`)
	// Fake addresses.
	f("  enhanced-mode: fake", `f:4:18: error: dns.enhanced-mode: want fake-ip, redir-host, normal, got "fake"`)
	f("  enhanced-mode: fake-ip\n  fake-ip-range: fc00::/64\n  fake-ip-range6: 10.0.0.0/8",
		"f:5:3: error: dns.fake-ip-range: want a range of IPv4; that of IPv6 is fake-ip-range6",
		"f:6:3: error: dns.fake-ip-range6: want a range of IPv6")
	f("  enhanced-mode: fake-ip\n  fake-ip-range: 198.18.0.1/28\n  fake-ip-range6: fc00::/124",
		"f:5:3: error: dns.fake-ip-range: 198.18.0.0/28 is too small: want at least 32 addresses",
		"f:6:3: error: dns.fake-ip-range6: fc00::/124 is too small: want at least 32 addresses")
	const filter = "  enhanced-mode: fake-ip\n  fake-ip-filter-mode: "
	for _, mode := range []string{"blacklist", "whitelist"} {
		f(filter+mode+"\n  fake-ip-filter: [a..b, 'rule-set:nope', 'geosite:cn', '+.ok.test', '+.*.ok.test']",
			`f:6:20: warning: dns.fake-ip-filter[0]: `+leftOut("a..b"), `f:6:26: error: dns.fake-ip-filter[1]: no rule set is called "nope"`)
	}
	f(filter+"blacklist\n  fake-ip-filter:\n  - Mijia Cloud\n  - a.test, time*.test,b.test,\n  - 'geosite:cn,'",
		"f:7:5: warning: dns.fake-ip-filter[0]: "+leftOut("Mijia Cloud"), "f:8:5: warning: dns.fake-ip-filter[1]: "+leftOut("time*.test"),
		"f:8:5: warning: dns.fake-ip-filter[1]: "+leftOut(""), "f:9:5: error: dns.fake-ip-filter[2]: want a name behind each colon and comma")
	f(filter+"rule\n  fake-ip-filter: ['DOMAIN-SUFIX,a.test,fake-ip', 'IPCIDR,10.0.0.0/8,real-ip']",
		`f:6:20: error: dns.fake-ip-filter[0]: unsupported rule type: DOMAIN-SUFIX (did you mean "DOMAIN-SUFFIX"?)`,
		"f:6:51: error: dns.fake-ip-filter[1]: unsupported rule type: IPCIDR")
	f(filter+"rule\n  fake-ip-filter:\n  - DOMAIN,a.test,fake-ip\n  - DOMAIN,a.test,real_ip\n  - IP-CIDR,10.0.0.0/8,real-ip\n  - a.test\n  - RULE-SET,nope,fake-ip\n  - MATCH,real-ip",
		`f:8:5: error: dns.fake-ip-filter[1]: want the target fake-ip or real-ip, got "real_ip" (did you mean "real-ip"?)`,
		"f:9:5: error: dns.fake-ip-filter[2]: a rule of type IP-CIDR looks at more than a name",
		"f:10:5: error: dns.fake-ip-filter[3]: unsupported rule type: A.TEST",
		`f:11:5: error: dns.fake-ip-filter[4]: no rule set is called "nope"`)
	f(filter+"black", `f:5:24: error: dns.fake-ip-filter-mode: want blacklist, whitelist, rule, got "black"`)
	// Without fake addresses a filter changes nothing.
	f("  fake-ip-filter: [a..b]")
	// Numbers and the rest.
	f("  cache-algorithm: lfu", `f:4:3: warning: dns.cache-algorithm: want lru or arc, got "lfu": arc is used`)
	f("  ipv6-timeout: abc\n  cache-max-size: -1\n  fake-ip-ttl: 90000\n  listen: 53",
		`f:4:17: error: dns.ipv6-timeout: want a number, got "abc"`, "f:5:19: error: dns.cache-max-size: want 0-1000000, got -1",
		"f:6:16: error: dns.fake-ip-ttl: want 0-86400, got 90000", `f:7:11: error: dns.listen: want an address such as 127.0.0.1:9090, got "53"`)
	f("dns: {enable: false, nameserver: [zz://x]}", "f:1:1: note: dns: is switched off: the system's resolver is asked")
	// Hosts.
	f("hosts:\n  a..b: 1.1.1.1\n  a.test: [b.test, c.test]\n  d.test: []\n  e.test: 1.2.3\n  lan.test: [lan, 1.1.1.1]",
		`f:2:3: error: hosts.a..b: "a..b"`+pattern, `f:3:3: error: hosts.a.test: want addresses, or one name; got ["b.test" "c.test"]`,
		"f:4:3: error: hosts.d.test: want addresses, or one name", `f:5:3: error: hosts.e.test: want addresses, or one name; got ["1.2.3"]`,
		`f:6:3: error: hosts.lan.test: want addresses, or one name; got ["lan" "1.1.1.1"]`)
	f("hosts: {a..b: 1.1.1.1, a.test: b.test, b.test: a.test, c.test: []}", "f:1:1: error: hosts: the names lead to each other: a.test → b.test → a.test",
		`f:1:9: error: hosts.a..b: "a..b"`+pattern, "f:1:56: error: hosts.c.test: want addresses, or one name")
	f("hosts: {a.test: b.test, B.test: c.test, '*.test': a.test}", "f:1:1: error: hosts: the names lead to each other: a.test → b.test → *.test → a.test")
}

// TestGoodDNS: nothing is said of what is right.
func TestGoodDNS(t *testing.T) {
	for _, text := range []string{
		`
hosts: {a.test: 192.0.2.1, b.test: [192.0.2.1, '2001:db8::1'], '+.c.test': a.test, lan.test: lan, '*': 192.0.2.2, Ä.test: 192.0.2.3, e.test: 192.0.2.4}
dns:
  enable: true
  listen: 0.0.0.0:53
  ipv6: true
  ipv6-timeout: 50
  prefer-h3: true
  use-hosts: false
  use-system-hosts: false
  respect-rules: true
  cache-algorithm: arc
  cache-max-size: 100
  serve-stale: 3600
  enhanced-mode: Fake-IP
  fake-ip-range: 198.18.0.1/16
  fake-ip-range6: fc00::/64
  fake-ip-ttl: 5
  fake-ip-filter-mode: blacklist
  fake-ip-filter: ['*.lan', +.Example.ORG., 'geosite:cn,private', 'RULE-SET:names', '*']
  default-nameserver: [223.5.5.5, 'tls://1.0.0.1', 'https://[2606:4700::1111]/dns-query', system]
  nameserver: ['https://dns.example/dns-query#GLOBAL&h3=true', 'quic://dns.example', 'dhcp://system', 'rcode://refused', 192.0.2.1]
  fallback: ['tls://8.8.8.8#DIRECT']
  fallback-lazy-query: true
  fallback-filter: {geoip: false, geoip-code: DE, ipcidr: [240.0.0.0/4], domain: ['+.x.test'], geosite: [gfw]}
  nameserver-policy: {'geosite:cn': [223.5.5.5, system], 'rule-set:names,names': 223.5.5.5, 'a.test,+.B.test': 'tls://1.1.1.1#ecs=192.0.2.0/24'}
  proxy-server-nameserver: [223.5.5.5]
  proxy-server-nameserver-policy: {node.test: system}
  direct-nameserver: [system]
  direct-nameserver-follow-policy: true
rule-providers: {names: {type: inline, behavior: domain, payload: [a.test]}}
`,
		"dns: {enable: true, nameserver: [1.1.1.1], enhanced-mode: fake-ip, fake-ip-filter-mode: rule, fake-ip-filter: ['DOMAIN-SUFFIX,lan,real-ip', 'GEOSITE,cn,real-ip', 'MATCH,fake-ip']}",
		"dns: {enable: true, nameserver: [1.1.1.1], enhanced-mode: fake-ip, fake-ip-filter-mode: whitelist, fake-ip-filter: []}",
		"dns: {enable: true, nameserver: [1.1.1.1], enhanced-mode: normal}",
	} {
		if got := said(text); got != "" {
			t.Errorf("%s\n%s", text, got)
		}
	}
}

// TestNamesOfDNS reads patterns, and what stands for lists.
func TestNamesOfDNS(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		n, err := ParseNames(text)
		got := fmt.Sprint(n.Patterns, n.GeoSites, n.RuleSets)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	f("a.test", "[a.test] [] []")
	f("A.Test.", "[a.test] [] []")
	f("+.BÜCHER.example.", "[+.xn--bcher-kva.example] [] []")
	f(".例え.テスト", "[.xn--r8jz45g.xn--zckzah] [] []")
	f("*.straße.test", "[*.xn--strae-oqa.test] [] []")
	f("a.*.Test", "[a.*.test] [] []")
	f("*", "[*] [] []")
	f("a.test, +.b.test ,*.c.test", "[a.test +.b.test *.c.test] [] []")
	f("1.test", "[1.test] [] []")
	f("_dmarc.a_b.test", "[_dmarc.a_b.test] [] []")
	f("geosite:CN, !private", "[] [CN !private] []")
	f("GeoSite:cn", "[] [cn] []")
	f("rule-set:A,b", "[] [] [A b]")
	for _, text := range []string{
		"", ".", "+.", "+", "a..b", "a.test,", ",a.test", "geosite:", "geosite:a,", "rule-set:,a", "a b", "*a.test", "a.+.test", "a.test..",
		strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "a",
	} {
		f(text, "error")
	}
	// What is right in a list is there all the same.
	if n, err := ParseNames("a.test,b..c,d e,+.f.test"); fmt.Sprint(n.Patterns) != "[a.test +.f.test]" || !errors.Is(err, match.ErrPattern) || !strings.Contains(err.Error(), "b..c") {
		t.Error(n.Patterns, err)
	}
}

// TestDefaultNameservers: a section that names no servers is one that names these.
func TestDefaultNameservers(t *testing.T) {
	c, diags := Parse("f", []byte("dns: {enable: true}"))
	same, _ := Parse("f", []byte("dns: {enable: true, nameserver: ['https://doh.pub/dns-query', 'tls://223.5.5.5']}"))
	if diags.Err() != nil || !c.DNS.Same(&same.DNS) {
		t.Error(c.DNS.Nameserver, diags)
	}
	if again := c.Clone().Validate(); len(again) > 0 {
		t.Error(again)
	}
	if off, _ := Parse("f", []byte("dns: {enable: false}")); off.DNS.Nameserver != nil {
		t.Error(off.DNS.Nameserver)
	}
}

// TestSameDNS: where a section stands does not matter, and everything that it says does.
func TestSameDNS(t *testing.T) {
	parse := func(text string) *DNS {
		t.Helper()
		c, diags := Parse("f", []byte(text))
		if err := diags.Err(); err != nil {
			t.Fatal(err)
		}
		return &c.DNS
	}
	const one = "dns: {enable: true, nameserver: [1.1.1.1], fallback: [8.8.8.8], nameserver-policy: {a.test: 1.0.0.1}, fake-ip-filter: [b.test]"
	if a, b := parse(one+"}"), parse("mode: rule\n\n"+strings.ReplaceAll(one, ", ", ",\n  ")+"}"); !a.Same(b) {
		t.Error("another place is another section")
	}
	for _, other := range []string{
		one + ", ipv6: true}", one + ", serve-stale: 1}", one + ", proxy-server-nameserver: [1.1.1.1]}",
		strings.Replace(one, "1.0.0.1", "1.0.0.2", 1) + "}", strings.Replace(one, "a.test", "c.test", 1) + "}",
		strings.Replace(one, "8.8.8.8", "8.8.4.4", 1) + "}", strings.Replace(one, "b.test", "c.test", 1) + "}",
	} {
		if parse(one + "}").Same(parse(other)) {
			t.Errorf("%s is the same", other)
		}
	}
}

// TestPlace finds keys and entries again.
func TestPlace(t *testing.T) {
	c, _ := Parse("f", []byte("x: &x {domain: [a.test]}\ndns:\n  enable: true\n  fake-ip-range: 198.18.0.1/16\n  fallback-filter:\n    <<: *x\n    geosite:\n    - cn\n    - gfw\n"))
	f := func(path string, want Pos) {
		t.Helper()
		if got := c.Place(path); got != want {
			t.Errorf("%s: %v; want %v", path, got, want)
		}
	}
	f("dns", Pos{2, 1})
	f("dns.fake-ip-range", Pos{4, 3})
	f("dns.fallback-filter", Pos{5, 3})
	f("dns.fallback-filter.geosite[1]", Pos{9, 7})
	f("dns.fallback-filter.domain[0]", Pos{1, 17})
	f("dns.listen", Pos{})
	c.Changed()
	f("dns", Pos{})
}
