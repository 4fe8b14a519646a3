package socks

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

func TestAddr(t *testing.T) {
	f := func(to flow.Addr) {
		t.Helper()
		p := AppendAddr(nil, to)
		for i := range p {
			if _, _, err := ParseAddr(p[:i]); !errors.Is(err, ErrShort) {
				t.Errorf("%v cut at %d: %v", to, i, err)
			}
		}
		got, n, err := ParseAddr(append(p, "rest"...))
		if err != nil || n != len(p) || got != to {
			t.Errorf("%v: got %v, %d, %v", to, got, n, err)
		}
	}
	f(flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 443})
	f(flow.Addr{IP: netip.MustParseAddr("2001:db8::1"), Port: 65535})
	f(flow.Addr{Host: "a.test", Port: 1})
	f(flow.Addr{Host: strings.Repeat("a.", 127) + "b", Port: 80}) // 255 bytes, the most there is
}

// FuzzParse checks that no message of a client panics or is longer than what came.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\x05\x01\x00"))
	f.Add([]byte("\x05\x01\x00\x03\x05a.bcd\x00\x50"))
	f.Add([]byte("\x04\x01\x00\x50\x00\x00\x00\x01u\x00a.test\x00"))
	f.Add([]byte("\x01\x01u\x01p"))
	f.Add([]byte("\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x50data"))
	f.Fuzz(func(t *testing.T, p []byte) {
		check := func(n int, err error) {
			if n > len(p) {
				t.Fatalf("%d of %d bytes, %v", n, len(p), err)
			}
		}
		_, n, err := ParseGreeting(p)
		check(n, err)
		_, _, n, err = ParseUserPassword(p)
		check(n, err)
		_, to, n, err := ParseRequest(p)
		check(n, err)
		if err == nil && (len(to.Host) > flow.MaxHost || to.Host != strings.ToLower(to.Host)) {
			t.Fatalf("host %q", to.Host)
		}
		_, _, _, n, err = ParseRequest4(p)
		check(n, err)
		_, n, err = ParseDatagram(p)
		if err == nil {
			check(n, err)
		}
	})
}
