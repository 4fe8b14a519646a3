package geo

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func testIPs() string {
	return list("AA", cidr("10.0.0.0/8"), cidr("192.0.2.1/32"), cidr("2001:db8::/32"), cidr("::ffff:198.51.100.0/120")) +
		list("ALL", cidr("0.0.0.0/0")) +
		list("REV", cidr("10.0.0.0/8"), num(3, 1), str(4, "hash")) +
		list("aa", cidr("172.16.0.0/12"))
}

func TestPrefixes(t *testing.T) {
	g, err := OpenIPs([]byte(testIPs()))
	if err != nil {
		t.Fatal(err)
	}
	f := func(code, in, out string) {
		t.Helper()
		set, err := g.Prefixes(code)
		if err != nil {
			t.Errorf("Prefixes(%q): %v", code, err)
			return
		}
		for _, a := range strings.Fields(in) {
			if !set.Has(netip.MustParseAddr(a)) {
				t.Errorf("Prefixes(%q) has not %s", code, a)
			}
		}
		for _, a := range strings.Fields(out) {
			if set.Has(netip.MustParseAddr(a)) {
				t.Errorf("Prefixes(%q) has %s", code, a)
			}
		}
		if set.Has(netip.Addr{}) {
			t.Errorf("Prefixes(%q) has the invalid address", code)
		}
	}
	// Both entries of one code.
	f("Aa", "10.1.2.3 192.0.2.1 2001:db8::1 198.51.100.7 ::ffff:10.0.0.1 172.16.0.1", "192.0.2.2 2001:db9::1 11.0.0.0 198.51.101.0")
	f("all", "0.0.0.0 255.255.255.255", "::1 2001:db8::1")
	f("rev", "11.0.0.0 9.255.255.255 2001:db8::1", "10.0.0.0 10.255.255.255")
	for _, code := range []string{"", "zz"} {
		if _, err := g.Prefixes(code); !errors.Is(err, ErrNoList) {
			t.Errorf("Prefixes(%q) = %v; want ErrNoList", code, err)
		}
	}
}

func TestPrefixesBad(t *testing.T) {
	f := func(what string, entries ...string) {
		t.Helper()
		g, err := OpenIPs([]byte(list("X", append(entries, cidr("10.0.0.0/8"))...)))
		if err == nil {
			_, err = g.Prefixes("x")
		}
		if err == nil || errors.Is(err, ErrNoList) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	f("33 bits", str(2, str(1, "abcd"), num(2, 33)))
	f("129 bits", str(2, str(1, "abcdefghijklmnop"), num(2, 129)))
	f("huge bits", str(2, str(1, "abcd"), num(2, 1<<63+8)))
	f("5 bytes", str(2, str(1, "abcde"), num(2, 8)))
	f("no address", str(2, num(2, 8)))
	f("a domain", site(2, "a.test"))
	f("a keyword", site(0, "word"))
	f("a number", num(2, 1))
	f("cut", str(2, "\x0a\x04abc"))
}

func TestPrefixesMixed(t *testing.T) {
	g, err := OpenIPs([]byte(list("X", cidr("10.0.0.0/8")) + list("X", cidr("11.0.0.0/8"), num(3, 1))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = g.Prefixes("x"); err == nil {
		t.Error("a list that is reversed in a part: want an error")
	}
}

// TestPrefixesRandom compares sets of random prefixes with a search through all of them.
func TestPrefixesRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var entries []string
		var prefixes []netip.Prefix
		for range random.IntN(100) {
			p := randomPrefix(random)
			prefixes = append(prefixes, p)
			entries = append(entries, cidr(p.String()))
		}
		g, err := OpenIPs([]byte(list("X", entries...)))
		if err != nil {
			t.Fatal(err)
		}
		set, err := g.Prefixes("x")
		if err != nil {
			t.Fatal(err)
		}
		for range 500 {
			a := randomAddr(random)
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			if set.Has(a) != want {
				t.Fatalf("Has(%v) = %v of %v", a, !want, prefixes)
			}
		}
	}
}

// randomAddr is near other random addresses, so that prefixes hold some of them.
func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
	}
	b := [16]byte{0x24, 1, byte(r.IntN(2)), byte(r.IntN(256)), byte(r.IntN(256)), 15: byte(r.IntN(256))}
	return netip.AddrFrom16(b)
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddr(r)
	bits := 10 + r.IntN(a.BitLen()-9)
	if bits > 40 {
		bits = 18 + r.IntN(15)
	}
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

func TestRealIPs(t *testing.T) {
	data := real(t, "geoip-lite.dat")
	if err := Check(GeoIPDat, data); err != nil {
		t.Fatal(err)
	}
	g, err := OpenIPs(data)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for code, entries := range g.lists {
		var prefixes []netip.Prefix
		if _, err := eachPrefix(entries, func(p netip.Prefix) { prefixes = append(prefixes, p) }); err != nil {
			t.Fatal(err)
		}
		set, err := g.Prefixes(code)
		if err != nil || set.Prefixes.Len() != len(prefixes) {
			t.Fatalf("%s: %d prefixes of %d, %v", code, set.Prefixes.Len(), len(prefixes), err)
		}
		for range 1000 {
			a := anyAddr(random)
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			if set.Has(a) != want {
				t.Fatalf("%s: Has(%v) = %v", code, a, !want)
			}
		}
	}
}

// anyAddr is any address; of IPv6, one of those that are in use.
func anyAddr(r *rand.Rand) netip.Addr {
	if r.IntN(4) > 0 {
		v := r.Uint32()
		return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	b := [16]byte{0x20 + byte(r.IntN(16))}
	for i := 1; i < 16; i++ {
		b[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(b)
}

func FuzzIPs(f *testing.F) {
	f.Add([]byte(testIPs()), "aa")
	f.Add([]byte(list("x", site(2, "a.test"))), "x")
	f.Fuzz(func(t *testing.T, data []byte, code string) {
		checked := Check(GeoIPDat, data)
		g, err := OpenIPs(data)
		if err != nil {
			if checked == nil {
				t.Fatalf("Check took what OpenIPs did not: %v", err)
			}
			return
		}
		for name := range g.lists {
			set, err := g.Prefixes(name)
			if err != nil && checked == nil && !errors.Is(err, ErrNoList) {
				t.Fatalf("Check took what Prefixes(%q) did not: %v", name, err)
			}
			_ = err == nil && set.Has(netip.IPv6LinkLocalAllNodes())
		}
		_, _ = g.Prefixes(code)
	})
}

func BenchmarkIPs(b *testing.B) {
	data := real(b, "geoip-lite.dat")
	b.ReportAllocs()
	for b.Loop() {
		g, err := OpenIPs(data)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := g.Prefixes("cn"); err != nil {
			b.Fatal(err)
		}
	}
}
