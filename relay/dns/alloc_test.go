//go:build !race

package dns

import (
	"log/slog"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// TestQuickAllocatesNothing, whatever it answers with, and whether or not it does.
func TestQuickAllocatesNothing(t *testing.T) {
	fake := newFake(t)
	set := names(t, "+.real", "*.net", "a.org").(*match.Domains) // as an interface it would let n escape
	fake.Real = func(host string) bool {
		var n match.Name
		n.Set(host)
		return set.Has(&n)
	}
	h := newHandler(t, Handler{
		Hosts: hostsTable(t, listed("mine.test", "192.0.2.1", "192.0.2.2"), listed("+.wild.test", "192.0.2.3"), listed("alias.test", "a.real")),
		Fake:  fake, Mapping: NewMapping(), IPv6: true, Log: slog.New(slog.DiscardHandler),
	})
	l := &Listener{log: h.Log}
	l.Use(h)
	out, none := make([]byte, 0, wire.UDPSize), []byte("no question at all")
	f := func(name string, kind uint16, answered bool) {
		t.Helper()
		packet, err := new(miekg.Msg).SetQuestion(name, kind).SetEdns0(4096, true).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q wire.Query
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := l.quick(out, &q, packet); ok != answered {
				t.Errorf("%s: answered: %v", name, ok)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("mine.test.", wire.TypeA, true)
	f("x.wild.test.", wire.TypeA, true)
	f("alias.test.", wire.TypeA, false)
	f("1.2.0.192.in-addr.arpa.", wire.TypeA, true)
	f("a.test.", wire.TypeA, true)
	f("A.test.", wire.TypeAAAA, true)
	f("a.test.", wire.TypeHTTPS, true)
	f("a.real.", wire.TypeA, false)
	f("a.net.", wire.TypeA, false)
	f("a.test.", wire.TypeAXFR, true)
	for _, kind := range []uint16{wire.TypeA, wire.TypeAAAA, miekg.TypeTXT} { // from the cache
		name := "a.real."
		if kind == miekg.TypeTXT {
			name = "a.test."
		}
		packet, err := new(miekg.Msg).SetQuestion(name, kind).SetEdns0(4096, true).Pack()
		if err != nil {
			t.Fatal(err)
		}
		Respond(t.Context(), h, packet, true)
		f(name, kind, true)
	}
	var q wire.Query
	if n := testing.AllocsPerRun(100, func() { l.quick(out, &q, none) }); n != 0 {
		t.Errorf("what is no question: %v allocations", n)
	}
}

// TestNoteAllocatesNothing for what was noted before, and when the place of the oldest is taken.
func TestNoteAllocatesNothing(t *testing.T) {
	m, name := NewMapping(), []byte("a.test")
	for i := range mappingSize {
		m.Note(nth(i), name, 60)
	}
	n := 0
	if got := testing.AllocsPerRun(100, func() {
		m.Note(nth(n%8), name, 60)
		m.Name(nth(n))
		n++
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
