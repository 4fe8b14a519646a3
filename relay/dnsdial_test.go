package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/logs"
)

// TestServersByName: a name server that has a name is found with default-nameserver, whichever way it is
// reached, and not with itself.
func TestServersByName(t *testing.T) {
	s := newNameServer(t, map[string]string{"dns.test": "127.0.0.1"})
	boot := newNameServer(t, map[string]string{"dns.test": "127.0.0.1"})
	f := func(server string) {
		t.Helper()
		t.Run(server, func(t *testing.T) {
			text := fmt.Sprintf("rules: ['MATCH,DIRECT']\ndns: {enable: true, use-system-hosts: false, nameserver: ['%s'], default-nameserver: ['%s']}\n",
				strings.Replace(server, "PORT", fmt.Sprint(s.addr.Port()), 1), boot.addr)
			begin, asked := time.Now(), boot.asked.Load()
			if got := startRelay(t, text).query(t, "a.test"); got != "192.0.2.1" {
				t.Error(got)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
			if boot.asked.Load() == asked {
				t.Error("default-nameserver was not asked")
			}
		})
	}
	for _, scheme := range []string{"udp", "tcp"} {
		for _, via := range []string{"", "#DIRECT", "#RULES", "#GLOBAL"} {
			f(scheme + "://dns.test:PORT" + via)
		}
	}
}

// TestLoopsByRules: that a name server waits for itself behind rules, which nobody knows before, is found at
// once, whatever it speaks.
func TestLoopsByRules(t *testing.T) {
	f := func(server, node string) {
		t.Helper()
		t.Run(server+" "+node, func(t *testing.T) {
			r := startRelay(t, "proxies: [{name: node, server: node.test, port: 1, udp: true, type: "+node+"}]\nrules: ['MATCH,node']\n"+
				"dns: {enable: true, use-system-hosts: false, nameserver: ['"+server+"#RULES']}\n")
			begin := time.Now()
			if _, err := r.QueryDNS(t.Context(), "a.test", wire.TypeA); !errors.Is(err, dns.ErrLoop) {
				t.Error(err)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	for _, server := range []string{"udp://192.0.2.53", "tcp://192.0.2.53", "tls://192.0.2.53", "https://192.0.2.53/dns-query", "http://192.0.2.53/dns-query", "quic://192.0.2.53"} {
		f(server, "socks5")
	}
	f("tcp://192.0.2.53", "http")
}

// TestLookup asks those who are to be asked for each kind of name.
func TestLookup(t *testing.T) {
	var list []any
	servers := make(map[string]*nameServer)
	for i, name := range []string{"main", "direct", "nodes", "policy", "boot"} {
		servers[name] = newNameServer(t, map[string]string{"any.test": fmt.Sprintf("192.0.2.%d", i+1), "node.test": fmt.Sprintf("192.0.2.%d", i+1)})
		list = append(list, servers[name].addr)
	}
	text := fmt.Sprintf("hosts: {mine.test: 192.0.2.99}\ndns: {enable: true, use-system-hosts: false, nameserver: ['%s'], direct-nameserver: ['%s'], proxy-server-nameserver: ['%s'],"+
		" proxy-server-nameserver-policy: {node.test: '%s'}, default-nameserver: ['%s']", list...)
	r := startRelay(t, text+"}\n")
	f := func(host string, why role, want string) {
		t.Helper()
		addrs, err := r.lookup(why)(t.Context(), host)
		if err != nil || len(addrs) != 1 || addrs[0] != netip.MustParseAddr(want) {
			t.Errorf("%s: %v, %v; want %s", host, addrs, err, want)
		}
	}
	f("any.test", forRule, "192.0.2.1")
	f("any.test", forDirect, "192.0.2.2")
	f("any.test", forServer, "192.0.2.3")
	f("node.test", forServer, "192.0.2.4")
	f("node.test", forRule, "192.0.2.1")
	for _, why := range []role{forRule, forDirect, forServer} {
		f("mine.test", why, "192.0.2.99")
		f("192.0.2.77", why, "192.0.2.77")
	}
	// A policy of the main servers is one of direct-nameserver where it says so.
	policy := fmt.Sprintf(", nameserver-policy: {any.test: '%s'}", servers["policy"].addr)
	r.mustApply(t, text+policy+"}\n")
	f("any.test", forDirect, "192.0.2.2")
	f("any.test", forRule, "192.0.2.4")
	r.mustApply(t, text+policy+", direct-nameserver-follow-policy: true}\n")
	f("any.test", forDirect, "192.0.2.4")
	f("any.test", forServer, "192.0.2.3")
	// Without them, all are the main ones.
	r.mustApply(t, fmt.Sprintf("dns: {enable: true, use-system-hosts: false, nameserver: ['%s']}\n", servers["main"].addr))
	for _, why := range []role{forRule, forDirect, forServer} {
		f("any.test", why, "192.0.2.1")
	}
	// Switched off, hosts still count.
	r.mustApply(t, "hosts: {mine.test: 192.0.2.99, other.test: mine.test}\ndns: {enable: false}\n")
	f("other.test", forDirect, "192.0.2.99")
}

// TestPolicyOrder: of patterns that stand together the one that fits best decides, of others the first.
func TestPolicyOrder(t *testing.T) {
	var list []any
	for i := range 5 {
		list = append(list, newNameServer(t, map[string]string{"a.test": fmt.Sprint("192.0.2.", i), "b.test": fmt.Sprint("192.0.2.", i), "c.org": fmt.Sprint("192.0.2.", i)}).addr)
	}
	r := startRelay(t, fmt.Sprintf(`
rule-providers: {names: {type: inline, behavior: domain, payload: [+.org, b.test]}}
dns:
  enable: true
  use-system-hosts: false
  nameserver: ['%s']
  nameserver-policy:
    '+.test': '%s'
    a.test: '%s'
    'rule-set:names': '%s'
    'b.test,c.org': '%s'
`, list...))
	for name, want := range map[string]string{"a.test": "192.0.2.2", "b.test": "192.0.2.1", "c.org": "192.0.2.3"} {
		if got := r.query(t, name); got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
}

// TestQueryAndAnswer: a query is for what name servers say; an answer is what clients get.
func TestQueryAndAnswer(t *testing.T) {
	s := newNameServer(t, map[string]string{"six.test": "2001:db8::7"})
	r := startRelay(t, fmt.Sprintf("hosts: {mine.test: 192.0.2.99}\ndns: {enable: true, use-system-hosts: false, enhanced-mode: fake-ip, nameserver: ['%s']}\n", s.addr))
	for _, name := range []string{"mine.test", "a.test"} {
		if got := r.query(t, name); got != "192.0.2.1" {
			t.Errorf("%s: %s", name, got)
		}
	}
	p, err := r.QueryDNS(t.Context(), "six.test", wire.TypeAAAA)
	if err != nil || !strings.Contains(string(p), string(netip.MustParseAddr("2001:db8::7").AsSlice())) {
		t.Errorf("%x, %v: IPv6 is switched off for clients, not for queries", p, err)
	}
	answer := func(name string) string {
		t.Helper()
		q, err := new(miekg.Msg).SetQuestion(name+".", miekg.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.AnswerDNS(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		m := new(miekg.Msg)
		if err := m.Unpack(p); err != nil || len(m.Answer) != 1 {
			t.Fatal(m, err)
		}
		return m.Answer[0].(*miekg.A).A.String()
	}
	if got := answer("mine.test") + " " + answer("a.test") + " " + answer("b.test"); got != "192.0.2.99 198.18.0.4 198.18.0.5" {
		t.Error(got)
	}
	asked := s.asked.Load()
	if r.query(t, "a.test"); s.asked.Load() != asked {
		t.Error("it was asked again")
	}
	if err := errors.Join(r.FlushDNS(), r.FlushFakeIP()); err != nil {
		t.Error(err)
	}
	if r.query(t, "a.test"); s.asked.Load() != asked+1 {
		t.Error("it was not asked again")
	}
	if got := answer("b.test"); got != "198.18.0.4" {
		t.Error(got)
	}
}

// TestBugsInAnswers end one question of the node of type dns, and not the daemon.
func TestBugsInAnswers(t *testing.T) {
	r := startRelay(t, "proxies: [{name: d, type: dns}]\ndns: {enable: true, use-system-hosts: false, nameserver: [192.0.2.53], enhanced-mode: fake-ip}\n")
	r.hub.SetLevel(logs.Silent)
	r.current.Load().naming.handler.Fake.Real = func(string) bool { panic("a bug") }
	q, err := new(miekg.Msg).SetQuestion("a.test.", miekg.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if p := r.answerDNS(context.Background(), q, true); len(p) > 0 || r.Panics() != 1 {
		t.Errorf("%x, %d panics", p, r.Panics())
	}
}
