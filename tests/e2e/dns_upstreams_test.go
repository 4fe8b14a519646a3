package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// asksAt makes d ask one name server, and wants what it says about a.peer.test.
func asksAt(t *testing.T, d *testkit.Daemon, addr, rest, server, want string) {
	t.Helper()
	load(t, d, rest+dnsSection(fmt.Sprintf("nameserver: [%q]", server)))
	do(t, d, "POST", "/cache/dns/flush", "") // answers stay while the section does
	for _, kind := range []uint16{dns.TypeA, dns.TypeMX} {
		if got := said(query(t, addr, "a.peer.test", kind)); !strings.Contains(got, want) {
			t.Errorf("%s: %s is %s; want %s", server, dns.Type(kind), got, want)
		}
	}
}

// trusting makes a daemon trust a certificate.
func trusting(cert string) string {
	return "tls:\n  custom-certifactes:\n  - |\n" + indent(cert) + "\n"
}

// TestUnboundUpstream asks unbound in all the ways it has.
func TestUnboundUpstream(t *testing.T) {
	cert, key := selfSigned(t)
	plainPort, dot, doh := startUnbound(t, cert, key, "a.peer.test. 60 IN A 192.0.2.7", "a.peer.test. 60 IN MX 5 192.0.2.7.")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("nameserver: [127.0.0.1]"))
	f := func(rest, server, want string) {
		t.Helper()
		asksAt(t, d, addr, rest, server, want)
	}
	f("", fmt.Sprintf("127.0.0.1:%d", plainPort), "192.0.2.7")
	f("", fmt.Sprintf("tcp://127.0.0.1:%d", plainPort), "192.0.2.7")
	servers := []string{fmt.Sprintf("tls://127.0.0.1:%d", dot)}
	if doh != 0 {
		servers = append(servers, fmt.Sprintf("https://127.0.0.1:%d/dns-query", doh))
	}
	for _, server := range servers {
		f("", server+"#skip-cert-verify=true", "192.0.2.7")
		f(trusting(cert), server, "192.0.2.7")
		f("", server, "SERVFAIL") // nobody knows its certificate
	}
	if doh == 0 {
		t.Skip("this build of unbound has no DoH")
	}
}

// TestDnsmasqUpstream asks dnsmasq, also for what a datagram does not hold.
func TestDnsmasqUpstream(t *testing.T) {
	port := testkit.FreePort(t)
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file", "--user=", "--bind-interfaces",
		"--listen-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--local=/test/", "--address=/a.peer.test/192.0.2.7",
		"--mx-host=a.peer.test,192.0.2.7.mx.test",
	}
	for i := range 30 {
		args = append(args, fmt.Sprintf("--txt-record=big.test,%02d %s", i, strings.Repeat("y", 100)))
	}
	startPeer(t, fmt.Sprintf("127.0.0.1:%d", port), "dnsmasq", args...)
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("nameserver: [127.0.0.1]"))
	for _, scheme := range []string{"udp", "tcp"} {
		asksAt(t, d, addr, "", fmt.Sprintf("%s://127.0.0.1:%d", scheme, port), "192.0.2.7")
		if p := dig(t, "dig", addr, "+tcp", "big.test", "TXT"); len(p.answers) != 30 {
			t.Errorf("%s: %d texts\n%.300s", scheme, len(p.answers), p.text)
		}
	}
}

// TestQUICUpstreams asks over QUIC, and over HTTP/3.
func TestQUICUpstreams(t *testing.T) {
	cert, key := selfSigned(t)
	up := newNameServer(t, "a.peer.test. 60 IN A 192.0.2.7", "a.peer.test. 60 IN MX 5 192.0.2.7.")
	doq, h3 := newQUICServers(t, up, cert, key)
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("nameserver: [127.0.0.1]"))
	for _, server := range []string{"quic://" + doq.String() + "#", "https://" + h3.String() + "/dns-query#h3=true&"} {
		asksAt(t, d, addr, "", server+"skip-cert-verify=true", "192.0.2.7")
		asksAt(t, d, addr, trusting(cert), strings.TrimRight(server, "&#"), "192.0.2.7")
		asksAt(t, d, addr, "", strings.TrimRight(server, "&#"), "SERVFAIL")
	}
	if got := len(up.questions("a.peer.test")); got != 8 {
		t.Errorf("%d questions", got)
	}
}

// TestDeadUpstream has a good name server beside those that are none.
func TestDeadUpstream(t *testing.T) {
	good := newNameServer(t, "*. 60 IN A 192.0.2.7")
	silent, gone := newNameServer(t), newNameServer(t)
	silent.mute(true)
	gone.stop()
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("nameserver: ["+gone.addr+", tcp://"+gone.addr+", "+silent.addr+", "+good.addr+"]"))
	answers(t, addr, "a.test", "192.0.2.7")
	answers(t, addr, "b.test", "192.0.2.7")
	n := 0
	until(t, "all are asked", func() bool { // a fast answer may come before
		n++
		answers(t, addr, fmt.Sprintf("n%d.test", n), "192.0.2.7")
		return len(silent.questions("")) > 0
	})
	load(t, d, dnsSection("nameserver: ["+gone.addr+", tcp://"+gone.addr+"]"))
	answers(t, addr, "a.test", "SERVFAIL")
	answers(t, addr, "c.test", "SERVFAIL")
}

// TestServeStale has old answers when there are no others.
func TestServeStale(t *testing.T) {
	for _, stale := range []string{"serve-stale: 3600", ""} {
		up := newNameServer(t, "*. 1 IN A 192.0.2.7")
		_, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection(stale+"\nnameserver: ["+up.addr+"]"))
		answers(t, addr, "a.test", "192.0.2.7")
		up.stop()
		var m *dns.Msg
		until(t, "the answer is out of date", func() bool {
			m = query(t, addr, "a.test", dns.TypeA)
			return len(m.Answer) == 0 || m.Answer[0].Header().Ttl != 1
		})
		if stale == "" {
			if said(m) != "SERVFAIL" {
				t.Errorf("%v", m)
			}
		} else if said(m) != "192.0.2.7" || m.Answer[0].Header().Ttl != 30 {
			t.Errorf("%v", m)
		}
		answers(t, addr, "b.test", "SERVFAIL")
	}
}
