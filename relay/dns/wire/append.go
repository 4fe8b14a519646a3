package wire

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Append appends a as the answer to q, age seconds after it came. Records have at least one second
// left. limit is the most bytes the client takes: what does not fit is truncated.
func (a *Answer) Append(dst []byte, q *Query, age uint32, limit int) []byte {
	base := len(dst)
	if len(a.Wire)+q.optSize() > limit {
		return q.appendTruncated(dst, uint16(a.RCode()))
	}
	dst = append(dst, a.Wire...)
	m := dst[base:]
	had := binary.BigEndian.Uint16(m[2:])
	flags := q.flags() | had&rcode
	if q.Flags&FlagAD != 0 || q.DO { // RFC 6840, section 5.8
		flags |= had & FlagAD
	}
	binary.BigEndian.PutUint16(m, q.ID)
	binary.BigEndian.PutUint16(m[2:], flags)
	copy(m[HeaderSize:], q.question) // in the client's case
	if age > 0 {
		for _, at := range a.ttls {
			ttl := binary.BigEndian.Uint32(m[at:])
			binary.BigEndian.PutUint32(m[at:], max(ttl, age+1)-age)
		}
	}
	return q.finish(dst, base, limit)
}

// AppendStale is Append for an answer that is out of date: all its records have ttl seconds left.
func (a *Answer) AppendStale(dst []byte, q *Query, ttl uint32, limit int) []byte {
	base := len(dst)
	dst = a.Append(dst, q, 0, limit)
	if len(dst)-base >= len(a.Wire) {
		for _, at := range a.ttls {
			binary.BigEndian.PutUint32(dst[base+int(at):], ttl)
		}
	}
	return dst
}

// Aged is the message with the id 0, age seconds after it came; where ttl is not 0 all records have that
// many seconds left.
func (a *Answer) Aged(age, ttl uint32) []byte {
	m := append([]byte(nil), a.Wire...)
	m[0], m[1] = 0, 0
	for _, at := range a.ttls {
		left := ttl
		if ttl == 0 {
			had := binary.BigEndian.Uint32(m[at:])
			left = had - min(had, age)
		}
		binary.BigEndian.PutUint32(m[at:], left)
	}
	return m
}

// flags are those of an answer to q.
func (q *Query) flags() uint16 { return FlagQR | FlagRA | q.Flags&(FlagRD|FlagCD) }

func (q *Query) optSize() int {
	if q.EDNS {
		return optSize
	}
	return 0
}

// begin appends the header and the question.
func (q *Query) begin(dst []byte, flags uint16) []byte {
	one := byte(0)
	if len(q.question) > 0 {
		one = 1
	}
	dst = append(dst, byte(q.ID>>8), byte(q.ID), byte(flags>>8), byte(flags), 0, one, 0, 0, 0, 0, 0, 0)
	return append(dst, q.question...)
}

// finish ends the message that begins at base with EDNS, or truncates it where it is too long.
func (q *Query) finish(dst []byte, base, limit int) []byte {
	if len(dst)-base+q.optSize() > limit {
		return q.appendTruncated(dst[:base], uint16(dst[base+3]&rcode))
	}
	if !q.EDNS {
		return dst
	}
	m := dst[base:]
	binary.BigEndian.PutUint16(m[10:], binary.BigEndian.Uint16(m[10:])+1)
	return appendOPT(dst, 0, q.DO)
}

// appendOPT appends the record of EDNS; high are the upper bits of the response code.
func appendOPT(dst []byte, high uint8, do bool) []byte {
	flags := byte(0)
	if do {
		flags = 0x80
	}
	return append(dst, 0, 0, TypeOPT, UDPSize>>8, UDPSize&0xff, high, 0, flags, 0, 0, 0)
}

func (q *Query) appendTruncated(dst []byte, code uint16) []byte {
	base := len(dst)
	return q.finish(q.begin(dst, q.flags()|FlagTC|code), base, MaxSize)
}

