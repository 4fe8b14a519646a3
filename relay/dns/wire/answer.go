package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Answer is a name server's response. It is not changed any more.
type Answer struct {
	// Wire is the message with its id, and without EDNS.
	Wire []byte
	// TTL is for how many seconds it may be kept; 0 is not at all.
	TTL uint32
	// Addrs are the addresses among the answers: of the name that was asked for, or that its aliases lead to.
	Addrs []netip.Addr

	ttls []uint16 // where the records have theirs
}

// What is wrong with a response.
var (
	ErrOther    = errors.New("the response is to another question")
	ErrExtended = errors.New("the server does not speak EDNS as we do")
)

// RCode is the response code.
func (a *Answer) RCode() uint8 { return a.Wire[3] & rcode }

// Flags are those of the header.
func (a *Answer) Flags() uint16 { return binary.BigEndian.Uint16(a.Wire[2:]) }

// Empty says that there is no record among the answers.
func (a *Answer) Empty() bool { return binary.BigEndian.Uint16(a.Wire[6:]) == 0 }

// Answers says why response is no answer to query: another id or question, or no response at all.
// Names are compared without regard to case.
func Answers(query, response []byte) error {
	if len(query) < HeaderSize || len(response) < HeaderSize {
		return ErrFormat
	}
	flags := binary.BigEndian.Uint16(response[2:])
	if response[0] != query[0] || response[1] != query[1] || flags&FlagQR == 0 || flags&opcode != 0 {
		return ErrOther
	}
	if isRefusal(response) {
		return nil
	}
	asked, err := question(query)
	if err != nil {
		return err
	}
	got, err := question(response)
	if err != nil {
		return ErrOther
	}
	if len(asked) != len(got) {
		return ErrOther
	}
	name := len(asked) - 4
	if !bytes.Equal(asked[name:], got[name:]) || !sameName(asked[:name], got[:name]) {
		return ErrOther
	}
	return nil
}

// isRefusal says whether a response is nothing but a header which says that the question was not
// understood: all that some servers answer to EDNS (RFC 6891, section 7).
func isRefusal(p []byte) bool {
	code := p[3] & rcode
	return len(p) == HeaderSize && (code == FormatError || code == NotImplemented) && binary.BigEndian.Uint64(p[4:]) == 0
}

// question returns the bytes of the only question of p.
func question(p []byte) ([]byte, error) {
	if binary.BigEndian.Uint16(p[4:]) != 1 {
		return nil, ErrFormat
	}
	at := HeaderSize
	for at < len(p) && p[at] != 0 {
		if p[at] > 63 {
			return nil, ErrFormat
		}
		at += 1 + int(p[at])
	}
	if at+5 > len(p) || at-HeaderSize >= MaxName {
		return nil, ErrFormat
	}
	return p[HeaderSize : at+5], nil
}

