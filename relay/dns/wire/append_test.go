package wire_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// TestNames are written as another library reads them; what is no name is no record.
func TestNames(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		q, _ := ask(t, "4.0.18.198.in-addr.arpa.", dns.TypePTR, true)
		got := ""
		if m := unpack(t, q.AppendName(nil, wire.TypePTR, 1, wire.UDPSize, name)); len(m.Answer) == 1 {
			got = m.Answer[0].(*dns.PTR).Ptr
		}
		if got != want {
			t.Errorf("%q is written as %q; want %q", name, got, want)
		}
		q, _ = ask(t, "a.test.", dns.TypeA, true)
		addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}
		m := unpack(t, q.AppendAlias(nil, 1, wire.UDPSize, name, addrs))
		if want == "" {
			if len(m.Answer) != 0 {
				t.Errorf("%q: %v", name, m)
			}
			return
		}
		if len(m.Answer) != 3 || m.Answer[0].(*dns.CNAME).Target != want || m.Answer[2].Header().Name != want ||
			m.Answer[1].(*dns.A).A.String() != "192.0.2.1" || m.Answer[2].(*dns.A).A.String() != "192.0.2.2" {
			t.Errorf("%q: %v", name, m)
		}
	}
	label := strings.Repeat("x", 63)
	longest := label + "." + label + "." + label + "." + label[:61]
	f("fake.test", "fake.test.")
	f("Fake.TEST.", "fake.test.")
	f("a", "a.")
	f(".", ".")
	f("", ".")
	f("_dns.a-b.test", "_dns.a-b.test.")
	f(`a\b.test`, `a\\b.test.`) // every byte is itself
	f(label+".test", label+".test.")
	f(longest, longest+".")
	f("x"+label+".test", "")
	f(longest+"x", "")
	f("a..test", "")
	f(".a", "")
	f("a..", "")
	f("..", "")
}

// TestLongNames are left out where the client takes less.
func TestLongNames(t *testing.T) {
	q, _ := ask(t, "4.0.18.198.in-addr.arpa.", dns.TypePTR, true)
	if m := unpack(t, q.AppendName(nil, wire.TypePTR, 1, 60, "a.name.that.is.somewhat.longer.test")); !m.Truncated || len(m.Answer) != 0 {
		t.Errorf("%v", m)
	}
}
