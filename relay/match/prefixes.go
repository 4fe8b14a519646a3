package match

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// address is an address as a number; IPv4 has only the lower half of it.
type address struct{ hi, lo uint64 }

func addressOf(a netip.Addr) (n address, is4 bool) {
	if a.Is4() {
		b := a.As4()
		return address{lo: uint64(binary.BigEndian.Uint32(b[:]))}, true
	}
	b := a.As16()
	return address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, false
}

func (a address) addr(is4 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	if is4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func (a address) compare(b address) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

func (a address) less(b address) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next is the address after a; that after the last one is the first.
func (a address) next() address {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a
}

// last is the last address of p.
func last(p netip.Prefix) address {
	a, is4 := addressOf(p.Addr())
	free := 128 - p.Bits()
	if is4 {
		free = 32 - p.Bits()
	}
	if free >= 64 {
		a.lo = ^uint64(0)
		if free > 64 {
			a.hi |= 1<<(free-64) - 1
		}
		return a
	}
	a.lo |= 1<<free - 1
	return a
}

// Unmap turns a prefix of IPv4 inside IPv6 into that of IPv4, and clears the bits behind it.
func Unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

type span struct{ from, to address }

// span4 is span for IPv4, which most spans are.
type span4 struct{ from, to uint32 }

// Prefixes is an immutable set of addresses.
type Prefixes struct {
	v4    []span4
	v6    []span
	count int
}

// PrefixesBuilder collects the prefixes and ranges of a set.
type PrefixesBuilder struct {
	v4    []span4
	v6    []span
	count int
}

// Add adds the addresses of p; an invalid prefix has none.
func (b *PrefixesBuilder) Add(p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	p = Unmap(p)
	from, is4 := addressOf(p.Addr())
	b.add(span{from, last(p)}, is4)
}

// AddRange adds the addresses from first to last, both of one family; it says whether they are and
// stand in order.
func (b *PrefixesBuilder) AddRange(first, last netip.Addr) bool {
	from, is4 := addressOf(first.Unmap())
	to, also4 := addressOf(last.Unmap())
	if !first.IsValid() || !last.IsValid() || is4 != also4 || to.less(from) {
		return false
	}
	b.add(span{from, to}, is4)
	return true
}

func (b *PrefixesBuilder) add(s span, is4 bool) {
	b.count++
	if is4 {
		b.v4 = append(b.v4, span4{uint32(s.from.lo), uint32(s.to.lo)})
	} else {
		b.v6 = append(b.v6, s)
	}
}

// Len is the number of prefixes and ranges so far.
func (b *PrefixesBuilder) Len() int { return b.count }

// SetLen makes n the Len of the set, as that of DomainsBuilder does.
func (b *PrefixesBuilder) SetLen(n int) { b.count = n }

// Build ends the adding.
func (b *PrefixesBuilder) Build() *Prefixes {
	slices.SortFunc(b.v4, func(x, y span4) int { return cmp.Compare(x.from, y.from) })
	slices.SortFunc(b.v6, func(x, y span) int { return x.from.compare(y.from) })
	v4, v6 := b.v4[:0], b.v6[:0]
	for _, s := range b.v4 {
		if n := len(v4); n > 0 && (s.from <= v4[n-1].to || s.from == v4[n-1].to+1) {
			v4[n-1].to = max(v4[n-1].to, s.to)
		} else {
			v4 = append(v4, s)
		}
	}
	for _, s := range b.v6 {
		if n := len(v6); n > 0 && (!v6[n-1].to.less(s.from) || s.from == v6[n-1].to.next()) {
			if v6[n-1].to.less(s.to) {
				v6[n-1].to = s.to
			}
		} else {
			v6 = append(v6, s)
		}
	}
	return &Prefixes{slices.Clip(v4), slices.Clip(v6), b.count}
}

// Len is the number of prefixes and ranges that were added.
func (p *Prefixes) Len() int {
	if p == nil {
		return 0
	}
	return p.count
}

// Has says whether a is in the set. An invalid address is in none; IPv4 inside IPv6 is IPv4.
func (p *Prefixes) Has(a netip.Addr) bool {
	if p == nil || !a.IsValid() {
		return false
	}
	n, is4 := addressOf(a.Unmap())
	if is4 {
		return has4(p.v4, uint32(n.lo))
	}
	lo, hi := 0, len(p.v6)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if p.v6[mid].to.less(n) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(p.v6) && !n.less(p.v6[lo].from)
}

func has4(spans []span4, n uint32) bool {
	lo, hi := 0, len(spans)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if spans[mid].to < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(spans) && spans[lo].from <= n
}

// Ranges are the first and the last address of every gapless part of the set, in order, IPv4 before
// IPv6.
func (p *Prefixes) Ranges() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		for _, s := range p.v4 {
			if !yield(address{lo: uint64(s.from)}.addr(true), address{lo: uint64(s.to)}.addr(true)) {
				return
			}
		}
		for _, s := range p.v6 {
			if !yield(s.from.addr(false), s.to.addr(false)) {
				return
			}
		}
	}
}

