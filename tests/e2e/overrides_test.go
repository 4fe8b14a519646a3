package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestProxyProviderOverrides changes nodes on their way in, and sends requests through them.
func TestProxyProviderOverrides(t *testing.T) {
	w := newWeb(t, "")
	port := upstream(t, "x")
	first, second := startSocks(t, nil), startSocks(t, nil)
	tlsPort, _ := withTLS(t, "127.0.0.1:"+port)
	w.text("/list", nodeList(
		httpNode("Plain 01", port),
		fmt.Sprintf("- {name: Chained 02, type: http, server: 127.0.0.1, port: %s, dialer-proxy: second, udp: false}\n", port),
		fmt.Sprintf("- {name: Socks 03, type: socks5, server: 127.0.0.1, port: %s, udp: false, interface-name: nowhere0, ip-version: ipv6}\n", first.port),
		fmt.Sprintf("- {name: Secure 04, type: http, server: 127.0.0.1, port: %s, tls: true, sni: wrong.test}\n", tlsPort),
	))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"proxies:\n"+
		fmt.Sprintf("- {name: first, type: socks5, server: 127.0.0.1, port: %s}\n- {name: second, type: socks5, server: 127.0.0.1, port: %s}\n", first.port, second.port)+strings.ReplaceAll(`
proxy-groups:
- {name: G, type: select, include-all-providers: true}
- {name: via, type: select, proxies: [second, first]}
proxy-providers:
  as-is: {type: http, url: "URL/list"}
  names:
    type: http
    url: "URL/list"
    filter: 'Plain|Secure'
    override: {additional-prefix: '[n] ', additional-suffix: ' (s)', skip-cert-verify: true, proxy-name: [{pattern: '(\w+) 0(\d)', target: '$2-$1'}, {pattern: 'Plain', target: 'plain'}]}
  chain: {type: http, url: "URL/list", filter: 'Plain|Chained', dialer-proxy: first, override: {additional-prefix: 'c '}}
  grouped: {type: http, url: "URL/list", filter: 'Plain|Chained', dialer-proxy: first, override: {additional-prefix: 'g ', dialer-proxy: via}}
  flags:
    type: http
    url: "URL/list"
    override: {additional-prefix: 'f ', udp: true, udp-over-tcp: true, tfo: true, mptcp: true, interface-name: lo, routing-mark: 7, ip-version: ipv6-prefer, up: 10 Mbps, down: 20 Mbps}
  far: {type: http, url: "URL/list", filter: Plain, override: {additional-prefix: 'far ', ip-version: ipv6}}
  lo: {type: http, url: "URL/list", filter: Plain, override: {additional-prefix: 'lo ', interface-name: lo, ip-version: ipv4}}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,G']
`, "URL", w.URL))
	has(t, d, "as-is", "Plain 01", "Chained 02", "Socks 03", "Secure 04")
	has(t, d, "names", "[n] 1-plain (s)", "[n] 4-Secure (s)")
	has(t, d, "chain", "c Plain 01", "c Chained 02")
	has(t, d, "grouped", "g Plain 01", "g Chained 02")
	has(t, d, "far", "far Plain 01")
	has(t, d, "lo", "lo Plain 01")
	flags := has(t, d, "flags", "f Plain 01", "f Chained 02", "f Socks 03", "f Secure 04")

	// What the API shows of them.
	for _, o := range flags.Proxies {
		if !o.Tfo || !o.Mptcp || o.Interface != "lo" || o.RoutingMark != 7 || o.UDP != (o.Type == "Socks5") || !o.Uot {
			t.Errorf("%+v", o)
		}
	}
	plain := provided(t, d, "as-is").Proxies
	for i, o := range plain {
		if o.Tfo || o.Mptcp || o.RoutingMark != 0 || o.UDP || o.Uot || o.DialerProxy != []string{"", "second", "", ""}[i] || o.Interface != []string{"", "", "nowhere0", ""}[i] {
			t.Errorf("%+v", o)
		}
	}
	via := func(name string) (proxies []string) {
		for _, o := range provided(t, d, name).Proxies {
			proxies = append(proxies, o.DialerProxy)
		}
		return proxies
	}
	if got := via("chain"); !slices.Equal(got, []string{"first", "first"}) {
		t.Errorf("chain: %q", got)
	}
	if got := via("grouped"); !slices.Equal(got, []string{"via", "via"}) {
		t.Errorf("grouped: %q", got)
	}

	// What they do. A socks server has seen the way where it says so.
	target := "@" + net.JoinHostPort("127.0.0.1", port)
	f := func(node, want string, peers ...*socksPeer) {
		t.Helper()
		choose(t, d, "G", node)
		before := len(first.requests()) + len(second.requests())
		got, err := fetch(t, d.Mixed, "http://x.test/")
		switch {
		case want == "x" && (got != "x" || err != nil):
			t.Errorf("through %s: %q, %v", node, got, err)
		case want != "x" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("through %s: %q, %v; want %q", node, got, err, want)
		}
		if seen := len(first.requests()) + len(second.requests()) - before; want == "x" && seen != len(peers) {
			t.Errorf("%s went through %d socks servers; want %d", node, seen, len(peers))
		}
		for _, p := range peers {
			if r := p.requests(); len(r) == 0 || r[len(r)-1] != target {
				t.Errorf("through %s: the socks server saw %q", node, r)
			}
		}
	}
	f("Plain 01", "x")
	f("Chained 02", "x", second)
	f("Secure 04", "certificate")
	f("[n] 4-Secure (s)", "x")
	f("c Plain 01", "x", first)
	f("c Chained 02", "x", first)
	f("g Plain 01", "x", second)
	choose(t, d, "via", "first")
	f("g Chained 02", "x", first)
	f("far Plain 01", "its family is switched off (ipv6, ip-version)")
	f("lo Plain 01", "x")
	if g := shownProxy(t, d, "G"); len(g.All) != 16 {
		t.Errorf("%q", g.All)
	}
}

