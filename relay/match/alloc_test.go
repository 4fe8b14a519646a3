//go:build !race

package match

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// allocates checks that f, which says what it found, does so without allocating.
func allocates(t *testing.T, what string, f func() bool) {
	t.Helper()
	if !f() {
		t.Errorf("%s: not what was to be measured", what)
	}
	if n := testing.AllocsPerRun(100, func() { f() }); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

func TestAskingAllocatesNothing(t *testing.T) {
	l := list{patterns: []string{"+.a.test", "b.*.test", "*.c.*.d.test", "f.*"}, keywords: []string{"keyword"}}
	d := l.build(t, rand.New(rand.NewPCG(1, 1)))
	var n Name
	has := func(host string) bool { n.Set(host); return d.Has(&n) }
	allocates(t, "a hit", func() bool { return has("www.a.test") })
	allocates(t, "a miss", func() bool { return !has("www.example.org") })
	allocates(t, "a star", func() bool { return has("b.x.test") })
	allocates(t, "many stars", func() bool { return has("x.c.y.d.test") })
	allocates(t, "stars that miss", func() bool { return !has("x.y.z.d.test") })
	allocates(t, "a star at the root", func() bool { return has("f.x") })
	allocates(t, "a keyword", func() bool { return has("a-keyword.org") })

	x, k := NewIndex(), NewKeywords()
	for i := range int32(10) {
		x.Add("a.test", i)
		k.Add("a.te", i)
	}
	if err := x.Build(); err != nil {
		t.Fatal(err)
	}
	k.Build()
	allocates(t, "Exact", func() bool { n.Set("a.test"); return x.Exact(&n, 5, 99) == 5 })
	allocates(t, "Suffix", func() bool { n.Set("b.a.test"); return x.Suffix(&n, 5, 99) == 5 })
	allocates(t, "First", func() bool { return k.First("b.a.test", 5, 99) == 5 })
	allocates(t, "Glob", func() bool { return Glob("*.t?st", "a.test") })
	allocates(t, "HasSuffix", func() bool { return HasSuffix("a.test", "test") })
}

func TestAskingForAddressesAllocatesNothing(t *testing.T) {
	var b PrefixesBuilder
	var x PrefixIndex
	for i, p := range []string{"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "2001:db8:1::/48"} {
		b.Add(netip.MustParsePrefix(p))
		x.Add(netip.MustParsePrefix(p), int32(i))
	}
	p := b.Build()
	x.Build()
	v4, v6 := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("2001:db8:1::1")
	inside := netip.AddrFrom16(v4.As16())
	allocates(t, "Has IPv4", func() bool { return p.Has(v4) })
	allocates(t, "Has IPv4 inside IPv6", func() bool { return p.Has(inside) })
	allocates(t, "Has IPv6", func() bool { return p.Has(v6) && !p.Has(netip.IPv6Unspecified()) })
	allocates(t, "First IPv4", func() bool { return x.First(v4, 0, 99) == 0 && x.First(v4, 1, 99) == 1 })
	allocates(t, "First IPv6", func() bool { return x.First(v6, 3, 99) == 3 && x.First(v6, 4, 99) == 99 })
}

// TestAddBytesAllocatesNothing adds into the room that Grow prepared.
func TestAddBytesAllocatesNothing(t *testing.T) {
	var b DomainsBuilder
	pattern := []byte("+.example.test")
	b.Grow(200, 200*len(pattern))
	allocates(t, "AddBytes", func() bool { return b.AddBytes(pattern) == nil })
}
