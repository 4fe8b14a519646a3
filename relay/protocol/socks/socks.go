// Package socks is the framing of SOCKS 4, 4a and 5 (RFC 1928, RFC 1929), for both ends. Parsers
// work on what has been read so far and answer ErrShort until it is enough.
package socks

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// The versions, by which a client's first byte names them.
const (
	Version4 = 4
	Version5 = 5
)

// The commands.
const (
	Connect      = 1
	Bind         = 2
	UDPAssociate = 3
)

// The authentication methods of SOCKS 5.
const (
	NoAuth       = 0
	UserPassword = 2
	NoneFits     = 0xff
)

// The replies of SOCKS 5.
const (
	Granted            = 0
	GeneralFailure     = 1
	NotAllowed         = 2
	NetworkUnreachable = 3
	HostUnreachable    = 4
	Refused            = 5
	TTLExpired         = 6
	CommandUnsupported = 7
	AddressUnsupported = 8
)

// The replies of SOCKS 4.
const (
	Granted4  = 90
	Rejected4 = 91
)

const (
	atypIPv4 = 1
	atypName = 3
	atypIPv6 = 4
)

// MaxUDPHeader is the longest header of a UDP datagram, in bytes.
const MaxUDPHeader = 3 + 1 + 1 + 255 + 2

var (
	// ErrShort means that the message is not complete yet.
	ErrShort = errors.New("socks: message incomplete")
	// ErrFormat means that the message can never become valid.
	ErrFormat = errors.New("socks: malformed message")
	// ErrAddress means that the message is whole but its address is no name and no address.
	ErrAddress = errors.New("socks: bad address")
)

// ParseGreeting reads a SOCKS 5 client's list of methods.
func ParseGreeting(p []byte) (methods []byte, n int, err error) {
	if len(p) < 2 {
		return nil, 0, ErrShort
	}
	if p[0] != Version5 {
		return nil, 0, ErrFormat
	}
	n = 2 + int(p[1])
	if len(p) < n {
		return nil, 0, ErrShort
	}
	return p[2:n], n, nil
}

// ParseUserPassword reads the credentials of RFC 1929.
func ParseUserPassword(p []byte) (user, password []byte, n int, err error) {
	if len(p) < 2 {
		return nil, nil, 0, ErrShort
	}
	if p[0] != 1 {
		return nil, nil, 0, ErrFormat
	}
	u := 2 + int(p[1])
	if len(p) < u+1 {
		return nil, nil, 0, ErrShort
	}
	n = u + 1 + int(p[u])
	if len(p) < n {
		return nil, nil, 0, ErrShort
	}
	return p[2:u], p[u+1 : n], n, nil
}

// ParseRequest reads a SOCKS 5 request.
func ParseRequest(p []byte) (command byte, to flow.Addr, n int, err error) {
	if len(p) < 4 {
		return 0, to, 0, ErrShort
	}
	if p[0] != Version5 || p[2] != 0 {
		return 0, to, 0, ErrFormat
	}
	to, n, err = ParseAddr(p[3:])
	return p[1], to, n + 3, err
}

// ParseAddr reads a type, an address and a port. A UDP association may ask with an empty address.
func ParseAddr(p []byte) (to flow.Addr, n int, err error) {
	if len(p) < 2 {
		return to, 0, ErrShort
	}
	switch p[0] {
	case atypIPv4:
		n = 1 + 4 + 2
	case atypIPv6:
		n = 1 + 16 + 2
	case atypName:
		n = 1 + 1 + int(p[1]) + 2
	default:
		return to, 0, ErrFormat
	}
	if len(p) < n {
		return to, 0, ErrShort
	}
	switch p[0] {
	case atypIPv4:
		to.IP = netip.AddrFrom4([4]byte(p[1:5]))
	case atypIPv6:
		to.IP = netip.AddrFrom16([16]byte(p[1:17])).Unmap()
	default:
		if to.Host, to.IP, err = flow.ParseHost(string(p[2 : n-2])); err != nil {
			err = ErrAddress
		}
	}
	to.Port = uint16(p[n-2])<<8 | uint16(p[n-1])
	return to, n, err
}

