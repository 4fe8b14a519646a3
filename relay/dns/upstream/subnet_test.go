package upstream

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// withOptions is a question with EDNS that has options, or without where there is nil.
func withOptions(t testing.TB, options []dns.EDNS0) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA)
	m.Id = callerID
	if options != nil {
		m.SetEdns0(1400, true)
		m.IsEdns0().Option = options
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWithSubnet(t *testing.T) {
	old := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 8, Address: []byte{10, 0, 0, 0}}
	cookie := &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}
	f := func(prefix string, always bool, options []dns.EDNS0, want ...string) {
		t.Helper()
		s := &nameserver.Server{SubnetAlways: always}
		if prefix != "" {
			s.Subnet = netip.MustParsePrefix(prefix)
		}
		query := withOptions(t, options)
		before := bytes.Clone(query)
		out := withSubnet(query, s)
		if !bytes.Equal(query, before) {
			t.Errorf("%s: the query was changed", prefix)
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil {
			t.Fatalf("%s: %v", prefix, err)
		}
		if again, err := m.Pack(); err != nil || !bytes.Equal(again, out) {
			t.Errorf("%s: another library packs it as\n%x, not\n%x", prefix, again, out)
		}
		var got []string
		size, do := uint16(0), false
		if opt := m.IsEdns0(); opt != nil {
			size, do = opt.UDPSize(), opt.Do()
			for _, o := range opt.Option {
				got = append(got, o.String())
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: options %q; want %q", prefix, got, want)
			return
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: options %q; want %q", prefix, got, want)
			}
		}
		switch {
		case options != nil && (size != 1400 || !do):
			t.Errorf("%s: the rest of EDNS is lost", prefix)
		}
		if options == nil {
			return
		}
		if out := withSubnet(out, &nameserver.Server{Subnet: netip.MustParsePrefix("203.0.113.0/24")}); prefix != "" {
			if m.Unpack(out); m.IsEdns0().Option[len(want)-1].String() != want[len(want)-1] {
				t.Errorf("%s: the subnet was replaced", prefix)
			}
		}
	}
	none := []dns.EDNS0{}
	f("", false, nil)
	f("", true, []dns.EDNS0{old}, "10.0.0.0/8/0")
	f("192.0.2.0/24", false, nil) // without EDNS there is none
	f("192.0.2.0/24", false, none, "192.0.2.0/24/0")
	f("192.0.2.255/25", false, none, "192.0.2.128/25/0")
	f("192.0.2.1/32", false, none, "192.0.2.1/32/0")
	f("0.0.0.0/0", false, none, "0.0.0.0/0/0")
	f("2001:db8:1:2::/56", false, none, "[2001:db8:1::]/56/0")
	f("2001:db8::1/128", false, none, "[2001:db8::1]/128/0")
	f("192.0.2.0/24", false, []dns.EDNS0{cookie}, "0123456789abcdef", "192.0.2.0/24/0")
	f("192.0.2.0/24", false, []dns.EDNS0{old, cookie}, "10.0.0.0/8/0", "0123456789abcdef")
	f("192.0.2.0/24", true, []dns.EDNS0{old, cookie}, "0123456789abcdef", "192.0.2.0/24/0")
}

func TestWithSubnetLeavesWhatItCannotRead(t *testing.T) {
	s := &nameserver.Server{Subnet: netip.MustParsePrefix("192.0.2.0/24")}
	good := withOptions(t, nil)
	for _, query := range [][]byte{nil, good[:5], good[:len(good)-1], answerTo(t, good, nil)} {
		if out := withSubnet(query, s); !bytes.Equal(out, query) {
			t.Errorf("%x became %x", query, out)
		}
	}
}

// Every upstream sends the subnet of its server.
func TestNewSendsTheSubnet(t *testing.T) {
	leak.Check(t)
	subnets := make(chan string, 1)
	addr := serveDNS(t, func(w dns.ResponseWriter, m *dns.Msg) {
		got := ""
		for _, o := range m.IsEdns0().Option {
			got += o.String()
		}
		subnets <- got
		addrOf(t, "192.0.2.1")(w, m)
	})
	for _, scheme := range []nameserver.Scheme{nameserver.UDP, nameserver.TCP} {
		for _, want := range []string{"", "198.51.100.0/24"} {
			s := at(scheme, addr)
			if want != "" {
				s.Subnet = netip.MustParsePrefix(want)
				want += "/0"
			}
			u := New(s, straight())
			mustAsk(t, u, "a.example", dns.TypeA)
			if got := <-subnets; got != want {
				t.Errorf("%s: %q; want %q", s, got, want)
			}
			u.Close()
		}
	}
}

func FuzzWithSubnet(f *testing.F) {
	f.Add(withOptions(f, nil), false)
	f.Add(withOptions(f, []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "00"}}), true)
	f.Fuzz(func(t *testing.T, query []byte, always bool) {
		s := &nameserver.Server{Subnet: netip.MustParsePrefix("192.0.2.0/24"), SubnetAlways: always}
		out := withSubnet(query, s)
		if bytes.Equal(out, query) {
			return
		}
		var q wire.Query
		if err := q.Parse(out); err != nil || !q.EDNS {
			t.Fatalf("%x became %x: %v", query, out, err)
		}
		if again := withSubnet(out, s); !always && !bytes.Equal(again, out) {
			t.Fatalf("%x became %x", out, again)
		}
	})
}
