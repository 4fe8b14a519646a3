package flow

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxHost is the longest host name accepted, in bytes: what a SOCKS5 request can carry.
const MaxHost = 255

// ErrHost means that a host is neither a name nor an address.
var ErrHost = errors.New("invalid host")

// ParseHost turns a host as a client wrote it into a normalized name or an address. Names come
// back in lower case, in punycode and without the trailing dot, so that no spelling escapes a rule.
// Addresses may stand in brackets; IPv4 inside IPv6 becomes IPv4 and a zone is refused.
func ParseHost(s string) (name string, ip netip.Addr, err error) {
	if n := len(s); n >= 2 && s[0] == '[' && s[n-1] == ']' {
		ip, err = netip.ParseAddr(s[1 : n-1])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", netip.Addr{}, ErrHost
		}
		return "", ip.Unmap(), nil
	}
	if s == "" || len(s) > MaxHost || !utf8.ValidString(s) {
		return "", netip.Addr{}, ErrHost
	}
	if looksLikeAddr(s) {
		if ip, err = netip.ParseAddr(s); err == nil {
			if ip.Zone() != "" {
				return "", netip.Addr{}, ErrHost
			}
			return "", ip.Unmap(), nil
		}
	}
	name, err = normalize(s)
	if err != nil {
		return "", netip.Addr{}, err
	}
	if looksLikeAddr(name) { // full-width digits and a trailing dot normalize to an address
		if ip, perr := netip.ParseAddr(name); perr == nil {
			return "", ip.Unmap(), nil
		}
	}
	return name, netip.Addr{}, nil
}

// looksLikeAddr is a cheap test that lets ordinary names skip the address parser and its error.
func looksLikeAddr(s string) bool {
	last := s[len(s)-1]
	return last >= '0' && last <= '9' || strings.IndexByte(s, ':') >= 0
}

func normalize(s string) (string, error) {
	plain := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80:
			plain = false
		case c <= ' ' || c == 0x7f || strings.IndexByte(`/\@?#:[]%<>"`, c) >= 0:
			return "", ErrHost
		}
	}
	if !plain {
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", ErrHost
		}
		s = ascii
	}
	if strings.Contains(s, "..") {
		return "", ErrHost
	}
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if s == "" || s[0] == '.' || len(s) > MaxHost {
		return "", ErrHost
	}
	return s, nil
}
