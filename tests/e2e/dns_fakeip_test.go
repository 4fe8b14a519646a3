package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// fakeSection has fake addresses for all names that are not listed.
func fakeSection(up *nameServer, listed string) string {
	return dnsSection("ipv6: true\nenhanced-mode: fake-ip\nfake-ip-filter: [" + listed + "]\nnameserver: [" + up.addr + "]")
}

// fails wants a connection to a target to end without an answer, at once.
func fails(t *testing.T, d *testkit.Daemon, target string) {
	t.Helper()
	began := time.Now()
	got, err := curl(t, "-x", "socks5://"+d.Mixed, "http://"+target+"/")
	if took := time.Since(began); err == nil || took > time.Second {
		t.Errorf("%s: %q, %v after %v", target, got, err, took)
	}
	if list := get[api.Connections](t, d, "/connections").Connections; len(list) > 0 {
		t.Errorf("%s: %+v", target, list)
	}
}

// TestFakeIP connects to addresses that dig has got.
func TestFakeIP(t *testing.T) {
	host := page(t)
	_, port, _ := net.SplitHostPort(host)
	up := newNameServer(t, "web.test. 60 IN A 127.0.0.1", "real.test. 60 IN A 127.0.0.1", `web.test. 60 IN TXT "hello"`)
	d, addr := startDNS(t, "mixed-port: MIXED\nipv6: true\n"+fakeSection(up, "real.test")+ruleLines("rules", "DOMAIN,bad.test,REJECT\nMATCH,DIRECT"))
	p := dig(t, "dig", addr, "WEB.test", "A")
	if want := []string{"WEB.test. A 198.18.0.4"}; p.status != "NOERROR" || !slices.Equal(p.answers, want) || !strings.Contains(p.text, "\t1\tIN\tA\t198.18.0.4") {
		t.Fatalf("%q; want %q, for one second\n%s", p.answers, want, p.text)
	}
	for _, kind := range []string{"AAAA", "HTTPS", "SVCB"} {
		if p := dig(t, "dig", addr, "web.test", kind); p.status != "NOERROR" || len(p.answers) > 0 {
			t.Errorf("%s: %s", kind, p.text)
		}
	}
	if p := dig(t, "dig", addr, "-x", "198.18.0.4"); !slices.Equal(p.answers, []string{"4.0.18.198.in-addr.arpa. PTR web.test."}) {
		t.Errorf("PTR: %s", p.text)
	}
	if p := dig(t, "dig", addr, "-x", "198.18.7.7"); p.status != "NXDOMAIN" {
		t.Errorf("PTR of an address that nobody has: %s", p.text)
	}
	if asked := up.questions(""); len(asked) > 0 {
		t.Errorf("the name server was asked %v", asked)
	}
	answers(t, addr, "real.test", "127.0.0.1")

	// The target is what the name leads to.
	want := fmt.Sprintf("GET / 198.18.0.4:%s \"\"", port)
	for _, scheme := range []string{"http", "socks5", "socks4"} {
		if got, err := curl(t, "-x", scheme+"://"+d.Mixed, "http://198.18.0.4:"+port+"/"); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", scheme, got, err, want)
		}
	}
	c := connect(t, d.Mixed, "198.18.0.4:"+port)
	if m := shown(t, d, c).Metadata; m.Host != "web.test" || m.DestinationIP != "" || m.DNSMode != "fake-ip" || m.DestinationPort != port || m.RemoteDestination != "127.0.0.1" {
		t.Errorf("%+v", m)
	}
	_ = c.Close()
	until(t, "no connection is left", func() bool { return len(get[api.Connections](t, d, "/connections").Connections) == 0 })
	// Rules see the name.
	bad := address(t, addr, "bad.test")
	if got, err := curl(t, "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://"+d.Mixed, "http://"+bad+"/"); err != nil || got != "403" {
		t.Errorf("%q, %v", got, err)
	}
	// What stands for no name leads nowhere.
	fails(t, d, "198.18.9.9:"+port)
	fails(t, d, "198.18.0.1:"+port)
	fails(t, d, "198.18.255.255:"+port)

	// Addresses begin anew after a flush.
	address(t, addr, "another.test")
	do(t, d, "POST", "/cache/fakeip/flush", "")
	fails(t, d, "198.18.0.4:"+port)
	answers(t, addr, "fresh.test", "198.18.0.4")
	answers(t, addr, "web.test", "198.18.0.5")
}

