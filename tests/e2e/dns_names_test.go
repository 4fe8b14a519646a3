package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestRedirHost connects to real addresses that were given out for names.
func TestRedirHost(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	up := newNameServer(t, "web.test. 60 IN A 127.0.0.1", "bad.test. 60 IN A 127.0.0.9", "none.test. 60 IN AAAA 2001:db8::1")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("enhanced-mode: redir-host\nnameserver: ["+up.addr+"]")+
		ruleLines("rules", "DOMAIN,bad.test,REJECT\nMATCH,DIRECT"))
	c := connect(t, d.Mixed, "127.0.0.1:"+port)
	if m := shown(t, d, c).Metadata; m.Host != "" || m.DNSMode != "normal" || m.DestinationIP != "127.0.0.1" {
		t.Errorf("before anybody has asked: %+v", m)
	}
	answers(t, addr, "web.test", "127.0.0.1")
	answers(t, addr, "bad.test", "127.0.0.9")
	if m := query(t, addr, "none.test", dns.TypeAAAA); said(m) != "" { // dns.ipv6 is off
		t.Errorf("%v", m)
	}
	c = connect(t, d.Mixed, "127.0.0.1:"+port)
	if m := shown(t, d, c).Metadata; m.Host != "web.test" || m.DNSMode != "redir-host" || m.DestinationIP != "127.0.0.1" {
		t.Errorf("%+v", m)
	}
	if got, err := curl(t, "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://"+d.Mixed, "http://127.0.0.9/"); err != nil || got != "403" {
		t.Errorf("rules see the name: %q, %v", got, err)
	}
}

// TestHosts has names whose addresses are in the configuration.
func TestHosts(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	up := newNameServer(t, "*. 30 IN A 192.0.2.99", "*. 30 IN AAAA 2001:db8::99", `*. 30 IN TXT "up"`)
	const hosts = `
hosts:
  list.test: [192.0.2.1, 192.0.2.2, "2001:db8::1"]
  one.test: 127.0.0.1
  alias.test: list.test
  outside.test: www.outside.test
  "*.star.test": 192.0.2.3
  "+.plus.test": 192.0.2.4
  ".dot.test": 192.0.2.5
  exact.star.test: 192.0.2.6
  here.test: lan
`
	section := func(more string) string {
		return dnsSection("ipv6: true\n" + more + "\nnameserver: [" + up.addr + "]")
	}
	d, addr := startDNS(t, "mixed-port: MIXED\nipv6: true\n"+hosts+section(""))
	f := func(name string, kind uint16, want string) {
		t.Helper()
		if got := said(query(t, addr, name, kind)); got != want {
			t.Errorf("%s %s is %q; want %q", name, dns.Type(kind), got, want)
		}
	}
	f("list.test", dns.TypeA, "192.0.2.1 192.0.2.2")
	f("LIST.test", dns.TypeAAAA, "2001:db8::1")
	f("list.test", dns.TypeTXT, `"up"`)
	f("one.test", dns.TypeAAAA, "")
	f("alias.test", dns.TypeA, "192.0.2.1 192.0.2.2 list.test.")
	f("alias.test", dns.TypeCNAME, "list.test.")
	f("outside.test", dns.TypeA, "192.0.2.99 www.outside.test.")
	f("a.star.test", dns.TypeA, "192.0.2.3")
	f("exact.star.test", dns.TypeA, "192.0.2.6")
	f("star.test", dns.TypeA, "192.0.2.99")
	f("b.a.star.test", dns.TypeA, "192.0.2.99")
	f("plus.test", dns.TypeA, "192.0.2.4")
	f("b.a.plus.test", dns.TypeA, "192.0.2.4")
	f("dot.test", dns.TypeA, "192.0.2.99")
	f("b.a.dot.test", dns.TypeA, "192.0.2.5")
	f("1.2.0.192.in-addr.arpa", dns.TypePTR, "list.test.")
	for _, q := range up.questions("") {
		if name, _, _ := strings.Cut(q, " "); !slices.Contains([]string{"www.outside.test", "star.test", "b.a.star.test", "dot.test"}, name) && q != "list.test TXT" {
			t.Errorf("the name server was asked %s", q)
		}
	}
	lan := localAddrs(t)
	if got := data(query(t, addr, "here.test", dns.TypeA)); !slices.Equal(got, lan) {
		t.Errorf("here.test is %v; want %v", got, lan)
	}
	// A connection by name goes to the address, and says where it is from.
	c := connect(t, d.Mixed, "one.test:"+port)
	if m := shown(t, d, c).Metadata; m.Host != "one.test" || m.DNSMode != "hosts" || m.DestinationIP != "127.0.0.1" {
		t.Errorf("%+v", m)
	}
	// Clients of the DNS server are not told what they should not.
	load(t, d, "ipv6: true\n"+hosts+section("use-hosts: false"))
	f("list.test", dns.TypeA, "192.0.2.99")
	f("alias.test", dns.TypeA, "192.0.2.99")
	// Before fake addresses.
	load(t, d, "ipv6: true\n"+hosts+section("enhanced-mode: fake-ip"))
	f("list.test", dns.TypeA, "192.0.2.1 192.0.2.2")
	f("other.test", dns.TypeA, "198.18.0.4")
	f("outside.test", dns.TypeA, "198.18.0.5 www.outside.test.")
	load(t, d, hosts) // without DNS
	if got, err := fetch(t, d.Mixed, "http://one.test:"+port+"/"); err != nil || !strings.HasPrefix(got, "GET / ") {
		t.Errorf("%q, %v", got, err)
	}
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("hosts: {a.test: b.test, b.test: a.test}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, nil, "-t", "-d", t.TempDir(), "-f", file); code != 1 || !strings.Contains(out, "the names lead to each other: a.test → b.test → a.test") {
		t.Errorf("%d %s", code, out)
	}
}