// AppendEmpty appends an answer without records.
func (q *Query) AppendEmpty(dst []byte, code uint16) []byte {
	base := len(dst)
	dst = q.begin(dst, q.flags()|q.Flags&opcode|code&rcode)
	if code > rcode && q.EDNS {
		dst[base+11]++
		return appendOPT(dst, uint8(code>>4), q.DO)
	}
	return q.finish(dst, base, MaxSize)
}

// AppendAddrs appends an answer with those of addrs that are of the type asked for.
func (q *Query) AppendAddrs(dst []byte, ttl uint32, limit int, addrs ...netip.Addr) []byte {
	base := len(dst)
	dst = q.begin(dst, q.flags())
	n := uint16(0)
	for _, ip := range addrs {
		switch {
		case q.Type == TypeA && ip.Is4():
			b := ip.As4()
			dst = append(appendHead(dst, TypeA, ttl, 4), b[:]...)
		case q.Type == TypeAAAA && ip.Is6():
			b := ip.As16()
			dst = append(appendHead(dst, TypeAAAA, ttl, 16), b[:]...)
		default:
			continue
		}
		n++
	}
	binary.BigEndian.PutUint16(dst[base+6:], n)
	return q.finish(dst, base, limit)
}

// appendHead appends the head of a record of the name that was asked for.
func appendHead(dst []byte, kind uint8, ttl uint32, size int) []byte {
	dst = append(dst, 0xc0, HeaderSize, 0, kind, 0, ClassIN)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	return append(dst, byte(size>>8), byte(size))
}

// AppendName appends an answer of one record whose data is a name: kind is TypePTR or TypeCNAME. A name
// that is none is an answer without records. It is written as Host has it.
func (q *Query) AppendName(dst []byte, kind uint8, ttl uint32, limit int, name string) []byte {
	base := len(dst)
	size := nameSize(name)
	if size == 0 {
		return q.AppendEmpty(dst, Success)
	}
	dst = appendHead(q.begin(dst, q.flags()), kind, ttl, size)
	dst = appendLabels(dst, name)
	dst[base+7] = 1
	return q.finish(dst, base, limit)
}

// AppendAlias appends an answer whose name is another one's, called to, and the addresses of that.
func (q *Query) AppendAlias(dst []byte, ttl uint32, limit int, to string, addrs []netip.Addr) []byte {
	base := len(dst)
	size := nameSize(to)
	if size == 0 {
		return q.AppendEmpty(dst, Success)
	}
	dst = appendHead(q.begin(dst, q.flags()), TypeCNAME, ttl, size)
	n := uint16(1)
	dst = appendLabels(dst, to)
	for _, ip := range addrs {
		if ip.Is4() != (q.Type == TypeA) {
			continue
		}
		dst = appendLabels(dst, to)
		b := ip.As16()
		data := b[:]
		if ip.Is4() {
			data = b[12:]
		}
		dst = append(dst, 0, byte(q.Type), 0, ClassIN)
		dst = binary.BigEndian.AppendUint32(dst, ttl)
		dst = append(append(dst, 0, byte(len(data))), data...)
		n++
	}
	binary.BigEndian.PutUint16(dst[base+6:], n)
	return q.finish(dst, base, limit)
}

// nameSize is how many bytes a name has on the wire, and 0 for what is none. The last dot may be left
// out; every other byte is itself.
func nameSize(name string) int {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return 1
	}
	label := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			label++
			continue
		}
		if label == 0 || label > 63 {
			return 0
		}
		label = 0
	}
	if size := len(name) + 2; size <= MaxName {
		return size
	}
	return 0
}

// appendLabels appends a name that has a nameSize, in lower case.
func appendLabels(dst []byte, name string) []byte {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return append(dst, 0)
	}
	at := len(dst) // where the size of the label is written
	dst = append(dst, 0)
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			at = len(dst)
			dst = append(dst, 0)
			continue
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c+'a'-'A')
		default:
			dst = append(dst, c)
		}
		dst[at]++
	}
	return append(dst, 0)
}
