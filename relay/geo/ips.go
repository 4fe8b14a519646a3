package geo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// IPs are the lists of addresses of a GeoIP.dat.
type IPs struct {
	lists lists
}

// OpenIPs indexes data, which IPs keeps: nobody may change it afterwards. The addresses of a list are
// decoded when it is asked for.
func OpenIPs(data []byte) (*IPs, error) {
	l, err := openLists(data)
	if err != nil {
		return nil, err
	}
	return &IPs{l}, nil
}

// IPSet is a list of addresses, or all addresses that are not on it.
type IPSet struct {
	Prefixes *match.Prefixes
	Not      bool
}

// Has says whether a is in the set. An invalid address is in no set, also where Not is true.
func (s IPSet) Has(a netip.Addr) bool {
	return a.IsValid() && s.Prefixes.Has(a) != s.Not
}

// Prefixes returns the addresses of a country or of another list; case makes no difference to its code.
// The error is ErrNoList for a list that is not there.
func (g *IPs) Prefixes(code string) (IPSet, error) {
	entries, err := g.lists.find(code)
	if err != nil {
		return IPSet{}, err
	}
	var b match.PrefixesBuilder
	not, err := eachPrefix(entries, b.Add)
	if err != nil {
		return IPSet{}, fmt.Errorf("%q: %w", code, err)
	}
	return IPSet{b.Build(), not}, nil
}

// eachPrefix calls f for all prefixes of a list; not says that the list is what they leave out.
func eachPrefix(entries [][]byte, f func(netip.Prefix)) (not bool, err error) {
	for i, entry := range entries {
		reversed := false
		r := fields{rest: entry}
		for in, ok := r.next(); ok; in, ok = r.next() {
			switch {
			case in.id == 2 && in.wire == wireBytes:
				p, err := prefixOf(in.bytes)
				if err != nil {
					return false, err
				}
				f(p)
			case in.id == 3 && in.wire == wireVarint:
				reversed = in.number != 0
			case in.id == 2:
				return false, errKind
			}
		}
		if r.err != nil {
			return false, r.err
		}
		if i > 0 && reversed != not {
			return false, errors.New("one entry of the list is reversed and another is not")
		}
		not = reversed
	}
	return not, nil
}

func prefixOf(message []byte) (netip.Prefix, error) {
	var ip []byte
	var bits uint64
	r := fields{rest: message}
	for f, ok := r.next(); ok; f, ok = r.next() {
		switch {
		case f.id == 1 && f.wire == wireBytes:
			ip = f.bytes
		case f.id == 2 && f.wire == wireVarint:
			bits = f.number
		case f.id <= 2:
			return netip.Prefix{}, errKind
		}
	}
	if r.err != nil {
		return netip.Prefix{}, r.err
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok || bits > uint64(a.BitLen()) {
		return netip.Prefix{}, fmt.Errorf("no prefix: %d bytes of address, %d bits", len(ip), bits)
	}
	return netip.PrefixFrom(a, int(bits)), nil
}