// TestProxyProviderLoops has nodes whose dialer-proxy leads back to themselves: dialing them fails, by whatever
// way, and the daemon lives.
func TestProxyProviderLoops(t *testing.T) {
	port := testDeadPort(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+fmt.Sprintf(`
proxy-groups:
- {name: ring, type: select, use: [list]}
- {name: auto, type: url-test, use: [list], url: 'http://well.test/', interval: 3600}
- {name: spread, type: load-balance, use: [list], url: 'http://well.test/', interval: 3600}
proxy-providers:
  list:
    type: inline
    dialer-proxy: ring
    payload:
    - {name: self, type: socks5, server: 127.0.0.1, port: %s, udp: true}
    - {name: other, type: http, server: 127.0.0.1, port: %[1]s}
  named:
    type: inline
    payload:
    - {name: snake, type: socks5, server: 127.0.0.1, port: %[1]s, dialer-proxy: snake, udp: true}
    - {name: gone, type: http, server: 127.0.0.1, port: %[1]s, dialer-proxy: nobody}
rules: ['DOMAIN,auto.test,auto', 'DOMAIN,spread.test,spread', 'MATCH,ring']
`, port))
	const says = "dialer-proxy: too many nodes behind one another: it leads back to itself"
	for _, host := range []string{"ring.test", "auto.test", "spread.test"} {
		if got, err := fetch(t, d.Mixed, "http://"+host+"/"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
	const query = "/healthcheck?url=http://well.test/&timeout=5000"
	raw(t, d, "GET", "/providers/proxies/list/self"+query, 503, says)
	raw(t, d, "GET", "/providers/proxies/list/other"+query, 503, says)
	raw(t, d, "GET", "/providers/proxies/named/snake"+query, 503, says)
	raw(t, d, "GET", "/providers/proxies/named/gone"+query, 503, `no such proxy or group: \"nobody\"`)
	raw(t, d, "GET", "/providers/proxies/list/healthcheck", 204, "")
	c := associate(t, d.Mixed)
	if _, err := c.Write(append([]byte("\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x07"), "x"...)); err != nil {
		t.Fatal(err)
	}
	if line := d.WaitLog(t, "[UDP] dial ring"); !strings.Contains(line, says) {
		t.Error(line)
	}
	if list := get[api.Connections](t, d, "/connections").Connections; len(list) > 1 {
		t.Errorf("%+v", list)
	}
}
