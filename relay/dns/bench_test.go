package dns

import (
	"log/slog"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// BenchmarkQuick is the work for one datagram whose answer is at hand, but for the system's.
func BenchmarkQuick(b *testing.B) {
	fake := newFake(b)
	fake.Real = func(host string) bool { return len(host) > 6 }
	h := newHandler(b, Handler{Hosts: hostsTable(b, listed("mine.test", "192.0.2.1")), Fake: fake, Mapping: NewMapping(), Log: slog.New(slog.DiscardHandler)})
	l := &Listener{log: h.Log}
	l.Use(h)
	out := make([]byte, 0, wire.UDPSize)
	for _, c := range []struct{ what, name string }{{"cached", "kept.test."}, {"fake", "a.test."}, {"hosts", "mine.test."}} {
		packet, err := new(miekg.Msg).SetQuestion(c.name, miekg.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		Respond(b.Context(), h, packet, true)
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			var q wire.Query
			for b.Loop() {
				if _, ok := l.quick(out, &q, packet, true); !ok {
					b.Fatal("no answer")
				}
			}
		})
	}
}