// AppendAddr appends what ParseAddr reads. An invalid address becomes 0.0.0.0.
func AppendAddr(b []byte, to flow.Addr) []byte {
	switch {
	case to.IP.Is6():
		a := to.IP.As16()
		b = append(append(b, atypIPv6), a[:]...)
	case to.IP.Is4():
		a := to.IP.As4()
		b = append(append(b, atypIPv4), a[:]...)
	case to.Host != "":
		b = append(append(b, atypName, byte(len(to.Host))), to.Host...)
	default:
		b = append(b, atypIPv4, 0, 0, 0, 0)
	}
	return append(b, byte(to.Port>>8), byte(to.Port))
}

// AppendReply appends a SOCKS 5 reply.
func AppendReply(b []byte, code byte, bound netip.AddrPort) []byte {
	b = append(b, Version5, code, 0)
	return AppendAddr(b, flow.Addr{IP: bound.Addr(), Port: bound.Port()})
}

// ParseDatagram reads the header of a UDP datagram; the payload begins at n. Fragments, which
// nobody sends, are malformed.
func ParseDatagram(p []byte) (to flow.Addr, n int, err error) {
	if len(p) < 4 {
		return to, 0, ErrShort
	}
	if p[2] != 0 {
		return to, 0, ErrFormat
	}
	to, n, err = ParseAddr(p[3:])
	return to, n + 3, err
}

// AppendDatagram appends the header that goes before a payload.
func AppendDatagram(b []byte, a flow.Addr) []byte {
	return AppendAddr(append(b, 0, 0, 0), a)
}

// maxUserID bounds the user-id and the name of a SOCKS 4 request.
const maxUserID = 255

// ParseRequest4 reads a SOCKS 4 or 4a request.
func ParseRequest4(p []byte) (command byte, user string, to flow.Addr, n int, err error) {
	if len(p) < 9 {
		return 0, "", to, 0, ErrShort
	}
	if p[0] != Version4 {
		return 0, "", to, 0, ErrFormat
	}
	user, n, err = cString(p, 8)
	if err != nil {
		return 0, "", to, 0, err
	}
	to.Port = uint16(p[2])<<8 | uint16(p[3])
	if p[4] == 0 && p[5] == 0 && p[6] == 0 && p[7] != 0 { // 4a: the name follows
		var name string
		if name, n, err = cString(p, n); err != nil {
			return 0, "", to, 0, err
		}
		if to.Host, to.IP, err = flow.ParseHost(name); err != nil {
			err = ErrAddress
		}
		return p[1], user, to, n, err
	}
	to.IP = netip.AddrFrom4([4]byte(p[4:8]))
	return p[1], user, to, n, nil
}

// cString reads up to the zero byte that ends a string.
func cString(p []byte, from int) (s string, n int, err error) {
	for i := from; i < len(p); i++ {
		if p[i] == 0 {
			return string(p[from:i]), i + 1, nil
		}
		if i-from >= maxUserID {
			return "", 0, ErrFormat
		}
	}
	return "", 0, ErrShort
}

// AppendReply4 appends a SOCKS 4 reply.
func AppendReply4(b []byte, code byte) []byte { return append(b, 0, code, 0, 0, 0, 0, 0, 0) }

// ReplyError is a proxy's refusal, by its reply code.
type ReplyError byte

func (e ReplyError) Error() string {
	names := [...]string{
		GeneralFailure: "general failure", NotAllowed: "not allowed by its rules",
		NetworkUnreachable: "network unreachable", HostUnreachable: "host unreachable",
		Refused: "connection refused", TTLExpired: "TTL expired",
		CommandUnsupported: "command not supported", AddressUnsupported: "address type not supported",
	}
	if int(e) < len(names) && names[e] != "" {
		return "the proxy answered: " + names[e]
	}
	return fmt.Sprintf("the proxy answered with code %d", byte(e))
}