// TestFakeIPv6 has a range of IPv6 beside that of IPv4.
func TestFakeIPv6(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	up := newNameServer(t, "web.test. 60 IN A 127.0.0.1")
	d, addr := startDNS(t, "mixed-port: MIXED\nipv6: true\n"+
		dnsSection("ipv6: true\nenhanced-mode: fake-ip\nfake-ip-range6: 'fd12::/64'\nfake-ip-ttl: 7\nnameserver: ["+up.addr+"]"))
	m := query(t, addr, "web.test", dns.TypeAAAA)
	if said(m) != "fd12::4" || m.Answer[0].Header().Ttl != 7 {
		t.Fatalf("%v", m)
	}
	answers(t, addr, "web.test", "198.18.0.4")
	c := connect(t, d.Mixed, "[fd12::4]:"+port)
	if m := shown(t, d, c).Metadata; m.Host != "web.test" || m.DestinationIP != "" || m.DNSMode != "fake-ip" {
		t.Errorf("%+v", m)
	}
	_ = c.Close()
	if p := dig(t, "dig", addr, "-x", "fd12::4"); len(p.answers) != 1 || !strings.HasSuffix(p.answers[0], " PTR web.test.") {
		t.Errorf("PTR: %s", p.text)
	}
}

// TestFakeIPIsRemembered restarts the daemon: names keep their addresses where that is wanted.
func TestFakeIPIsRemembered(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	up := newNameServer(t, "b.test. 60 IN A 127.0.0.1")
	for _, kept := range []bool{true, false} {
		d, addr := startDNS(t, fmt.Sprintf("mixed-port: MIXED\nprofile: {store-fake-ip: %v}\n", kept)+fakeSection(up, ""))
		answers(t, addr, "a.test", "198.18.0.4")
		answers(t, addr, "b.test", "198.18.0.5")
		answers(t, addr, "c.test", "198.18.0.6")
		d = d.Restart(t)
		addr = d.WaitLog(t, "DNS server listening at ")
		if !kept {
			fails(t, d, "198.18.0.5:"+port)
			answers(t, addr, "b.test", "198.18.0.4")
			continue
		}
		// What a client has kept still leads there, also before it asks again.
		_ = connect(t, d.Mixed, "198.18.0.5:"+port).Close()
		answers(t, addr, "c.test", "198.18.0.6")
		answers(t, addr, "d.test", "198.18.0.7")
		answers(t, addr, "a.test", "198.18.0.4")
	}
}

// TestFakeIPFilterChanges lists a name that has a fake address.
func TestFakeIPFilterChanges(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	up := newNameServer(t, "*. 60 IN A 127.0.0.1")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+fakeSection(up, "x.test"))
	answers(t, addr, "web.test", "198.18.0.4")
	answers(t, addr, "other.test", "198.18.0.5")
	_ = connect(t, d.Mixed, "198.18.0.4:"+port).Close()
	load(t, d, fakeSection(up, "+.web.test"))
	until(t, "no connection is left", func() bool { return len(get[api.Connections](t, d, "/connections").Connections) == 0 })
	fails(t, d, "198.18.0.4:"+port)
	answers(t, addr, "web.test", "127.0.0.1")
	answers(t, addr, "www.web.test", "127.0.0.1")
	answers(t, addr, "other.test", "198.18.0.5")
	_ = connect(t, d.Mixed, "198.18.0.5:"+port).Close()
	// By lists, and the other way round.
	load(t, d, dnsSection("enhanced-mode: fake-ip\nfake-ip-filter-mode: whitelist\nfake-ip-filter: ['rule-set:fakes', other.test]\nnameserver: ["+up.addr+"]")+
		"rule-providers: {fakes: {type: inline, behavior: domain, payload: [+.web.test]}}\n")
	answers(t, addr, "x.test", "127.0.0.1")
	answers(t, addr, "other.test", "198.18.0.5")
	if got := address(t, addr, "www.web.test"); !strings.HasPrefix(got, "198.18.") {
		t.Errorf("www.web.test is %s", got)
	}
	load(t, d, dnsSection("enhanced-mode: fake-ip\nfake-ip-filter-mode: rule\nfake-ip-filter: ['DOMAIN-SUFFIX,web.test,real-ip', 'MATCH,fake-ip']\nnameserver: ["+up.addr+"]"))
	answers(t, addr, "www.web.test", "127.0.0.1")
	answers(t, addr, "other.test", "198.18.0.5")
	// Without fake addresses those of before are none any more, and go nowhere of ours.
	load(t, d, dnsSection("nameserver: ["+up.addr+"]"))
	answers(t, addr, "other.test", "127.0.0.1")
}
