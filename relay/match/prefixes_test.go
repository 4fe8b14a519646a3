package match

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// window is a run of addresses in blocks of 16, which begin where a block of 16 begins.
type window struct {
	base netip.Addr
	in   []bool // of each address: it is in the set
}

// windows are at the ends of both address spaces and at places in them where a carry goes far.
func windows() []*window {
	all := []*window{}
	for _, w := range []struct {
		base string
		size int
	}{
		{"0.0.0.0", 16},
		{"127.255.255.240", 32},
		{"255.255.255.240", 16},
		{"::", 16},
		{"::ffff:ffff:ffff:fff0", 32},
		{"7fff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", 32},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", 16},
	} {
		all = append(all, &window{netip.MustParseAddr(w.base), make([]bool, w.size)})
	}
	return all
}

func (w *window) addr(i int) netip.Addr {
	a := w.base
	for range i {
		a = a.Next()
	}
	return a
}

// mapped is a, or a as IPv4 inside IPv6.
func mapped(r *rand.Rand, a netip.Addr) netip.Addr {
	if a.Is4() && r.IntN(3) == 0 {
		return netip.AddrFrom16(a.As16())
	}
	return a
}

// put adds some addresses of the window, as a prefix or as a range.
func (w *window) put(t *testing.T, r *rand.Rand, b *PrefixesBuilder) {
	i, k := r.IntN(len(w.in)), r.IntN(len(w.in))
	if r.IntN(2) == 0 {
		bit := r.IntN(5) // of 1 to 16 addresses
		a := mapped(r, w.addr(i))
		b.Add(netip.PrefixFrom(a, a.BitLen()-bit)) // has bits behind it
		i &^= 1<<bit - 1
		k = i + 1<<bit - 1
	} else {
		i, k = min(i, k), max(i, k)
		if i < k && b.AddRange(w.addr(k), w.addr(i)) {
			t.Fatalf("AddRange took %v to %v", w.addr(k), w.addr(i))
		}
		if !b.AddRange(mapped(r, w.addr(i)), mapped(r, w.addr(k))) {
			t.Fatalf("AddRange refused %v to %v", w.addr(i), w.addr(k))
		}
	}
	for ; i <= k; i++ {
		w.in[i] = true
	}
}

// ranges are the gapless parts.
func (w *window) ranges() (all [][2]netip.Addr) {
	for i, in := range w.in {
		switch {
		case in && i > 0 && w.in[i-1]:
			all[len(all)-1][1] = w.addr(i)
		case in:
			all = append(all, [2]netip.Addr{w.addr(i), w.addr(i)})
		}
	}
	return all
}

// prefixes are the fewest that make up the block of size addresses from i on.
func (w *window) prefixes(i, size int) []netip.Prefix {
	if !slices.Contains(w.in[i:i+size], false) {
		return []netip.Prefix{netip.PrefixFrom(w.addr(i), w.base.BitLen()-bits.Len(uint(size))+1)}
	}
	if size == 1 {
		return nil
	}
	return append(w.prefixes(i, size/2), w.prefixes(i+size/2, size/2)...)
}

func TestPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		all := windows()
		var b PrefixesBuilder
		n := r.IntN(30)
		for range n {
			all[r.IntN(len(all))].put(t, r, &b)
		}
		if b.Len() != n {
			t.Fatalf("Len is %d, want %d", b.Len(), n)
		}
		p := b.Build()
		var ranges [][2]netip.Addr
		var prefixes []netip.Prefix
		for _, w := range all {
			for i, in := range w.in {
				if a := mapped(r, w.addr(i)); p.Has(a) != in {
					t.Fatalf("%v: Has(%v) = %v", p, a, !in)
				}
			}
			for _, a := range []netip.Addr{w.base.Prev(), w.addr(len(w.in))} {
				if p.Has(a) { // at the ends of the space: the invalid address
					t.Fatalf("%v: Has(%v)", p, a)
				}
			}
			ranges = append(ranges, w.ranges()...)
			for i := 0; i < len(w.in); i += 16 {
				prefixes = append(prefixes, w.prefixes(i, 16)...)
			}
		}
		checkPrefixes(t, p, n, ranges, prefixes)
	}
}

