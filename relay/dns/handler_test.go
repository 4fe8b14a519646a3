package dns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// newFake lends 198.18.0.4 and on, and fc00::4 and on; names in .real are real.
func newFake(t testing.TB) *Fake {
	t.Helper()
	pool := func(r string) *fakeip.Pool {
		p, err := fakeip.New(fakeip.Config{Range: netip.MustParsePrefix(r)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return &Fake{
		V4: pool("198.18.0.0/16"), V6: pool("fc00::/64"), TTL: 1,
		Real: func(host string) bool { return strings.HasSuffix(host, ".real") },
	}
}

// newHandler fills in what h lacks. Without a resolver name servers know one address of each family for
// every name, and echo the name as TXT.
func newHandler(t testing.TB, h Handler) *Handler {
	t.Helper()
	if h.Resolver == nil {
		h.Resolver = newResolver(t, Config{Servers: servers(t, has("@ 60 A 203.0.113.7", "@ 60 AAAA 2001:db8::7", "@ 60 TXT @"))})
	}
	if h.Log == nil {
		h.Log = new(logbook).logger()
	}
	return &h
}

// answer is what h says of a question.
func answer(t testing.TB, h *Handler, name string, kind uint16) string {
	t.Helper()
	return shown(t, h.Answer(t.Context(), nil, question(t, name, kind), wire.MaxSize))
}

// TestOrder: hosts come first, then fake addresses, then whether clients get IPv6 at all, then what was
// answered before, and last name servers.
func TestOrder(t *testing.T) {
	table := hostsTable(t, listed("mine.test", "192.0.2.1", "2001:db8::1"), listed("four.test", "192.0.2.1"))
	plain := newHandler(t, Handler{Hosts: table, IPv6: true})
	four := newHandler(t, Handler{Hosts: table})
	fake := newHandler(t, Handler{Hosts: table, Fake: newFake(t), IPv6: true})
	fakeFour := newHandler(t, Handler{Hosts: table, Fake: newFake(t)})
	fakeFour.Fake.V6 = nil
	f := func(h *Handler, name string, kind uint16, want string) {
		t.Helper()
		for range 2 { // asked for, and from the cache
			if got := answer(t, h, name, kind); !strings.EqualFold(got, want) { // names are in the client's case
				t.Errorf("%s %d: %s; want %s", name, kind, got, want)
			}
		}
	}
	for _, h := range []*Handler{plain, four, fake, fakeFour} {
		f(h, "mine.test", wire.TypeA, "mine.test. 60 A 192.0.2.1")
		f(h, "MINE.test", wire.TypeAAAA, "mine.test. 60 AAAA 2001:db8::1")
		f(h, "four.test", wire.TypeAAAA, "")
		f(h, "mine.test", wire.TypeHTTPS, "")
		f(h, "mine.test", miekg.TypeTXT, `mine.test. 60 TXT "mine.test."`)
		f(h, "a.test", miekg.TypeTXT, `a.test. 60 TXT "a.test."`)
	}
	f(plain, "a.test", wire.TypeA, "a.test. 60 A 203.0.113.7")
	f(plain, "a.test", wire.TypeAAAA, "a.test. 60 AAAA 2001:db8::7")
	f(four, "a.test", wire.TypeA, "a.test. 60 A 203.0.113.7")
	f(four, "a.test", wire.TypeAAAA, "")
	f(fake, "a.test", wire.TypeA, "a.test. 1 A 198.18.0.4")
	f(fake, "b.test", wire.TypeA, "b.test. 1 A 198.18.0.5")
	f(fake, "A.test", wire.TypeA, "a.test. 1 A 198.18.0.4")
	f(fake, "a.test", wire.TypeAAAA, "a.test. 1 AAAA fc00::4")
	f(fakeFour, "a.test", wire.TypeAAAA, "")
	for _, kind := range []uint16{wire.TypeHTTPS, wire.TypeSVCB, wire.TypeCNAME, wire.TypeANY} {
		f(fake, "a.test", kind, "") // they may hold or lead to real addresses
	}
	f(fake, "a.real", wire.TypeA, "a.real. 60 A 203.0.113.7")
	f(fake, "a.real", wire.TypeAAAA, "a.real. 60 AAAA 2001:db8::7")
	f(fakeFour, "a.real", wire.TypeAAAA, "")
	f(plain, `a\.test`, wire.TypeA, `a\.test. 60 A 203.0.113.7`)
	// What is no host's name gets no fake address, and is not asked for where its like are not.
	for _, name := range []string{`a\.b.test`, `my\032printer.test`, `b\195\188ch.test`} {
		f(fake, name, wire.TypeA, "")
	}
	f(fake, `my\032printer.real`, wire.TypeA, `my\ printer.real. 60 A 203.0.113.7`)
}

// TestNoQuestionsOfOurs are refused: zones, other classes and what is no type.
func TestNoQuestionsOfOurs(t *testing.T) {
	h := newHandler(t, Handler{Fake: newFake(t)})
	f := func(kind, class uint16, want string) {
		t.Helper()
		m := new(miekg.Msg)
		m.Id, m.Question = 7, []miekg.Question{{Name: "version.bind.", Qtype: kind, Qclass: class}}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(t, Respond(t.Context(), h, packet, false)); got != want {
			t.Errorf("type %d, class %d: %s; want %s", kind, class, got, want)
		}
	}
	f(wire.TypeA, miekg.ClassCHAOS, "REFUSED")
	f(miekg.TypeTXT, miekg.ClassCHAOS, "REFUSED")
	f(wire.TypeA, miekg.ClassANY, "REFUSED")
	f(wire.TypeAXFR, wire.ClassIN, "REFUSED")
	f(wire.TypeIXFR, wire.ClassIN, "REFUSED")
	f(wire.TypeOPT, wire.ClassIN, "REFUSED")
	f(0, wire.ClassIN, "FORMERR")
	f(wire.TypeA, wire.ClassIN, "version.bind. 1 A 198.18.0.4")
}

// TestFilterEndsLeases: a name that gets its real addresses now stands for no fake one any more.
func TestFilterEndsLeases(t *testing.T) {
	h := newHandler(t, Handler{Fake: newFake(t), IPv6: true})
	old := map[*fakeip.Pool]netip.Addr{h.Fake.V4: h.Fake.V4.Lease([]byte("a.real")), h.Fake.V6: h.Fake.V6.Lease([]byte("a.real"))}
	if got := answer(t, h, "a.real", wire.TypeA); got != "a.real. 60 A 203.0.113.7" {
		t.Error(got)
	}
	for pool, ip := range old {
		if name, ok := pool.Name(ip); ok {
			t.Errorf("%s still stands for %s", ip, name)
		}
	}
}

// TestAliases: hosts lead to another name, whose addresses may be theirs, fake ones or real ones.
func TestAliases(t *testing.T) {
	table := hostsTable(t, listed("to-mine.test", "mine.test"), listed("mine.test", "192.0.2.1"), listed("out.test", "far.test"),
		listed("twice.test", "out.test"), listed("to-real.test", "a.real"), listed("lost.test", "gone.example"), listed("now.test", "zero.test"))
	zones := func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		switch q.Question[0].Name {
		case "far.test.", "a.real.":
			return has("@ 20 A 203.0.113.7", "@ 20 AAAA 2001:db8::7")(ctx, q)
		case "zero.test.":
			return has("@ 0 A 203.0.113.9")(ctx, q)
		}
		return reply(q, miekg.RcodeNameError), nil
	}
	resolver := newResolver(t, Config{Servers: servers(t, zones), Hosts: table})
	plain := newHandler(t, Handler{Resolver: resolver, Hosts: table, IPv6: true, Mapping: NewMapping()})
	fake := newHandler(t, Handler{Resolver: resolver, Hosts: table, Fake: newFake(t)})
	f := func(h *Handler, name string, kind uint16, want string) {
		t.Helper()
		if got := answer(t, h, name, kind); got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	f(plain, "to-mine.test", wire.TypeA, "to-mine.test. 60 CNAME mine.test., mine.test. 60 A 192.0.2.1")
	f(plain, "to-mine.test", wire.TypeAAAA, "to-mine.test. 60 CNAME mine.test.")
	f(plain, "to-mine.test", wire.TypeCNAME, "to-mine.test. 60 CNAME mine.test.")
	f(plain, "out.test", wire.TypeA, "out.test. 20 CNAME far.test., far.test. 20 A 203.0.113.7")
	f(plain, "out.test", wire.TypeAAAA, "out.test. 20 CNAME far.test., far.test. 20 AAAA 2001:db8::7")
	f(plain, "twice.test", wire.TypeA, "twice.test. 20 CNAME far.test., far.test. 20 A 203.0.113.7")
	f(plain, "lost.test", wire.TypeA, "NXDOMAIN")
	f(plain, "now.test", wire.TypeA, "now.test. 0 CNAME zero.test., zero.test. 0 A 203.0.113.9")
	f(fake, "out.test", wire.TypeA, "out.test. 1 CNAME far.test., far.test. 1 A 198.18.0.4")
	f(fake, "twice.test", wire.TypeA, "twice.test. 1 CNAME far.test., far.test. 1 A 198.18.0.4")
	f(fake, "out.test", wire.TypeAAAA, "out.test. 60 CNAME far.test.")
	f(fake, "to-real.test", wire.TypeA, "to-real.test. 20 CNAME a.real., a.real. 20 A 203.0.113.7")
	f(fake, "to-mine.test", wire.TypeA, "to-mine.test. 60 CNAME mine.test., mine.test. 60 A 192.0.2.1")
	if name, ok := fake.Fake.V4.Name(netip.MustParseAddr("198.18.0.4")); name != "far.test" {
		t.Errorf("%q, %v", name, ok)
	}
	if name, ok := plain.Mapping.Name(netip.MustParseAddr("203.0.113.7")); name != "far.test" {
		t.Errorf("%q, %v", name, ok)
	}
}

// TestNote: what is answered is remembered as given out, from the cache too, and only addresses.
func TestNote(t *testing.T) {
	h := newHandler(t, Handler{Mapping: NewMapping(), IPv6: true})
	f := func(name string, kind uint16, ip string) {
		t.Helper()
		answer(t, h, name, kind)
		h.Mapping.Note(netip.MustParseAddr(ip), []byte("other.test"), 60)
		answer(t, h, name, kind)
		if got, _ := h.Mapping.Name(netip.MustParseAddr(ip)); got != name {
			t.Errorf("%s: %q; want %s", ip, got, name)
		}
	}
	f("a.test", wire.TypeA, "203.0.113.7")
	f("b.test", wire.TypeAAAA, "2001:db8::7")
}

// TestNoAnswer: who is not answered gets SERVFAIL, and the log has the reason.
func TestNoAnswer(t *testing.T) {
	h := newHandler(t, Handler{Resolver: newResolver(t, Config{Servers: servers(t, fails("unreachable"))})})
	if got := answer(t, h, "a.test", wire.TypeA); got != "SERVFAIL" {
		t.Error(got)
	}
	limited := h.Answer(t.Context(), nil, question(t, "a.test", wire.TypeA), 512)
	if got := shown(t, limited); got != "SERVFAIL" {
		t.Error(got)
	}
}

// TestReverse: addresses that were given out have names.
func TestReverse(t *testing.T) {
	table := hostsTable(t, listed("mine.test", "192.0.2.1", "2001:db8::1"), listed("+.wild.test", "192.0.2.2"))
	ptr := zone(func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		return reply(q, miekg.RcodeSuccess, "@ 60 PTR upstream.test."), nil
	})
	h := newHandler(t, Handler{
		Resolver: newResolver(t, Config{Servers: servers(t, ptr)}), Hosts: table, Fake: newFake(t), IPv6: true,
	})
	h.Fake.V4.Lease([]byte("four.test"))
	h.Fake.V6.Lease([]byte("six.test"))
	f := func(ip, want string) {
		t.Helper()
		name, err := miekg.ReverseAddr(ip)
		if err != nil {
			t.Fatal(err)
		}
		if want != "NXDOMAIN" {
			want = name + " " + want
		}
		if got := answer(t, h, name, wire.TypePTR); got != want {
			t.Errorf("%s: %s; want %s", ip, got, want)
		}
	}
	f("192.0.2.1", "60 PTR mine.test.")
	f("2001:db8::1", "60 PTR mine.test.")
	f("127.0.0.1", "60 PTR localhost.")
	f("198.18.0.4", "1 PTR four.test.")
	f("198.18.0.5", "NXDOMAIN")
	f("198.18.0.0", "NXDOMAIN")
	f("fc00::4", "1 PTR six.test.")
	f("192.0.2.2", "60 PTR upstream.test.")
	f("2001:db8::2", "60 PTR upstream.test.")
}

// TestReverseAddr reads what is the name of an address, and nothing else.
func TestReverseAddr(t *testing.T) {
	six := strings.TrimSuffix(strings.Repeat("0.", 32), ".")
	f := func(name, want string) {
		t.Helper()
		ip, ok := reverseAddr([]byte(name))
		if got := fmt.Sprint(ip); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, ok, want)
		}
	}
	f("1.2.0.192.in-addr.arpa", "192.0.2.1")
	f("255.255.255.255.in-addr.arpa", "255.255.255.255")
	f("0.0.0.0.in-addr.arpa", "0.0.0.0")
	f("1"+six[1:]+".ip6.arpa", "::1")
	f(six[:62]+"f.ip6.arpa", "f000::")
	for _, name := range []string{
		"", "in-addr.arpa", ".in-addr.arpa", "2.0.192.in-addr.arpa", "1.1.2.0.192.in-addr.arpa", "256.2.0.192.in-addr.arpa",
		"0001.2.0.192.in-addr.arpa", "1..0.192.in-addr.arpa", "x.2.0.192.in-addr.arpa", "-1.2.0.192.in-addr.arpa",
		"lb._dns-sd._udp.1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa.test", six[2:] + ".ip6.arpa", "0." + six + ".ip6.arpa",
		"g" + six[1:] + ".ip6.arpa", "0" + six[:62] + ".ip6.arpa", strings.Repeat("00.", 21) + ".ip6.arpa", "ip6.arpa",
	} {
		f(name, "")
	}
}

func FuzzReverseAddr(f *testing.F) {
	for _, ip := range []string{"192.0.2.1", "::", "2001:db8::1", "198.18.0.255"} {
		name, err := miekg.ReverseAddr(ip)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSuffix(name, "."))
	}
	f.Add("01.2.0.192.in-addr.arpa")
	f.Fuzz(func(t *testing.T, name string) {
		ip, ok := reverseAddr([]byte(name))
		if !ok {
			return
		}
		back, err := miekg.ReverseAddr(ip.String())
		if ip.Is4In6() { // which is written as IPv4
			return
		}
		if err != nil || strings.TrimSuffix(back, ".") != name && !strings.Contains("."+name, ".0") {
			t.Errorf("%q is %s, which is %q, %v", name, ip, back, err)
		}
	})
}
