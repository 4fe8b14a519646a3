package dns

import (
	"encoding/binary"
	"log/slog"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// FuzzListener: whatever comes, the listener lives, and its answer is one: for that question, no longer than
// the client takes, and readable.
func FuzzListener(f *testing.F) {
	for _, m := range []*miekg.Msg{
		new(miekg.Msg).SetQuestion("a.test.", miekg.TypeA),
		new(miekg.Msg).SetQuestion("many.test.", miekg.TypeA).SetEdns0(512, true),
		new(miekg.Msg).SetQuestion("a.real.", miekg.TypeA).SetEdns0(65535, true),
		new(miekg.Msg).SetQuestion("1.2.0.192.in-addr.arpa.", miekg.TypePTR),
		new(miekg.Msg).SetQuestion("4.0.18.198.in-addr.arpa.", miekg.TypePTR),
		new(miekg.Msg).SetQuestion(`a\.b.test.`, miekg.TypeHTTPS),
		new(miekg.Msg).SetNotify("test."),
		new(miekg.Msg).SetAxfr("test."),
		new(miekg.Msg).SetReply(new(miekg.Msg).SetQuestion("a.test.", miekg.TypeA)),
	} {
		p, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		f.Add(p[:len(p)-1])
	}
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"))
	var many []string
	for i := range 200 {
		many = append(many, nth(i).String())
	}
	h := newHandler(f, Handler{
		Hosts: hostsTable(f, listed("many.test", many...), listed("mine.test", "192.0.2.1")),
		Fake:  newFake(f), Mapping: NewMapping(), IPv6: true, Log: slog.New(slog.DiscardHandler),
	})
	for _, name := range []string{"a.real", "b.real"} {
		answer(f, h, name, wire.TypeA)
	}
	l := &Listener{log: h.Log}
	l.Use(h)
	f.Fuzz(func(t *testing.T, packet []byte) {
		var q wire.Query
		answer, _ := l.quick(nil, &q, packet, true)
		if l.panics.Load() > 0 {
			t.Fatal("a panic")
		}
		if len(answer) == 0 {
			return
		}
		if len(packet) < wire.HeaderSize || binary.BigEndian.Uint16(packet) != binary.BigEndian.Uint16(answer) {
			t.Fatalf("%x answers %x", answer, packet)
		}
		if packet[2]&0x80 != 0 {
			t.Fatal("a response is answered")
		}
		if len(answer) > int(q.Size) || len(answer) > 512 && !q.EDNS {
			t.Fatalf("%d bytes; the client takes %d", len(answer), q.Size)
		}
		m := new(miekg.Msg)
		if err := m.Unpack(answer); err != nil || !m.Response {
			t.Fatalf("%x: %v", answer, err)
		}
	})
}