// checkPrefixes says whether p is made of these, and whether a set made of what it says is the same.
func checkPrefixes(t *testing.T, p *Prefixes, n int, ranges [][2]netip.Addr, prefixes []netip.Prefix) {
	t.Helper()
	if p.Len() != n {
		t.Fatalf("Len is %d, want %d", p.Len(), n)
	}
	if got := slices.Collect(p.All()); !slices.Equal(got, prefixes) {
		t.Fatalf("All are %v, want %v", got, prefixes)
	}
	var got [][2]netip.Addr
	for first, last := range p.Ranges() {
		got = append(got, [2]netip.Addr{first, last})
	}
	if !slices.Equal(got, ranges) {
		t.Fatalf("Ranges are %v, want %v", got, ranges)
	}
}

// randomPrefix is one out of few addresses, often a very short or a very long one.
func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddr(r)
	return netip.PrefixFrom(a, pick(r, r.IntN(a.BitLen()+1), a.BitLen()-r.IntN(5), r.IntN(5)))
}

// randomAddr is one out of few addresses that differ in few bits.
func randomAddr(r *rand.Rand) netip.Addr {
	b := func() byte { return pick[byte](r, 0, 1, 127, 128, 255) }
	switch r.IntN(5) {
	case 0, 1:
		return netip.AddrFrom16([16]byte{0: b(), 7: b(), 8: b(), 15: b()})
	case 2:
		return netip.AddrFrom16([16]byte{10: 255, 11: 255, 12: b(), 15: b()})
	}
	return netip.AddrFrom4([4]byte{b(), 0, b(), b()})
}

// contains is Contains with IPv4 inside IPv6 as IPv4.
func contains(p netip.Prefix, a netip.Addr) bool {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Contains(a.Unmap())
}

// edges are the addresses at and around the ends of a prefix, and some others.
func edges(r *rand.Rand, p netip.Prefix) []netip.Addr {
	to, is4 := p.Addr().AsSlice(), p.Addr().Is4()
	for i := p.Bits(); i < 8*len(to); i++ {
		to[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(to)
	from := p.Masked().Addr()
	all := []netip.Addr{from, from.Prev(), end, end.Next(), randomAddr(r), mapped(r, randomAddr(r))}
	if is4 {
		all = append(all, netip.AddrFrom16(from.As16()))
	}
	return all
}

// TestWidePrefixes has prefixes of all lengths; what All says makes the same set.
func TestWidePrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var b, again PrefixesBuilder
		all := make([]netip.Prefix, r.IntN(8))
		for i := range all {
			all[i] = randomPrefix(r)
			b.Add(all[i])
		}
		p := b.Build()
		prev := netip.Prefix{}
		for q := range p.All() {
			if again.Add(q); prev.IsValid() && prev.Overlaps(q) || q != q.Masked() {
				t.Fatalf("%v: All has %v and %v", all, prev, q)
			}
			prev = q
		}
		back := again.Build()
		for _, q := range append(all, randomPrefix(r)) {
			for _, a := range edges(r, q) {
				want := slices.ContainsFunc(all, func(q netip.Prefix) bool { return contains(q, a) })
				if p.Has(a) != want || back.Has(a) != want {
					t.Fatalf("%v: Has(%v) = %v, and made of All %v", all, a, p.Has(a), back.Has(a))
				}
			}
		}
	}
}

