package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// TestRestore: a flow to an address that was given out for a name is one to that name, and a name of hosts has
// the address from there.
func TestRestore(t *testing.T) {
	r := newTestRelay(t)
	const hosts = "hosts: {mine.test: 192.0.2.1, both.test: ['2001:db8::1', 192.0.2.2], six.test: '2001:db8::1', alias.test: far.test, twice.test: alias.test}\n"
	const section = "dns: {enable: true, nameserver: [192.0.2.53], use-system-hosts: false, "
	fake := r.built(t, nil, hosts+section+"enhanced-mode: fake-ip, ipv6: true, fake-ip-range6: 'fc00::/64'}\nipv6: true\n").naming
	mapped := r.built(t, nil, hosts+section+"enhanced-mode: redir-host}\n").naming
	normal := r.built(t, nil, hosts+section+"enhanced-mode: normal}\n").naming
	off := r.built(t, nil, hosts+"dns: {enable: false}\n").naming
	for _, p := range fake.pools {
		p.Lease([]byte("a.test"))
	}
	r.dns.mapping.Note(netip.MustParseAddr("203.0.113.7"), []byte("m.test"), 60)
	r.dns.mapping.Note(netip.MustParseAddr("2001:db8::7"), []byte("m6.test"), 60)
	f := func(n *naming, to, want string, mode flow.DNSMode) {
		t.Helper()
		fl := &flow.Flow{Kind: flow.SOCKS5, To: flow.Addr{Port: 443}}
		var err error
		if fl.To.Host, fl.To.IP, err = flow.ParseHost(to); err != nil {
			t.Fatal(err)
		}
		if err := n.restore(fl); err != nil {
			if want != "error" {
				t.Errorf("%s: %v", to, err)
			}
			return
		}
		got := fl.To.Host
		if fl.To.IP.IsValid() {
			got += " " + fl.To.IP.String()
		}
		if strings.TrimSpace(got) != want || fl.DNSMode != mode || fl.LookedUp != (mode >= flow.DNSMapped) || fl.To.Port != 443 {
			t.Errorf("%s: %q, %s, looked up: %v; want %q, %s", to, got, fl.DNSMode, fl.LookedUp, want, mode)
		}
	}
	// Fake addresses are the names'; one that stands for none leads nowhere.
	f(fake, "198.18.0.4", "a.test", flow.DNSFakeIP)
	f(fake, "::ffff:198.18.0.4", "a.test", flow.DNSFakeIP)
	f(fake, "fc00::4", "a.test", flow.DNSFakeIP)
	f(fake, "198.18.0.5", "error", 0)
	f(fake, "198.18.0.0", "error", 0)
	f(fake, "198.18.255.255", "error", 0)
	f(fake, "fc00::5", "error", 0)
	f(fake, "198.19.0.4", "198.19.0.4", flow.DNSNormal)
	f(mapped, "198.18.0.4", "198.18.0.4", flow.DNSNormal)
	// An address that was given out keeps it.
	f(mapped, "203.0.113.7", "m.test 203.0.113.7", flow.DNSMapped)
	f(mapped, "2001:db8::7", "m6.test 2001:db8::7", flow.DNSMapped)
	f(mapped, "203.0.113.8", "203.0.113.8", flow.DNSNormal)
	f(fake, "203.0.113.7", "m.test 203.0.113.7", flow.DNSMapped)
	f(normal, "203.0.113.7", "203.0.113.7", flow.DNSNormal)
	f(off, "203.0.113.7", "203.0.113.7", flow.DNSNormal)
	// Hosts, whether or not DNS is on; IPv6 only where it is of use.
	for _, n := range []*naming{fake, mapped, off} {
		f(n, "mine.test", "mine.test 192.0.2.1", flow.DNSFromHosts)
		f(n, "alias.test", "far.test", flow.DNSNormal)
		f(n, "twice.test", "far.test", flow.DNSNormal)
		f(n, "other.test", "other.test", flow.DNSNormal)
		f(n, "localhost", "localhost", flow.DNSNormal) // which is no entry
	}
	f(fake, "six.test", "six.test 2001:db8::1", flow.DNSFromHosts)
	f(mapped, "six.test", "six.test", flow.DNSNormal)
	seen := make(map[netip.Addr]bool)
	for range 100 {
		fl := &flow.Flow{To: flow.Addr{Host: "both.test"}}
		_ = fake.restore(fl)
		seen[fl.To.IP] = true
		f(mapped, "both.test", "both.test 192.0.2.2", flow.DNSFromHosts)
	}
	if len(seen) != 2 {
		t.Errorf("of two addresses %v are used", seen)
	}
	if e, _ := fake.hosts.Resolve("both.test"); !slices.Equal(e.Addrs, []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}) {
		t.Errorf("the entry has changed: %v", e.Addrs)
	}
	// The daemon's own flows mean the addresses they name.
	own := &flow.Flow{Kind: flow.Inner, To: flow.Addr{IP: netip.MustParseAddr("198.18.0.5")}}
	if err := fake.restore(own); err != nil || own.To.Host != "" {
		t.Errorf("%+v, %v", own.To, err)
	}
}

