//go:build !race

package wire_test

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

func TestAnsweringAllocatesNothing(t *testing.T) {
	_, m := ask(t, "www.example.test.", dns.TypeA, true)
	p := pack(t, m)
	r := new(dns.Msg).SetReply(m)
	r.Answer = rrs(t, "www.example.test. 300 IN A 192.0.2.1")
	a, err := wire.Scan(pack(t, r))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1232)
	ip := netip.MustParseAddr("198.18.0.4")
	n := testing.AllocsPerRun(100, func() {
		var q wire.Query
		if q.Parse(p) != nil {
			t.Fatal("no question")
		}
		if len(a.Append(buf, &q, 5, 1232)) < 12 || len(q.AppendAddrs(buf, 1, 1232, ip)) < 12 || len(q.AppendEmpty(buf, 3)) < 12 {
			t.Fatal("no answer")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