func TestPrefixesOf(t *testing.T) {
	f := func(ranges [][2]string, want ...string) {
		t.Helper()
		var b PrefixesBuilder
		for _, r := range ranges {
			if !b.AddRange(netip.MustParseAddr(r[0]), netip.MustParseAddr(r[1])) {
				t.Errorf("%v refused", r)
			}
		}
		var got []string
		for p := range b.Build().All() {
			got = append(got, p.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: All are %v, want %v", ranges, got, want)
		}
	}
	const last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	// A whole space, in one and in parts that touch.
	f([][2]string{{"0.0.0.0", "255.255.255.255"}}, "0.0.0.0/0")
	f([][2]string{{"128.0.0.0", "255.255.255.255"}, {"0.0.0.0", "127.255.255.255"}}, "0.0.0.0/0")
	f([][2]string{{"::", last}}, "::/0")
	f([][2]string{{"8000::", last}, {"::", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}}, "::/0")
	// The ends of a space do not touch; neither do the last of IPv4 and the first of IPv6.
	f([][2]string{{"255.255.255.255", "255.255.255.255"}, {"0.0.0.0", "0.0.0.0"}}, "0.0.0.0/32", "255.255.255.255/32")
	f([][2]string{{last, last}, {"::", "::"}}, "::/128", last+"/128")
	// Prefixes of 64 bits and about.
	f([][2]string{{"1::", "1:0:0:1:7fff:ffff:ffff:ffff"}}, "1::/64", "1:0:0:1::/65")
	f([][2]string{{"1:0:0:1::", "1:0:0:2:ffff:ffff:ffff:ffff"}}, "1:0:0:1::/64", "1:0:0:2::/64")
	// What stands for IPv4 is no part of a range of IPv6 around it, or nobody could read it back.
	f([][2]string{{"::fffe:ffff:fffe", "::1:0:0:1"}}, "::fffe:ffff:fffe/127", "::1:0:0:0/127")
	f([][2]string{{"::ffff:10.0.0.0", "10.0.0.1"}}, "10.0.0.0/31")
}

func TestNoPrefixes(t *testing.T) {
	var b PrefixesBuilder
	v4, v6, none := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.Addr{}
	inside := netip.AddrFrom16(v4.As16())
	for _, r := range [][2]netip.Addr{
		{v4, v6},
		{v6, v4},
		{inside, v6},
		{netip.IPv6Unspecified(), inside},
		{v4.Next(), inside},
		{v6.Next(), v6},
		{none, none},
		{none, v4},
		{v4, none},
		{none, v6},
		{v6, none},
	} {
		if b.AddRange(r[0], r[1]) {
			t.Errorf("AddRange took %v", r)
		}
	}
	b.Add(netip.Prefix{})
	b.Add(netip.PrefixFrom(v6, 129))
	p := b.Build()
	if checkPrefixes(t, p, 0, nil, nil); p.Has(v6) || p.Has(v4) {
		t.Error("the empty set has something")
	}
	b = PrefixesBuilder{}
	b.Add(netip.MustParsePrefix("0.0.0.0/0"))
	b.Add(netip.MustParsePrefix("::/0"))
	b.SetLen(7)
	p = b.Build()
	if p.Has(none) || !p.Has(v4) || !p.Has(v6) || !p.Has(inside) || p.Len() != 7 {
		t.Errorf("the set of all, of %d, is not that", p.Len())
	}
	for range p.All() {
		break // must be heard
	}
	for range p.Ranges() {
		break
	}
	if p = nil; p.Has(v4) || p.Len() != 0 {
		t.Error("nil has something")
	}
}

func TestPrefixIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 4000 {
		var prefixes []netip.Prefix
		all := number(r, r.IntN(30), func() string {
			p := randomPrefix(r)
			if prefixes = append(prefixes, p); r.IntN(4) == 0 {
				p = pick(r, prefixes...) // once more
			}
			return p.String()
		})
		var x PrefixIndex
		for _, a := range all {
			x.Add(netip.MustParsePrefix(a.text), a.number)
		}
		x.Build()
		for _, p := range append(prefixes, randomPrefix(r)) {
			for _, a := range edges(r, p) {
				from, none := question(r, all)
				want := first(all, from, none, func(text string) bool {
					return contains(netip.MustParsePrefix(text), a)
				})
				if got := x.First(a, from, none); got != want {
					t.Fatalf("%v: First(%v, %d, %d) = %d, want %d", all, a, from, none, got, want)
				}
			}
		}
	}
}

func TestEmptyPrefixIndex(t *testing.T) {
	var x PrefixIndex
	x.Add(netip.Prefix{}, 1)
	x.Build()
	for _, a := range []string{"0.0.0.0", "255.255.255.255", "::", "2001:db8::1"} {
		if got := x.First(netip.MustParseAddr(a), 0, 9); got != 9 {
			t.Errorf("First(%s) = %d", a, got)
		}
	}
}
