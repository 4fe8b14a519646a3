package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// TestDNSLoops: a name server that can only be reached through a node whose name it would have to resolve
// itself is an error, with the way back; one that may be reached is none.
func TestDNSLoops(t *testing.T) {
	r := newTestRelay(t)
	const node = "proxies: [{name: node, type: socks5, server: node.test, port: 1}, {name: other, type: http, server: other.test, port: 1}," +
		" {name: at, type: socks5, server: 192.0.2.1, port: 1}, {name: six, type: socks5, server: '2001:db8::1', port: 1}, {name: straight, type: direct}," +
		" {name: behind, type: socks5, server: behind.test, port: 1, dialer-proxy: node}, {name: relayed, type: socks5, server: far.test, port: 1, dialer-proxy: at}]\n" +
		"proxy-groups:\n- {name: all, type: select, proxies: [node, other]}\n- {name: mixed, type: select, proxies: [node, at]}\n- {name: outer, type: select, proxies: [all, behind]}\n" +
		"rule-providers: {names: {type: inline, behavior: domain, payload: [node.test]}}\n"
	f := func(dns string, want ...string) {
		t.Helper()
		c, _, err := r.source.parse("f", []byte(node+"dns:\n  enable: true\n"+dns))
		if err == nil {
			_, err = r.build(c, nil, nil)
		}
		var got []string
		if invalid := (*config.Invalid)(nil); errors.As(err, &invalid) {
			for _, d := range invalid.Diagnostics {
				got = append(got, fmt.Sprintf("%d: %s", d.Line-8, strings.TrimPrefix(d.Message, "a name server waits for itself: ")))
			}
		} else if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(got, "\n"), strings.Join(want, "\n"); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", dns, got, want)
		}
	}
	const itself = "udp://1.1.1.1:53#node → node → udp://1.1.1.1:53#node"
	f("  nameserver: ['1.1.1.1#node']", "1: "+itself)
	f("  nameserver:\n  - '1.1.1.1#node'\n  - '1.1.1.1#node'", "2: "+itself)
	f("  nameserver: ['https://dns.example/secret#node&h3=false']", "1: https://dns.example:443#node → node → https://dns.example:443#node")
	f("  nameserver: ['1.1.1.1#node', '8.8.8.8#other']", "1: "+itself) // where the other ends, too
	f("  nameserver: ['1.1.1.1#behind']", "1: udp://1.1.1.1:53#behind → behind → node → udp://1.1.1.1:53#behind")
	// Groups: one good member is enough.
	f("  nameserver: ['1.1.1.1#all']", "1: udp://1.1.1.1:53#all → all → node → udp://1.1.1.1:53#all")
	f("  nameserver: ['1.1.1.1#outer']", "1: udp://1.1.1.1:53#outer → outer → all → node → udp://1.1.1.1:53#outer")
	f("  nameserver: ['1.1.1.1#mixed']")
	f("  nameserver: ['1.1.1.1#GLOBAL']")
	// What needs no name, or has another do that.
	for _, via := range []string{"at", "six", "straight", "relayed", "DIRECT", "REJECT", "eth0", "RULES"} {
		f("  nameserver: ['1.1.1.1#" + via + "']\n  proxy-server-nameserver: ['1.1.1.1#" + via + "']")
	}
	// Another server that needs nobody breaks it.
	f("  nameserver: ['1.1.1.1#node', 8.8.8.8]")
	f("  nameserver: ['1.1.1.1#node']\n  fallback: [8.8.8.8]")
	f("  nameserver: ['1.1.1.1#node']\n  proxy-server-nameserver: [8.8.8.8]")
	f("  nameserver: ['1.1.1.1#node']\n  direct-nameserver: [8.8.8.8]", "1: "+itself) // not for nodes
	f("  nameserver: ['1.1.1.1#node', '8.8.8.8#mixed']")
	f("  nameserver: [8.8.8.8]\n  proxy-server-nameserver: ['1.1.1.1#node']", "2: "+itself)
	f("  nameserver: [8.8.8.8]\n  fallback: ['1.1.1.1#node']\n  direct-nameserver: ['1.1.1.1#node']")
	// Hosts break it, in whatever case, and an alias where its name is resolved otherwise.
	f("  nameserver: ['1.1.1.1#node']\nhosts: {'+.TEST': 192.0.2.1}")
	f("  nameserver: ['1.1.1.1#node']\nhosts: {node.test: a.test, a.test: 192.0.2.1}")
	f("  nameserver: ['1.1.1.1#node']\nhosts: {node.test: a.test}", "1: "+itself)
	f("  nameserver: ['1.1.1.1#node']\n  nameserver-policy: {a.test: 8.8.8.8}\nhosts: {node.test: a.test}")
	// Policies break it or make it: the one that decides, as the resolver has it.
	f("  nameserver: ['1.1.1.1#node']\n  nameserver-policy: {'+.test': 8.8.8.8}")
	f("  nameserver: ['1.1.1.1#node']\n  nameserver-policy: {'+.org': 8.8.8.8}", "1: "+itself)
	f("  nameserver: [8.8.8.8]\n  nameserver-policy: {'+.test': '1.1.1.1#node'}", "2: "+itself)
	f("  nameserver: [8.8.8.8]\n  nameserver-policy:\n    '+.test': '1.1.1.1#node'\n    node.test: 8.8.8.8")
	f("  nameserver: [8.8.8.8]\n  nameserver-policy:\n    '+.test': 8.8.8.8\n    '*.test': '1.1.1.1#node'", "4: "+itself)
	f("  nameserver: [8.8.8.8]\n  nameserver-policy: {'+.test': '1.1.1.1#node'}\n  proxy-server-nameserver: [8.8.8.8]")
	f("  nameserver: ['1.1.1.1#node']\n  proxy-server-nameserver: ['1.1.1.1#node']\n  proxy-server-nameserver-policy: {node.test: 8.8.8.8}")
	// What is in a list is not known: it may hold the name.
	f("  nameserver: ['1.1.1.1#node']\n  nameserver-policy: {'rule-set:names': 8.8.8.8}")
	f("  nameserver: ['1.1.1.1#node']\n  nameserver-policy: {'geosite:private': '8.8.8.8#node'}",
		"1: node → udp://8.8.8.8:53#node → node", "2: udp://8.8.8.8:53#node → node → udp://8.8.8.8:53#node")
	// Patterns on either side of a list do not stand together.
	f("  nameserver: [8.8.8.8]\n  nameserver-policy:\n    '+.test': '1.1.1.1#node'\n    'rule-set:names': '1.1.1.1#node'\n    node.test: 8.8.8.8", "3: "+itself)
	// Names of servers are resolved by default-nameserver, which need somebody for their nodes, too.
	const straight, first = "https://dns.test:443", "tls://8.8.8.8:853#node"
	const boot = "  default-nameserver: ['tls://8.8.8.8#node']\n"
	f(boot+"  nameserver: ['https://dns.test/secret']", "1: "+first+" → node → "+straight+" → "+first, "2: "+straight+" → "+first+" → node → "+straight)
	f(boot+"  nameserver: ['https://dns.test#eth0', 'tls://b.test']",
		"1: "+first+" → node → "+straight+"#eth0 → "+first, "2: "+straight+"#eth0 → "+first+" → node → "+straight+"#eth0")
	for _, via := range []string{"straight", "DIRECT", "COMPATIBLE"} {
		f(boot+"  nameserver: ['https://dns.test#"+via+"']", "1: "+first+" → node → "+straight+"#"+via+" → "+first, "2: "+straight+"#"+via+" → "+first+" → node → "+straight+"#"+via)
	}
	f("  default-nameserver: ['tls://8.8.8.8#node', 8.8.4.4]\n  nameserver: ['https://dns.test']")
	f(boot + "  nameserver: ['https://dns.test', 8.8.4.4]")
	f(boot + "  nameserver: ['https://1.1.1.1']")
	f(boot + "  nameserver: ['https://dns.test']\n  proxy-server-nameserver: [system]")
	f(boot + "  nameserver: ['https://dns.test']\nhosts: {dns.test: 192.0.2.1}")
	f(boot + "  nameserver: ['https://dns.test']\nhosts: {node.test: 192.0.2.1}")
	f(boot+"  nameserver: ['https://dns.test']\nhosts: {dns.test: a.test}", "1: "+first+" → node → "+straight+" → "+first, "2: "+straight+" → "+first+" → node → "+straight)
	f("  default-nameserver: ['tls://8.8.8.8#at']\n  nameserver: ['https://dns.test']")
	// The far end of a proxy does it itself, and where rules lead is not known.
	for _, via := range []string{"at", "mixed", "GLOBAL", "RULES"} {
		f(boot + "  nameserver: ['https://dns.test#" + via + "']")
	}
	f(boot+"  nameserver: ['https://dns.test#node']",
		"1: node → "+straight+"#node → node", "2: "+straight+"#node → node → "+straight+"#node")
	const ruled = boot + "  respect-rules: true\n  nameserver: ['https://dns.test#h3=false', 'https://dns.test']\n  nameserver-policy: {a.test: 'tls://dns.test'}\n"
	f(ruled + "  proxy-server-nameserver: [8.8.4.4]")
	f(ruled+"  proxy-server-nameserver: ['https://dns.test']", "1: "+first+" → node → "+straight+" → "+first, "5: "+straight+" → "+first+" → node → "+straight)
	// The servers that come without being named are judged as well.
	f("  default-nameserver: ['tls://223.5.5.5#node']\n  nameserver-policy: {node.test: 'https://dns.test'}",
		"1: tls://223.5.5.5:853#node → node → "+straight+" → tls://223.5.5.5:853#node",
		"2: "+straight+" → tls://223.5.5.5:853#node → node → "+straight)
}
