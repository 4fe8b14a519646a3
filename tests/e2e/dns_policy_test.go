package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestNameserverPolicy asks different servers about different names. Which server it was shows in the
// address.
func TestNameserverPolicy(t *testing.T) {
	_, urls := geoWeb(t)
	servers := make([]*nameServer, 5)
	var texts []any
	for i := range servers {
		servers[i] = newNameServer(t, fmt.Sprintf("*. 60 IN A 192.0.2.%d", i))
		texts = append(texts, servers[i].addr)
	}
	d, addr := startDNS(t, "mixed-port: MIXED\n"+urls+dnsSection(fmt.Sprintf(`
nameserver: [%s]
nameserver-policy:
  "+.p.test,*.q.test": %s
  www.p.test: [%s]
  "geosite:shop": tcp://%s
  "rule-set:lines,more": %s
  full.test: rcode://refused
  none.test: rcode://name_error
`, texts...))+`rule-providers:
  lines: {type: inline, behavior: classical, payload: ['DOMAIN-SUFFIX,lines.test', 'DOMAIN-KEYWORD,keyword']}
  more: {type: inline, behavior: domain, payload: [+.more.test]}
rules: ['MATCH,DIRECT']
`)
	f := func(name string, server int) {
		t.Helper()
		answers(t, addr, name, fmt.Sprintf("192.0.2.%d", server))
	}
	until(t, "the list of sites is there", func() bool {
		do(t, d, "POST", "/cache/dns/flush", "")
		return said(query(t, addr, "new.shop.test", dns.TypeA)) == "192.0.2.3"
	})
	f("a.test", 0)
	f("p.test", 1)
	f("a.b.P.test", 1)
	f("a.q.test", 1)
	f("b.a.q.test", 0)
	f("www.p.test", 2)
	f("www.shop.test", 3)
	f("full.test", 3) // which is in the list before
	f("lines.test", 4)
	f("a-keyword.test", 4)
	f("more.test", 4)
	answers(t, addr, "none.test", "NXDOMAIN")
	for i, s := range servers {
		for _, q := range s.questions("") {
			name, _, _ := strings.Cut(q, " ")
			if got := said(query(t, addr, name, dns.TypeA)); got != fmt.Sprintf("192.0.2.%d", i) && !strings.Contains(name, "shop") {
				t.Errorf("server %d was asked about %s, and %s has answered", i, name, got)
			}
		}
	}
}

// TestWhoResolvesWhat has different servers for clients, for what goes out directly and for nodes.
func TestWhoResolvesWhat(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	far := testkit.Start(t, plain)
	_, farPort, _ := net.SplitHostPort(far.Mixed)
	// Nobody listens at the addresses that the wrong servers give.
	main := newNameServer(t, "*. 60 IN A 127.0.0.66")
	direct, nodes := newNameServer(t, "*. 60 IN A 127.0.0.1"), newNameServer(t, "*. 60 IN A 127.0.0.1")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection(fmt.Sprintf(`
nameserver: [%s]
direct-nameserver: [%s]
proxy-server-nameserver: [%s]
nameserver-policy: {"+.policy.test": %s}
`, main.addr, direct.addr, nodes.addr, nodes.addr))+fmt.Sprintf(`
proxies: [{name: P, type: socks5, server: far.node.test, port: %s}]
rules: ['DOMAIN-SUFFIX,proxied.test,P', 'IP-CIDR,127.0.0.66/32,DIRECT', 'MATCH,REJECT']
`, farPort))
	answers(t, addr, "a.test", "127.0.0.66")
	for _, name := range []string{"direct.test", "policy.test"} { // which rules look up, and then the dial does
		got, err := fetch(t, d.Mixed, "http://"+name+":"+port+"/")
		if name == "policy.test" {
			if err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		} else if err != nil || !strings.HasPrefix(got, "GET / ") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := fetch(t, d.Mixed, "http://localhost.proxied.test:"+port+"/"); err == nil {
		t.Errorf("%q", got) // the far end knows no such name
	}
	far.WaitLog(t, "localhost.proxied.test:"+port)
	f := func(s *nameServer, word string, want int) {
		t.Helper()
		if got := s.questions(word); len(got) != want {
			t.Errorf("%v; want %d", s.questions(""), want)
		}
	}
	f(main, "direct.test A", 1)
	f(direct, "direct.test A", 1)
	f(nodes, "policy.test A", 1)
	f(nodes, "far.node.test A", 1)
	f(nodes, "", 2)
	f(direct, "", 1)
	f(main, "", 2)
}

