package flow

import (
	"net/netip"
	"testing"
)

func TestSelves(t *testing.T) {
	var s Selves
	at := func(port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	}
	proxy, web := at(7890), at(80)
	var ends []func()
	// Any number of connections to other servers of this machine is fine, and so is a client that
	// has the port of one of them.
	for i := range 2 * maxSelves {
		ends = append(ends, s.Add(at(10000+i), web))
		if s.Loops(at(10000+i), proxy) {
			t.Fatal("a client is refused for its port")
		}
	}
	for i := range maxSelves {
		ends = append(ends, s.Add(at(10000+i), proxy))
		for range 2 { // a connection may carry more than one flow
			if s.Loops(at(10000+i), proxy) {
				t.Fatalf("refused after %d", i)
			}
		}
	}
	ends = append(ends, s.Add(at(9999), proxy))
	if !s.Loops(at(9999), proxy) {
		t.Error("a loop goes on")
	}
	for _, end := range ends {
		end()
	}
	if s.back != 0 || len(s.made) != 0 {
		t.Errorf("%d, %d left", s.back, len(s.made))
	}
}
