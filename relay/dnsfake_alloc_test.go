//go:build !race

package relay

import (
	"net/netip"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// TestFakeAllocatesNothing: neither the filters, with sets and with rules, nor what finds the name of an address.
func TestFakeAllocatesNothing(t *testing.T) {
	r := newTestRelay(t)
	putSites(t, r, map[string]int{"CN": 2})
	const text = "rule-providers:\n  names: {type: inline, behavior: domain, payload: ['+.set.test', 'a*b.test']}\n" +
		"  rules: {type: inline, behavior: classical, payload: ['DOMAIN-KEYWORD,word', 'DOMAIN-REGEX,^x+$']}\n" +
		"dns: {enable: true, use-system-hosts: false, nameserver: [192.0.2.53], enhanced-mode: fake-ip, "
	for _, filter := range []string{
		"fake-ip-filter: ['+.lan', '*.example.org', 'geosite:cn', 'rule-set:names,rules']}",
		"fake-ip-filter-mode: rule, fake-ip-filter: ['DOMAIN-SUFFIX,lan,real-ip', 'GEOSITE,cn,real-ip', 'RULE-SET,names,real-ip', 'RULE-SET,rules,real-ip', 'MATCH,fake-ip']}",
	} {
		h := r.run(t, text+filter+"\n").naming.handler
		out := make([]byte, 0, wire.UDPSize)
		for _, name := range []string{"www.example.com", "a.lan", "a.test", "x.set.test", "a-word.net", "xx"} {
			var q wire.Query
			if err := q.Set(name, wire.TypeA); err != nil {
				t.Fatal(err)
			}
			if n := testing.AllocsPerRun(100, func() { h.Quick(out, &q, wire.UDPSize) }); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
		n := r.current.Load().naming
		r.dns.mapping.Note(netip.MustParseAddr("203.0.113.7"), []byte("m.test"), 60)
		for _, ip := range []string{"198.18.0.4", "203.0.113.7", "203.0.113.8"} {
			f, to := new(flow.Flow), flow.Addr{IP: netip.MustParseAddr(ip), Port: 443}
			if allocs := testing.AllocsPerRun(100, func() {
				*f = flow.Flow{To: to}
				if err := n.restore(f); err != nil {
					t.Error(err)
				}
			}); allocs != 0 {
				t.Errorf("%s: %v allocations", ip, allocs)
			}
		}
	}
}
