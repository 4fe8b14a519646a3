package fakeip

import (
	"encoding/binary"
	"net/netip"
)

// low is the last eight bytes of an address. Within the addresses that are lent nothing is carried over
// them: either they are all zero in the address of the range, or the range lies within them.
func low(ip netip.Addr) uint64 {
	if ip.Is4() {
		b := ip.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := ip.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// addr is the address of the i-th lease.
func (p *Pool) addr(i int32) netip.Addr {
	n := p.low + uint64(i)
	if p.c.Range.Addr().Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b)
	}
	b := p.c.Range.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b)
}

// index is the number of the lease of ip. ok says whether it is an address that is lent.
func (p *Pool) index(ip netip.Addr) (i int32, ok bool) {
	ip = ip.Unmap()
	if !p.c.Range.Contains(ip) || p.c.Range.Addr().Is6() && !p.sameHigh(ip) {
		return 0, false
	}
	n := low(ip) - p.low
	return int32(n), n < uint64(p.size)
}

// sameHigh says whether the first eight bytes of ip are those of the range's address, as they are in
// all addresses that are lent.
func (p *Pool) sameHigh(ip netip.Addr) bool {
	a, b := ip.As16(), p.c.Range.Addr().As16()
	return [8]byte(a[:8]) == [8]byte(b[:8])
}
