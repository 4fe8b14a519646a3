// Package wire reads, judges and patches DNS messages as they are on the wire (RFC 1035, RFC 6891).
// Nothing here allocates but Scan.
package wire

import (
	"encoding/binary"
	"errors"
)

// Sizes of messages, in bytes.
const (
	HeaderSize = 12
	MaxSize    = 65535
	MaxName    = 255
	minUDP     = 512 // what every client takes over UDP
	// UDPSize is the largest message over UDP that is sent or asked for: it passes everywhere without
	// fragments.
	UDPSize = 1232
)

// The bits of a header's flags.
const (
	FlagQR = 1 << 15
	FlagAA = 1 << 10
	FlagTC = 1 << 9
	FlagRD = 1 << 8
	FlagRA = 1 << 7
	FlagAD = 1 << 5
	FlagCD = 1 << 4

	opcode = 0xf << 11
	rcode  = 0xf
)

// Response codes.
const (
	Success        = 0
	FormatError    = 1
	ServerFailure  = 2
	NameError      = 3
	NotImplemented = 4
	Refused        = 5
	BadVersion     = 16
)

// Types and classes of records.
const (
	TypeA       = 1
	TypeNS      = 2
	TypeCNAME   = 5
	TypeSOA     = 6
	TypePTR     = 12
	TypeMX      = 15
	TypeAAAA    = 28
	TypeSRV     = 33
	TypeDNAME   = 39
	TypeOPT     = 41
	TypeSVCB    = 64
	TypeHTTPS   = 65
	TypeIXFR    = 251
	TypeAXFR    = 252
	TypeANY     = 255
	ClassIN     = 1
	maxTTL      = 7 * 24 * 3600 // seconds
	maxNegative = 3 * 3600      // seconds; RFC 2308, section 5
	optSize     = 11
)

// What is wrong with a message.
var (
	// ErrIgnore means that a message is not a question and is not to be answered at all.
	ErrIgnore = errors.New("not a question")
	// ErrFormat means that a message is malformed.
	ErrFormat = errors.New("malformed DNS message")
	// ErrOpcode means that something else is wanted than an answer.
	ErrOpcode = errors.New("not a standard query")
	// ErrVersion means that EDNS of a later version was used.
	ErrVersion = errors.New("unknown version of EDNS")
	// ErrName means that a text is no domain name.
	ErrName = errors.New("not a domain name: want labels of 1 to 63 bytes, and at most 253 in all")
)

// Query is a question, taken apart. Its bytes are valid as long as the packet it was parsed from.
type Query struct {
	ID          uint16
	Flags       uint16
	Type, Class uint16
	EDNS        bool
	DO          bool   // RFC 3225
	Version     uint8  // of EDNS
	Size        uint16 // the most bytes that the client takes over UDP

	question []byte // as it was sent
	n        int    // bytes of the name
	key      [MaxName + 5]byte
	host     [MaxName]byte
	odd      bool // the name is no host's
}

// Parse reads a client's message. After ErrFormat, ErrOpcode and ErrVersion the query is good for
// AppendEmpty.
func (q *Query) Parse(p []byte) error {
	if len(p) < HeaderSize {
		return ErrIgnore
	}
	q.ID, q.Flags = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	q.EDNS, q.DO, q.Version, q.Size = false, false, 0, minUDP
	q.question, q.n, q.Type, q.Class, q.odd = nil, 0, 0, 0, true
	switch {
	case q.Flags&FlagQR != 0:
		return ErrIgnore
	case q.Flags&opcode != 0:
		return ErrOpcode
	case binary.BigEndian.Uint32(p[4:]) != 1<<16, binary.BigEndian.Uint16(p[8:]) != 0: // one question, no answers
		return ErrFormat
	}
	end, err := q.readName(p)
	if err != nil || len(p) < end+4 {
		return ErrFormat
	}
	q.question = p[HeaderSize : end+4]
	q.Type, q.Class = binary.BigEndian.Uint16(p[end:]), binary.BigEndian.Uint16(p[end+2:])
	err = q.readExtra(p, end+4)
	q.seal()
	return err
}

