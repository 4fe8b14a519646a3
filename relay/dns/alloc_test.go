//go:build !race

package dns

import (
	"log/slog"
	"net/netip"
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
			if _, ok := l.quick(out, &q, packet, true); ok != answered {
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
	f("1.2.0.192.in-addr.arpa.", wire.TypePTR, true)
	lease := h.Fake.V4.Lease([]byte("a.test"))
	arpa, err := miekg.ReverseAddr(lease.String())
	if err != nil {
		t.Fatal(err)
	}
	f(arpa, wire.TypePTR, true)
	f("250.0.18.198.in-addr.arpa.", wire.TypePTR, true) // of no lease
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
	if n := testing.AllocsPerRun(100, func() { l.quick(out, &q, none, true) }); n != 0 {
		t.Errorf("what is no question: %v allocations", n)
	}
}

// TestNamesAllocateNothing where they are the answer.
func TestNamesAllocateNothing(t *testing.T) {
	q, out := question(t, "a.test", wire.TypeA), make([]byte, 0, wire.UDPSize)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	if n := testing.AllocsPerRun(100, func() {
		q.AppendName(out, wire.TypeCNAME, 1, wire.UDPSize, "b.example.test")
		q.AppendAlias(out, 1, wire.UDPSize, "b.example.test", addrs)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCrowdAllocatesNothing: who is told that too many wait costs as little as an answer.
func TestCrowdAllocatesNothing(t *testing.T) {
	book := new(logbook)
	h := newHandler(t, Handler{})
	l := &Listener{log: book.logger()}
	l.Use(h)
	from := netip.MustParseAddr("2001:db8::1")
	for range maxWaitingOfOne {
		l.waiting.enter(clientOf(from))
	}
	packet, err := new(miekg.Msg).SetQuestion("a.test.", wire.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	out := make([]byte, 0, wire.UDPSize)
	if n := testing.AllocsPerRun(100, func() {
		_, ok := l.quick(out, &q, packet, true)
		if ok || l.waiting.enter(clientOf(from)) {
			t.Error("there is room")
		}
		l.logCrowd()
		q.AppendEmpty(out, wire.ServerFailure)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := book.count("too many questions wait"); n != 1 {
		t.Errorf("%d lines", n)
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