// TestFakeFilters say which names get real addresses, in each mode.
func TestFakeFilters(t *testing.T) {
	r := newTestRelay(t)
	putSites(t, r, map[string]int{"CN": 2}) // a.test and b.test
	const providers = "rule-providers:\n  names: {type: inline, behavior: domain, payload: ['+.set.test']}\n" +
		"  rules: {type: inline, behavior: classical, payload: ['DOMAIN-KEYWORD,word', 'IP-CIDR,10.0.0.0/8', 'DST-PORT,53']}\n"
	build := func(mode, filter string) *dns.Fake {
		t.Helper()
		text := "dns: {enable: true, nameserver: [192.0.2.53], enhanced-mode: fake-ip"
		if mode != "" {
			text += ", fake-ip-filter-mode: " + mode
		}
		if filter != "" {
			text += ", fake-ip-filter: [" + filter + "]"
		}
		n := r.run(t, providers+text+"}\n")
		return n.naming.handler.Fake
	}
	f := func(fake *dns.Fake, real bool, hosts ...string) {
		t.Helper()
		for _, host := range hosts {
			if fake.Real(host) != real {
				t.Errorf("%s: real: %v", host, !real)
			}
		}
	}
	const list = "'+.lan', '*.Example.ORG', 'exact.test', 'geosite:cn', 'rule-set:names,rules', '*'"
	listed := []string{"lan", "a.lan", "b.a.lan", "x.example.org", "exact.test", "a.test", "b.test", "set.test", "x.set.test", "a-word.net", "local"}
	others := []string{"example.org", "y.x.example.org", "x.exact.test", "c.test", "lan.test", "www.msftconnecttest.com"}
	black := build("blacklist", list)
	f(black, true, listed...)
	f(black, false, others...)
	white := build("whitelist", list)
	f(white, false, listed...)
	f(white, true, others...)
	// Who says nothing has the names by which systems find out whether they have a network.
	none := build("", "")
	f(none, true, "dns.msftnsci.com", "www.msftnsci.com", "www.msftconnecttest.com")
	f(none, false, listed...)
	empty := build("whitelist", "")
	f(empty, true, append(listed, others...)...)
	rules := build("rule", "'DOMAIN,fake.lan,fake-ip', 'DOMAIN-SUFFIX,lan,real-ip', 'GEOSITE,cn,real-ip', 'RULE-SET,names,real-ip', 'RULE-SET,rules,real-ip', 'DOMAIN-REGEX,^x+$,real-ip'")
	f(rules, false, "fake.lan", "c.test", "www.msftconnecttest.com")
	f(rules, true, "a.lan", "a.test", "x.set.test", "a-word.net", "xx")
	f(build("rule", "'DOMAIN,a.test,fake-ip', 'MATCH,real-ip'"), true, "b.test")
	if got := build("", "").TTL; got != 1 {
		t.Errorf("TTL %d", got)
	}
}

// TestPoolsStay while their range does, and leases survive in the store where they are to.
func TestPoolsStay(t *testing.T) {
	r := startRelay(t, "dns: {enable: true, nameserver: [192.0.2.53], enhanced-mode: fake-ip}\n")
	pool := func(more, top string) string {
		t.Helper()
		r.mustApply(t, top+"dns: {enable: true, nameserver: [192.0.2.53], enhanced-mode: fake-ip, "+more+"}\n")
		return fmt.Sprintf("%p", r.current.Load().naming.handler.Fake.V4)
	}
	one := pool("ipv6: true", "")
	if pool("fake-ip-range: 198.18.0.1/16, fake-ip-ttl: 7", "") != one {
		t.Error("the same range is another pool")
	}
	if pool("fake-ip-range: 198.18.0.0/17", "") == one {
		t.Error("another range is the same pool")
	}
	if pool("ipv6: true", "profile: {store-fake-ip: true}\n") == one {
		t.Error("what is stored is the same pool as what is not")
	}
	now := func() *fakeip.Pool { return r.current.Load().naming.handler.Fake.V4 }
	now().Lease([]byte("y.test"))
	z := now().Lease([]byte("z.test"))
	pool("ipv6: true", "profile: {store-fake-ip: false}\n")
	if got := now().Lease([]byte("z.test")); got != z {
		t.Errorf("a lease that is stored no more is %s; want %s", got, z)
	}
	pool("ipv6: true", "profile: {store-fake-ip: true}\n")
	r.mustApply(t, "dns: {enable: false}\n") // which stores them, sooner or later
	if len(r.dns.pools) != 0 {
		t.Errorf("%v", r.dns.pools)
	}
}