// readName reads the name of the question, which has no pointers.
func (q *Query) readName(p []byte) (end int, err error) {
	at, n := HeaderSize, 0
	q.odd = false
	for {
		if at >= len(p) {
			return 0, ErrFormat
		}
		size := int(p[at])
		if size > 63 || n+size+1 > MaxName || at+1+size > len(p) {
			return 0, ErrFormat
		}
		q.key[n] = byte(size)
		if n > 0 {
			q.host[n-1] = '.'
		}
		if size == 0 {
			q.n = n + 1
			return at + 1, nil
		}
		for i := 1; i <= size; i++ {
			c := p[at+i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.key[n+i] = c
			if c <= ' ' || c >= 0x7f || c == '.' {
				q.odd = true
			}
			if c == '.' {
				c = 0 // it ends no label
			}
			q.host[n+i-1] = c
		}
		at, n = at+1+size, n+1+size
	}
}

// readExtra looks for EDNS behind the question.
func (q *Query) readExtra(p []byte, at int) error {
	for range binary.BigEndian.Uint16(p[10:]) {
		end, err := skipName(p, at, HeaderSize+len(q.question), nil)
		if err != nil || end+10 > len(p) {
			return ErrFormat
		}
		size := int(binary.BigEndian.Uint16(p[end+8:]))
		if end+10+size > len(p) {
			return ErrFormat
		}
		if binary.BigEndian.Uint16(p[end:]) == TypeOPT {
			if q.EDNS || end != at+1 {
				return ErrFormat
			}
			q.EDNS, q.DO, q.Version = true, p[end+6]&0x80 != 0, p[end+5]
			q.Size = min(max(binary.BigEndian.Uint16(p[end+2:]), minUDP), UDPSize)
		}
		at = end + 10 + size
	}
	switch {
	case at != len(p):
		return ErrFormat
	case q.Version != 0:
		return ErrVersion
	}
	return nil
}

// seal ends the key: the type, the class, and the bits that make another answer.
func (q *Query) seal() {
	k := q.key[q.n:]
	binary.BigEndian.PutUint16(k, q.Type)
	binary.BigEndian.PutUint16(k[2:], q.Class)
	k[4] = 0
	if q.DO {
		k[4] |= 1
	}
	if q.Flags&FlagCD != 0 {
		k[4] |= 2
	}
}

// Set makes q a question of our own. In name \X is X itself and \DDD the byte of that number; "" is
// the root.
func (q *Query) Set(name string, kind uint16) error {
	*q = Query{Flags: FlagRD, Type: kind, Class: ClassIN, Size: UDPSize, EDNS: true}
	var text [MaxName + 1 + 4]byte
	label, n := 0, 1
	end := func() bool {
		size := n - label - 1
		text[label] = byte(size)
		label, n = n, n+1
		return size > 0 && size < 64
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '.' && name == ".":
			continue
		case c == '.':
			if !end() {
				return ErrName
			}
			continue
		case c == '\\' && i+3 < len(name) && isDigit(name[i+1]) && isDigit(name[i+2]) && isDigit(name[i+3]):
			v := int(name[i+1]-'0')*100 + int(name[i+2]-'0')*10 + int(name[i+3]-'0')
			if v > 255 {
				return ErrName
			}
			c, i = byte(v), i+3
		case c == '\\' && i+1 < len(name):
			c, i = name[i+1], i+1
		}
		if n >= MaxName {
			return ErrName
		}
		text[n] = c
		n++
	}
	if n > label+1 && !end() {
		return ErrName
	}
	if n > MaxName {
		return ErrName
	}
	text[label] = 0
	binary.BigEndian.PutUint16(text[n:], q.Type)
	binary.BigEndian.PutUint16(text[n+2:], q.Class)
	p := make([]byte, HeaderSize, HeaderSize+n+4)
	p = append(p, text[:n+4]...)
	if _, err := q.readName(p); err != nil {
		return ErrName
	}
	q.question = p[HeaderSize:]
	q.seal()
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Key is what questions with the same answer have in common. It is valid as long as q is not changed.
func (q *Query) Key() []byte { return q.key[:q.n+5] }

// Host is the name in lower case, without the last dot; that of the root is empty. plain is false for one
// that cannot be the name of a host, such as one with a space or, written as a byte of 0 here, a dot
// inside a label. It is valid as long as q is not changed.
func (q *Query) Host() (name []byte, plain bool) {
	if q.n < 2 {
		return nil, false
	}
	return q.host[:q.n-2], !q.odd
}

// Own makes q independent of the packet that it was parsed from.
func (q *Query) Own() { q.question = append([]byte(nil), q.question...) }

// AppendUpstream appends the question as it is sent to a name server, with the id 0, with EDNS or without.
func (q *Query) AppendUpstream(dst []byte, edns bool) []byte {
	flags := FlagRD | FlagAD | q.Flags&FlagCD // AD: we understand it in answers (RFC 6840, section 5.7)
	dst = append(dst, 0, 0, byte(flags>>8), byte(flags), 0, 1, 0, 0, 0, 0, 0, 0)
	if edns {
		dst[len(dst)-1] = 1
	}
	dst = append(dst, q.key[:q.n+4]...)
	if !edns {
		return dst
	}
	return appendOPT(dst, 0, q.DO)
}

// AsksAddrs says whether the question is for addresses.
func (q *Query) AsksAddrs() bool {
	return q.Class == ClassIN && (q.Type == TypeA || q.Type == TypeAAAA)
}
