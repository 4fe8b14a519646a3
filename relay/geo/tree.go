package geo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

var errTree = errors.New("its search tree is broken")

const (
	maxPlaces = 20 << 20 // that a walk may come to
	// maxSharing is how often a walk may come to a node, on the average. In the files we know a node
	// hangs in one place; but equal branches could be stored once, and twenty levels of that would be a
	// million networks out of few bytes.
	maxSharing = 4
)

// tree is the search tree of an .mmdb file: nodes of two records each, in one row. A record is the
// number of a node; the number of nodes where there is no data; or, beyond that, a place in the data.
//
// The reader of the library walks too, but a hostile tree keeps it busy for ever without a word to
// its caller, and it takes networks that share the record of all of IPv4 for aliases.
type tree struct {
	nodes []byte
	size  uint // bits of a record
	count uint
	is4   bool
	v4    uint // the record at ::/96
}

// gap is what lies between the nodes and the data.
const gap = 16

func openTree(data []byte, count, size, version uint) (*tree, error) {
	if version != 4 && version != 6 {
		return nil, fmt.Errorf("addresses of version %d", version)
	}
	if size != 24 && size != 28 && size != 32 {
		return nil, fmt.Errorf("records of %d bits", size)
	}
	if uint64(count) > uint64(len(data))/uint64(size/4) {
		return nil, errCut
	}
	t := &tree{nodes: data[:count*(size/4)], size: size, count: count, is4: version == 4}
	for i := 0; i < 96 && !t.is4 && t.v4 < count; i++ {
		t.v4, _ = t.children(t.v4)
	}
	return t, nil
}

// children are the two records of a node.
func (t *tree) children(node uint) (left, right uint) {
	switch b := t.nodes[node*(t.size/4):]; t.size {
	case 24:
		return uint(b[0])<<16 | uint(b[1])<<8 | uint(b[2]), uint(b[3])<<16 | uint(b[4])<<8 | uint(b[5])
	case 28:
		return uint(b[3]>>4)<<24 | uint(b[0])<<16 | uint(b[1])<<8 | uint(b[2]),
			uint(b[3]&15)<<24 | uint(b[4])<<16 | uint(b[5])<<8 | uint(b[6])
	default:
		return uint(binary.BigEndian.Uint32(b)), uint(binary.BigEndian.Uint32(b[4:]))
	}
}

// place is a record and the prefix it stands for.
type place struct {
	record uint
	bits   int
	hi, lo uint64 // the address
}

// walk calls f for all networks that have data, in order; record is their place in the data. IPv4 in
// an IPv6 tree comes out as IPv4, and once: where other places lead there they are passed over.
func (t *tree) walk(f func(p netip.Prefix, record uint) error) error {
	left := min(maxPlaces, maxSharing*(2*t.count+1))
	stack := make([]place, 1, 130) // a place for every bit, and their siblings
	if t.is4 {
		stack[0].bits = 96
	}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if left == 0 {
			return fmt.Errorf("%w: it has too many networks for its size", errTree)
		}
		left--
		in4 := at.hi == 0 && at.lo>>32 == 0
		switch {
		case at.record == t.count, at.record == t.v4 && at.record < t.count && !in4:
		case at.record >= t.count+gap:
			if err := t.networks(at, in4, f); err != nil {
				return err
			}
		case at.record > t.count, at.bits == 128:
			return errTree
		default:
			l, r := t.children(at.record)
			stack = append(stack, at.below(r, true), at.below(l, false))
		}
	}
	return nil
}

// below is the place one bit further on.
func (at place) below(record uint, one bool) place {
	at.record = record
	if one && at.bits < 64 {
		at.hi |= 1 << (63 - at.bits)
	} else if one {
		at.lo |= 1 << (127 - at.bits)
	}
	at.bits++
	return at
}

// networks calls f for the network of a place. There are two at the beginning of the tree: IPv4 up to
// 0.0.0.1 is also where :: and ::1 stand, and a wide network holds all of IPv4 and more.
func (t *tree) networks(at place, in4 bool, f func(netip.Prefix, uint) error) error {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], at.hi)
	binary.BigEndian.PutUint64(b[8:], at.lo)
	record := at.record - t.count - gap
	if in4 {
		a := netip.AddrFrom4([4]byte(b[12:]))
		err := f(netip.PrefixFrom(a, max(0, at.bits-96)), record)
		if err != nil || t.is4 || at.lo > 1 {
			return err
		}
	}
	return f(netip.PrefixFrom(netip.AddrFrom16(b), at.bits), record)
}
