package ruleset

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// ReadPrefixes reads a set of prefixes. A bare address is a prefix of its own, and a no-resolve after
// a comma is passed over. A set none of whose lines is a prefix is an error.
func ReadPrefixes(data []byte, f Format) (*match.Prefixes, Warnings, error) {
	var r prefixReader
	read := r.readMRS
	if f != MRS {
		read = func(data []byte) error { return Lines(data, f, r.add) }
	}
	if err := read(data); err != nil {
		return nil, r.warnings, err
	}
	if r.set.Len() == 0 {
		return nil, r.warnings, r.warnings.Err()
	}
	return r.set.Build(), r.warnings, nil
}

type prefixReader struct {
	set      match.PrefixesBuilder
	warnings Warnings
}

var errPrefix = errors.New("want a prefix such as 192.0.2.0/24 or 2001:db8::/32, or an address")

func (r *prefixReader) add(n int, text []byte) error {
	p, ok := parsePrefix(trim(text))
	if !ok {
		r.warnings.Add(n, text, errPrefix)
		return nil
	}
	r.set.Add(p)
	return nil
}

// maxPrefix is more than the longest prefix has, ::ffff:255.255.255.255/128 in full.
const maxPrefix = 64

func parsePrefix(text []byte) (netip.Prefix, bool) {
	if p, option, ok := bytes.Cut(text, []byte(",")); ok && bytes.EqualFold(trim(option), []byte("no-resolve")) {
		text = trim(p)
	}
	if len(text) > maxPrefix {
		return netip.Prefix{}, false
	}
	if p, ok := parse4(text); ok {
		return p, true
	}
	if bytes.IndexByte(text, '/') >= 0 {
		p, err := netip.ParsePrefix(string(text))
		return p, err == nil
	}
	a, err := netip.ParseAddr(string(text))
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// parse4 reads a prefix of IPv4, as most lines are, without a string: netip takes nothing else. What
// parse4 refuses is for netip to judge.
func parse4(text []byte) (p netip.Prefix, ok bool) {
	var parts [5]int // of the address, and the bits
	at := 0
	for i := range parts {
		if i > 0 {
			if at == len(text) || text[at] != "-.../"[i] {
				return netip.Prefix{}, false
			}
			at++
		}
		start := at
		for at < len(text) && at < start+3 && '0' <= text[at] && text[at] <= '9' {
			parts[i] = 10*parts[i] + int(text[at]-'0')
			at++
		}
		if at == start || parts[i] > 255 || text[start] == '0' && at > start+1 {
			return netip.Prefix{}, false
		}
	}
	if at < len(text) || parts[4] > 32 {
		return netip.Prefix{}, false
	}
	a := [4]byte{byte(parts[0]), byte(parts[1]), byte(parts[2]), byte(parts[3])}
	return netip.PrefixFrom(netip.AddrFrom4(a), parts[4]), true
}