// localAddrs are the IPv4 addresses of this machine, but for those of loopback.
func localAddrs(t *testing.T) (list []string) {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			list = append(list, n.IP.String())
		}
	}
	slices.Sort(list)
	return list
}

// TestListenMoves moves the DNS server, and tries to where it cannot be.
func TestListenMoves(t *testing.T) {
	up := newNameServer(t, "*. 60 IN A 192.0.2.7")
	section := func(listen string) string {
		return strings.Replace(dnsSection("nameserver: ["+up.addr+"]"), "127.0.0.1:0", listen, 1)
	}
	first, second := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	d, addr := startDNS(t, "mixed-port: MIXED\n"+section(first))
	if addr != first {
		t.Fatalf("it listens at %s; want %s", addr, first)
	}
	open := func(addr string, want bool) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			c := dns.Client{Net: network}
			m, _, err := c.Exchange(new(dns.Msg).SetQuestion("a.test.", dns.TypeA), addr)
			if (err == nil) != want || err == nil && said(m) != "192.0.2.7" {
				t.Errorf("%s %s: %v, %v; want an answer: %v", network, addr, m, err, want)
			}
		}
	}
	open(first, true)
	load(t, d, section(second))
	open(first, false)
	open(second, true)
	// Either of the two may be what somebody else has.
	for _, network := range []string{"udp", "tcp"} {
		taken := newNameServer(t)
		if network == "udp" {
			taken.stop()
			c, err := net.ListenPacket("udp", taken.addr)
			if err != nil {
				t.Skip(err)
			}
			defer c.Close()
		}
		before := get[api.Config](t, d, "/configs")
		status, body := d.Do(t, "PUT", "/configs", fmt.Sprintf(`{"payload":%q}`, section(taken.addr)+"log-level: error\n"))
		if status != 500 || !strings.Contains(body, "dns.listen: ") || !strings.Contains(body, "address already in use") || !strings.Contains(body, taken.addr) {
			t.Errorf("%s is taken: %d %s", network, status, body)
		}
		if after := get[api.Config](t, d, "/configs"); after.LogLevel != before.LogLevel {
			t.Errorf("%s is taken: the log level is %v", network, after.LogLevel)
		}
		open(second, true)
	}
	// To another address of the same port, and away.
	_, port, _ := net.SplitHostPort(second)
	load(t, d, section("'[::]:"+port+"'"))
	open(second, true)
	load(t, d, section(second))
	open(second, true)
	load(t, d, "rules: ['MATCH,DIRECT']\n")
	open(second, false)
	// A daemon that cannot have its address does not start.
	taken := newNameServer(t)
	file := filepath.Join(t.TempDir(), "taken.yaml")
	if err := os.WriteFile(file, []byte(section(taken.addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, nil, "-d", t.TempDir(), "-f", file); code != 3 || !strings.Contains(out, "dns.listen: ") {
		t.Errorf("%d %s", code, out)
	}
}
