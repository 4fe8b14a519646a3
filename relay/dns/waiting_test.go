package dns

import (
	"net/netip"
	"testing"
)

func TestClientOf(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		if got := clientName(clientOf(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s: %s; want %s", addr, got, want)
		}
	}
	f("192.0.2.1", "192.0.2.1")
	f("::ffff:192.0.2.1", "192.0.2.1")
	f("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")
	f("fd00::1", "fd00::/64")
	f("::1", "::/64")
	f("fe80::1%eth0", "fe80::1") // all neighbours are in one network
}

// full fills w with the questions of as few clients as there can be, and returns what empties it.
func full(t *testing.T, w *waiting) (empty func()) {
	t.Helper()
	var clients []netip.Prefix
	for ip := netip.MustParseAddr("192.0.2.1"); w.enter(clientOf(ip)); ip = ip.Next() {
		clients = append(clients, clientOf(ip))
		for range maxWaitingOfOne - 1 {
			if !w.enter(clientOf(ip)) {
				t.Error("there is no room")
			}
		}
		if w.enter(clientOf(ip)) {
			t.Error("one client has too much")
		}
	}
	if len(clients) != maxWaiting/maxWaitingOfOne {
		t.Errorf("%d clients", len(clients))
	}
	return func() {
		for _, c := range clients {
			for range maxWaitingOfOne {
				w.leave(c)
			}
		}
	}
}

func TestWaiting(t *testing.T) {
	var w waiting
	empty := full(t, &w)
	one, two := clientOf(netip.MustParseAddr("192.0.2.1")), clientOf(netip.MustParseAddr("192.0.2.2"))
	w.leave(one)
	if _, n, all := w.most(); n != maxWaitingOfOne || all != maxWaiting-1 {
		t.Errorf("%d of %d", n, all)
	}
	if w.enter(two) || !w.enter(one) || w.enter(one) {
		t.Error("what one gave back another has")
	}
	empty()
	if w.all != 0 || len(w.of) != 0 {
		t.Errorf("%d left, of %v", w.all, w.of)
	}
}