// sameName compares names of the same length. Sizes of labels are no letters: they are below 64.
func sameName(a, b []byte) bool {
	for i, c := range a {
		d := b[i]
		if c == d {
			continue
		}
		if c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

// maxPointers is how many pointers one name may have.
const maxPointers = 64

// skipName returns where the name at start ends. A pointer leads to what stands in front of the piece of the
// name that it ends, and no further forward than that; it does not stand in the question, whose letters are
// going to be another client's, which is all up to questionEnd. Neither does it lead into a TTL, which is
// going to be another too: ttls are where they are.
func skipName(p []byte, start, questionEnd int, ttls []uint16) (end int, err error) {
	end = -1
	length, at, piece, limit := 0, start, start, len(p)
	for range maxPointers + MaxName {
		if at >= limit {
			return 0, ErrFormat
		}
		c := int(p[at])
		size := 1
		switch {
		case c == 0:
		case c < 64:
			size += c
			length += size
		case c >= 0xc0:
			size = 2
		default:
			return 0, ErrFormat
		}
		if length >= MaxName || at+size > limit || end >= 0 && touches(ttls, at, at+size) {
			return 0, ErrFormat
		}
		switch {
		case c == 0:
			return max(end, at+1), nil
		case c < 64:
			at += size
			continue
		}
		to := c&0x3f<<8 | int(p[at+1])
		if to >= piece || to < HeaderSize || at < questionEnd {
			return 0, ErrFormat
		}
		if end < 0 {
			end = at + size
		}
		at, limit, piece = to, piece, to
	}
	return 0, ErrFormat
}

// touches says whether one of ttls, which are in order, shares a byte with from to to.
func touches(ttls []uint16, from, to int) bool {
	i, _ := slices.BinarySearch(ttls, uint16(max(from-3, 0)))
	return i < len(ttls) && int(ttls[i]) < to
}

// record is one resource record of a message.
type record struct {
	at          int // of its name
	kind, class uint16
	ttlAt       int
	ttl         uint32
	data        []byte
	dataAt, end int
}

func readRecord(p []byte, at, questionEnd int, ttls []uint16) (r record, err error) {
	end, err := skipName(p, at, questionEnd, ttls)
	if err != nil {
		return r, err
	}
	if end+10 > len(p) {
		return r, ErrFormat
	}
	r.at = at
	r.kind, r.class = binary.BigEndian.Uint16(p[end:]), binary.BigEndian.Uint16(p[end+2:])
	r.ttlAt, r.ttl = end+4, tameTTL(binary.BigEndian.Uint32(p[end+4:]))
	r.dataAt = end + 10
	r.end = r.dataAt + int(binary.BigEndian.Uint16(p[end+8:]))
	if r.end > len(p) {
		return r, ErrFormat
	}
	r.data = p[r.dataAt:r.end]
	return r, nil
}

// check judges the data of a record whose form is known: that its names lead nowhere else.
func (r *record) check(p []byte, questionEnd int, ttls []uint16) error {
	names, fixed := 0, 0
	switch r.kind {
	case TypeA:
		if len(r.data) != 4 && r.class == ClassIN {
			return ErrFormat
		}
		return nil
	case TypeAAAA:
		if len(r.data) != 16 && r.class == ClassIN {
			return ErrFormat
		}
		return nil
	case TypeCNAME, TypeNS, TypePTR, TypeDNAME:
		names = 1
	case TypeMX:
		names, fixed = 1, 2
	case TypeSRV:
		names, fixed = 1, 6
	case TypeSOA:
		names = 2
	default:
		return nil
	}
	at := r.dataAt + fixed
	for range names {
		if at >= r.end {
			return ErrFormat
		}
		end, err := skipName(p, at, questionEnd, ttls)
		if err != nil {
			return err
		}
		at = end
	}
	if r.kind == TypeSOA {
		at += 20
	}
	if at != r.end {
		return ErrFormat
	}
	return nil
}

// Scan reads a response, which the answer then owns: p is not to be changed any more. Bytes behind the
// last record are left out.
func Scan(p []byte) (*Answer, error) {
	if len(p) < HeaderSize || len(p) > MaxSize {
		return nil, ErrFormat
	}
	if isRefusal(p) {
		return &Answer{Wire: p}, nil
	}
	asked, err := question(p)
	if err != nil {
		return nil, err
	}
	a := &Answer{}
	at := HeaderSize + len(asked)
	s := scan{answer: a, p: p, questionEnd: HeaderSize + len(asked)}
	end := -1 // of what is kept: EDNS and what is behind it is not
	for section, counter := range []int{6, 8, 10} {
		n := int(binary.BigEndian.Uint16(p[counter:]))
		if n*11 > len(p) {
			return nil, ErrFormat
		}
		for i := range n {
			r, err := readRecord(p, at, s.questionEnd, a.ttls)
			if err != nil {
				return nil, err
			}
			if r.kind == TypeOPT {
				if section != 2 || r.ttlAt != at+5 || s.opt {
					return nil, ErrFormat
				}
				if p[r.ttlAt] != 0 {
					return nil, ErrExtended
				}
				s.opt, end = true, at
				s.extra = i
			} else if err := s.record(section, &r); err != nil {
				return nil, err
			}
			at = r.end
		}
	}
	if end < 0 {
		end = at
	} else {
		binary.BigEndian.PutUint16(p[10:], uint16(s.extra))
	}
	a.Wire = p[:end:end]
	a.Addrs = s.own()
	a.TTL = s.life()
	for len(a.ttls) > 0 && int(a.ttls[len(a.ttls)-1]) >= end {
		a.ttls = a.ttls[:len(a.ttls)-1]
	}
	for _, at := range a.ttls { // once all is judged: names are read before
		binary.BigEndian.PutUint32(p[at:], tameTTL(binary.BigEndian.Uint32(p[at:])))
	}
	return a, nil
}

// scan is what is known of a message while it is read.
type scan struct {
	answer      *Answer
	p           []byte
	questionEnd int
	aliases     []alias
	addrs       []address
	opt         bool
	extra       int // records in front of EDNS
	positive    bool
	least       uint32 // TTL among the answers
	negative    uint32 // RFC 2308: of the SOA
	soa         bool
}

func (s *scan) record(section int, r *record) error {
	s.answer.ttls = append(s.answer.ttls, uint16(r.ttlAt))
	if err := r.check(s.p, s.questionEnd, s.answer.ttls); err != nil {
		return err
	}
	switch {
	case section == 0:
		if !s.positive || r.ttl < s.least {
			s.positive, s.least = true, r.ttl
		}
		s.follow(r)
	case section == 1 && r.kind == TypeSOA && !s.soa:
		s.soa = true
		s.negative = min(r.ttl, maxNegative, binary.BigEndian.Uint32(r.data[len(r.data)-4:]))
	}
	return nil
}

// tameTTL is a time that is none, or is longer than anything is kept, as one that is (RFC 2181, section 8).
func tameTTL(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return min(ttl, maxTTL)
}

// maxAliases is how many aliases of a name are followed.
const maxAliases = 16

// alias is what a CNAME says of its owner, and address what an A or AAAA says.
type (
	alias   struct{ owner, target string }
	address struct {
		owner string
		ip    netip.Addr
	}
)

// follow notes an alias or an address among the answers.
func (s *scan) follow(r *record) {
	if r.class != ClassIN || r.kind != TypeA && r.kind != TypeAAAA && r.kind != TypeCNAME {
		return
	}
	var buf [MaxName]byte
	owner := string(expandName(buf[:0], s.p, r.at))
	if r.kind == TypeCNAME {
		s.aliases = append(s.aliases, alias{owner, string(expandName(buf[:0], s.p, r.dataAt))})
		return
	}
	ip, _ := netip.AddrFromSlice(r.data)
	s.addrs = append(s.addrs, address{owner, ip})
}

// own are the addresses of the name that was asked for, and of those that it leads to, in whatever order the
// records stand. Records of other names are passed on and mean nothing.
func (s *scan) own() (list []netip.Addr) {
	var buf [MaxName]byte
	names := []string{string(expandName(buf[:0], s.p, HeaderSize))}
	for more := true; more; {
		more = false
		for _, a := range s.aliases {
			if len(names) < maxAliases && slices.Contains(names, a.owner) && !slices.Contains(names, a.target) {
				names, more = append(names, a.target), true
			}
		}
	}
	for _, a := range s.addrs {
		if slices.Contains(names, a.owner) {
			list = append(list, a.ip)
		}
	}
	return list
}

// expandName appends the name at at, which skipName has judged, in lower case and without pointers.
func expandName(dst, p []byte, at int) []byte {
	for range maxPointers + MaxName {
		c := int(p[at])
		switch {
		case c == 0:
			return append(dst, 0)
		case c >= 0xc0:
			at = c&0x3f<<8 | int(p[at+1])
			continue
		}
		for _, b := range p[at : at+1+c] {
			if 'A' <= b && b <= 'Z' {
				b += 'a' - 'A'
			}
			dst = append(dst, b)
		}
		at += 1 + c
	}
	return dst
}

// life is for how long the answer may be kept.
func (s *scan) life() uint32 {
	code := s.p[3] & rcode
	switch {
	case s.p[2]&(FlagTC>>8) != 0 || code != Success && code != NameError:
		return 0
	case s.soa && (code == NameError || !s.positive || s.onlyAliases()):
		if s.positive {
			return min(s.least, s.negative)
		}
		return s.negative
	case s.positive && code == Success:
		return s.least
	}
	return 0
}

// onlyAliases says that an answer for addresses has none: its names lead to nothing.
func (s *scan) onlyAliases() bool {
	asked, err := question(s.p)
	if err != nil {
		return false
	}
	kind := binary.BigEndian.Uint16(asked[len(asked)-4:])
	return (kind == TypeA || kind == TypeAAAA) && len(s.answer.Addrs) == 0
}
