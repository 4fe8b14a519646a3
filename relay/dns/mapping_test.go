package dns

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// nth is an address of its own for each number.
func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

// TestMapping: an address means the name it was given out for last, for some time after the answer's is up.
func TestMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMapping()
		f := func(ip netip.Addr, want string) {
			t.Helper()
			if got, ok := m.Name(ip); got != want || ok != (want != "") {
				t.Errorf("%s: %q, %v; want %q", ip, got, ok, want)
			}
		}
		name := []byte("a.test")
		m.Note(nth(1), name, 60)
		copy(name, "zzzzzz") // the bytes are the caller's
		m.Note(nth(2), []byte("b.test"), 0)
		f(nth(1), "a.test")
		f(nth(2), "b.test")
		f(nth(3), "")
		m.Note(nth(1), []byte("c.test"), 60)
		f(nth(1), "c.test")
		time.Sleep(mappingExtra*time.Second + 59*time.Second)
		f(nth(1), "c.test")
		f(nth(2), "")
		time.Sleep(2 * time.Second)
		f(nth(1), "")
		m.Note(nth(1), []byte("d.test"), 1)
		f(nth(1), "d.test")
	})
}

// TestMappingForgetsTheOldest: its size is bounded, and what was noted again is new.
func TestMappingForgetsTheOldest(t *testing.T) {
	m := NewMapping()
	for i := range mappingSize {
		m.Note(nth(i), fmt.Appendf(nil, "n%d.test", i), 60)
	}
	m.Note(nth(0), []byte("again.test"), 60)
	for i := range 100 {
		m.Note(nth(mappingSize+i), []byte("new.test"), 60)
	}
	if len(m.at) != mappingSize || len(m.nodes) != mappingSize+1 {
		t.Errorf("%d addresses in %d places", len(m.at), len(m.nodes))
	}
	for i := range mappingSize + 100 {
		want := fmt.Sprintf("n%d.test", i)
		switch {
		case i == 0:
			want = "again.test"
		case i <= 100:
			want = ""
		case i >= mappingSize:
			want = "new.test"
		}
		if got, _ := m.Name(nth(i)); got != want {
			t.Fatalf("%d: %q; want %q", i, got, want)
		}
	}
}
