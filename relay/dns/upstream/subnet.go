package upstream

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// subnetted tells its server which network asks (RFC 7871).
type subnetted struct {
	Upstream
	server *nameserver.Server
}

// Exchange asks query with the subnet in it.
func (u *subnetted) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	return u.Upstream.Exchange(ctx, withSubnet(query, u.server))
}

const (
	optionSubnet = 8  // RFC 7871, section 6
	optHead      = 11 // bytes of an OPT record without options
)

// withSubnet returns query with the subnet of s in its OPT record, which is the last record where there
// is one. query itself stays as it is. One that has a subnet already keeps it, but where s says otherwise.
func withSubnet(query []byte, s *nameserver.Server) []byte {
	var q wire.Query
	if !s.Subnet.IsValid() || q.Parse(query) != nil || !q.EDNS {
		return query // without EDNS there is no room for it, and the server may not know it
	}
	opt := findOPT(query)
	if opt < 0 {
		return query
	}
	options := query[min(opt+optHead, len(query)):]
	kept, had := cutSubnet(options)
	if had && !s.SubnetAlways {
		return query
	}
	kept = appendSubnet(kept, s)
	size := opt + optHead + len(kept)
	if size > wire.MaxSize {
		return query
	}
	out := append(make([]byte, 0, size), query[:opt]...)
	out = append(out, query[opt:opt+optHead-2]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(kept)))
	return append(out, kept...)
}

// findOPT is where the OPT record of query begins; -1 where it is not the only record, and so perhaps not
// the last. query is well formed and has one.
func findOPT(query []byte) int {
	if binary.BigEndian.Uint16(query[10:]) != 1 {
		return -1
	}
	at := wire.HeaderSize
	for query[at] != 0 {
		at += 1 + int(query[at])
	}
	return at + 1 + 4 // the type and the class
}

// cutSubnet returns options without the subnet, as a slice of its own, and whether there was one.
func cutSubnet(options []byte) (kept []byte, had bool) {
	kept = make([]byte, 0, len(options)+24)
	for len(options) >= 4 {
		end := 4 + int(binary.BigEndian.Uint16(options[2:]))
		if end > len(options) {
			break
		}
		if binary.BigEndian.Uint16(options) == optionSubnet {
			had = true
		} else {
			kept = append(kept, options[:end]...)
		}
		options = options[end:]
	}
	return kept, had
}

// appendSubnet appends the option: its family, its bits, none that the answer is for yet, and as many
// bytes of the address as have bits.
func appendSubnet(dst []byte, s *nameserver.Server) []byte {
	family, ip, bits := byte(1), s.Subnet.Addr(), s.Subnet.Bits()
	if ip.Is6() {
		family = 2
	}
	addr := s.Subnet.Masked().Addr().AsSlice()[:(bits+7)/8]
	dst = slices.Concat(dst, []byte{0, optionSubnet, 0, byte(4 + len(addr)), 0, family, byte(bits), 0})
	return append(dst, addr...)
}