// All are the fewest prefixes that make up the set, in order, IPv4 before IPv6.
func (p *Prefixes) All() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for first, end := range p.Ranges() {
			to, _ := addressOf(end)
			for {
				part := widest(first, to)
				if !first.Is4In6() && !yield(part) { // those are asked for as IPv4, and not in the set
					return
				}
				done := last(part)
				if done == to {
					break
				}
				first = done.next().addr(first.Is4())
			}
		}
	}
}

// widest is the largest prefix that begins with first and does not go beyond to.
func widest(first netip.Addr, to address) netip.Prefix {
	p := netip.PrefixFrom(first, first.BitLen())
	for p.Bits() > 0 {
		wider := netip.PrefixFrom(first, p.Bits()-1)
		if wider.Masked().Addr() != first || to.less(last(wider)) {
			break
		}
		p = wider
	}
	return p
}

// PrefixIndex finds the smallest number that was given to a prefix which holds an address.
type PrefixIndex struct {
	v4, v6 prefixTree
}

// prefixTree are prefixes in order; each knows the next wider one around it.
type prefixTree struct {
	from  []address
	nodes []prefixNode
}

type prefixNode struct {
	to      address
	parent  int32 // -1 for none
	min     int32 // of all numbers here and in what is around
	numbers []int32
}

// Add gives a number to p. Numbers are given in ascending order. An invalid prefix holds no address.
func (x *PrefixIndex) Add(p netip.Prefix, number int32) {
	if !p.IsValid() {
		return
	}
	p = Unmap(p)
	t := &x.v6
	from, is4 := addressOf(p.Addr())
	if is4 {
		t = &x.v4
	}
	t.from = append(t.from, from)
	t.nodes = append(t.nodes, prefixNode{to: last(p), min: number})
}

// Build ends the adding.
func (x *PrefixIndex) Build() {
	x.v4.build()
	x.v6.build()
}

func (t *prefixTree) build() {
	order := make([]int32, len(t.nodes))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { // the wider first, then by number
		return cmp.Or(t.from[a].compare(t.from[b]), t.nodes[b].to.compare(t.nodes[a].to), cmp.Compare(t.nodes[a].min, t.nodes[b].min))
	})
	sorted := prefixTree{from: make([]address, 0, len(order)), nodes: make([]prefixNode, 0, len(order))}
	for _, i := range order {
		from, node := t.from[i], t.nodes[i]
		n := len(sorted.nodes)
		if n > 0 && sorted.from[n-1] == from && sorted.nodes[n-1].to == node.to {
			sorted.nodes[n-1].numbers = append(sorted.nodes[n-1].numbers, node.min)
			continue
		}
		node.parent = sorted.around(int32(n-1), from)
		node.numbers = []int32{node.min}
		if node.parent >= 0 {
			node.min = min(node.min, sorted.nodes[node.parent].min)
		}
		sorted.from, sorted.nodes = append(sorted.from, from), append(sorted.nodes, node)
	}
	*t = sorted
}

// around is the narrowest prefix at or above node i that holds a.
func (t *prefixTree) around(i int32, a address) int32 {
	for i >= 0 && t.nodes[i].to.less(a) {
		i = t.nodes[i].parent
	}
	return i
}

// First returns the smallest number from from on of a prefix that holds a, or none.
func (x *PrefixIndex) First(a netip.Addr, from, none int32) int32 {
	if !a.IsValid() {
		return none
	}
	n, is4 := addressOf(a.Unmap())
	t := &x.v6
	if is4 {
		t = &x.v4
	}
	lo, hi := 0, len(t.from)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.less(t.from[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	i := t.around(int32(lo-1), n)
	if i < 0 || t.nodes[i].min >= none {
		return none
	}
	if m := t.nodes[i].min; m >= from {
		return m
	}
	for ; i >= 0; i = t.nodes[i].parent {
		none = min(none, firstFrom(t.nodes[i].numbers, from, none))
	}
	return none
}