// TestRespectRules asks name servers through the node that rules have for them, also by the text of a
// name server itself.
func TestRespectRules(t *testing.T) {
	up, nodes := newNameServer(t, "*. 60 IN A 192.0.2.7"), newNameServer(t, "far.node.test. 60 IN A 127.0.0.1")
	_, upPort, _ := net.SplitHostPort(up.addr)
	f := func(section, rules, says string) {
		t.Helper()
		far := testkit.Start(t, plain)
		_, farPort, _ := net.SplitHostPort(far.Mixed)
		d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection(section+"\nproxy-server-nameserver: ["+nodes.addr+"]")+fmt.Sprintf(
			"proxies: [{name: P, type: socks5, server: far.node.test, port: %s, udp: true}]\n", farPort)+ruleLines("rules", rules))
		answers(t, addr, "a.test", "192.0.2.7")
		if says == "" {
			if strings.Contains(far.Log(), ":"+upPort) {
				t.Errorf("%s: it went through the node:\n%s", section, far.Log())
			}
			return
		}
		if line := far.WaitLog(t, "127.0.0.1:"+upPort); !strings.Contains(far.Log(), says) {
			t.Errorf("%s: %s\n%s", section, line, far.Log())
		}
		if !strings.Contains(d.Log(), up.addr) {
			t.Errorf("no line about the flow:\n%s", d.Log())
		}
	}
	byPort := "DST-PORT," + upPort + ",P\nMATCH,REJECT"
	for _, scheme := range []string{"udp", "tcp"} {
		says := "[" + strings.ToUpper(scheme) + "]"
		server := scheme + "://" + up.addr
		f("respect-rules: true\nnameserver: ["+server+"]", byPort, says)
		f("nameserver: ['"+server+"#RULES']", byPort, says)
		f("nameserver: ['"+server+"#P']", "MATCH,REJECT", says)
		f("nameserver: ["+server+"]", byPort, "") // nothing says that rules count
		f("respect-rules: true\nnameserver: ["+server+"]", "DST-PORT,"+upPort+",DIRECT\nMATCH,REJECT", "")
	}
}

// TestFallback takes the second servers' word where the first ones' cannot be right.
func TestFallback(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		first := newNameServer(t, "good.test. 60 IN A 192.0.2.7", "forged.test. 60 IN A 203.0.113.9", "both.test. 60 IN A 192.0.2.8", "both.test. 60 IN A 203.0.113.9", "never.test. 60 IN A 192.0.2.9")
		second := newNameServer(t, "*. 60 IN A 198.51.100.1", "gone.test. 60 IN TXT x")
		_, addr := startDNS(t, dnsSection(fmt.Sprintf(`
nameserver: [%s]
fallback: [%s]
fallback-filter: {geoip: false, ipcidr: [203.0.113.0/24], domain: [+.never.test]}
fallback-lazy-query: %v
`, first.addr, second.addr, lazy)))
		answers(t, addr, "good.test", "192.0.2.7")
		answers(t, addr, "forged.test", "198.51.100.1")
		answers(t, addr, "both.test", "198.51.100.1")
		answers(t, addr, "never.test", "198.51.100.1")
		answers(t, addr, "missing.test", "198.51.100.1") // which the first does not know
		if got := first.questions("never"); len(got) > 0 {
			t.Errorf("the first was asked %v", got)
		}
		if got := second.questions("good"); lazy && len(got) > 0 {
			t.Errorf("the second was asked %v", got)
		}
		first.stop()
		answers(t, addr, "later.test", "198.51.100.1")
		second.stop()
		answers(t, addr, "never-more.test", "SERVFAIL")
	}
}
