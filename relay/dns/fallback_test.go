package dns

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// TestFallback: the second servers decide about addresses that cannot be right, and where the first have
// none. 10.0.0.0/8 is what cannot be right.
func TestFallback(t *testing.T) {
	const second = time.Second // how long the others take
	yes, wrong := says(miekg.RcodeSuccess, good), says(miekg.RcodeSuccess, good, "@ 60 A 10.0.0.1")
	none, nowhere, broken := says(miekg.RcodeSuccess), says(miekg.RcodeNameError), says(miekg.RcodeServerFailure)
	other := says(miekg.RcodeSuccess, "@ 60 A 203.0.113.99")
	const first, fallback = "a.test. 60 A 203.0.113.7", "a.test. 60 A 203.0.113.99"
	const failed = "error: all DNS requests failed, first error: udp://192.0.2.1:53: server failure: SERVFAIL"
	for _, c := range []struct {
		name      string
		main, two zone
		kind      uint16
		lazy      bool
		only      string // names for the second servers
		want      string
		took      time.Duration
		asked     int64 // the second servers
	}{
		{name: "good", main: yes, two: other, want: first, asked: 1},
		{name: "good, lazy", main: yes, two: other, lazy: true, want: first},
		{name: "in doubt", main: wrong, two: other, want: fallback, took: second, asked: 1},
		{name: "in doubt, lazy", main: wrong, two: other, lazy: true, want: fallback, took: second, asked: 1},
		{name: "in doubt, and the others cannot", main: wrong, two: broken, want: failed, took: second, asked: 1},
		{name: "no address", main: none, two: other, want: fallback, took: second, asked: 1},
		{name: "no name", main: nowhere, two: other, lazy: true, want: fallback, took: second, asked: 1},
		{name: "no name, and the others cannot", main: nowhere, two: broken, want: "NXDOMAIN", took: second, asked: 1},
		{name: "failed", main: broken, two: other, want: fallback, took: second, asked: 1},
		{name: "failed, lazy", main: broken, two: other, lazy: true, want: fallback, took: second, asked: 1},
		{name: "silent", main: silent, two: other, want: fallback, took: firstPatience, asked: 1},
		{name: "silent, lazy", main: silent, two: other, lazy: true, want: fallback, took: firstPatience + second, asked: 1},
		{name: "silent, and the others cannot", main: silent, two: broken, want: failed, took: queryTimeout, asked: 1},
		{name: "all failed", main: broken, two: broken, want: failed, took: second, asked: 1},
		{name: "no address at all", main: none, two: nowhere, want: "NXDOMAIN", took: second, asked: 1},
		{name: "for the others alone", main: yes, two: other, only: "+.test", want: fallback, took: second, asked: 1},
		{name: "for the others alone, who cannot", main: yes, two: broken, only: "+.test", want: failed, took: second, asked: 1},
		{name: "not for the others", main: yes, two: other, lazy: true, only: "test", want: first},
		{name: "no addresses are asked for", main: none, two: other, kind: wire.TypeMX, only: "+.test"},
		{name: "IPv6", main: none, two: other, kind: wire.TypeAAAA, want: fallback, took: second, asked: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				fb := &Fallback{
					Servers: servers(t, c.two.after(second).counted(&n)), Lazy: c.lazy,
					Doubts: netip.MustParsePrefix("10.0.0.0/8").Contains,
				}
				if c.only != "" {
					fb.Names = names(t, c.only)
				}
				begin := time.Now()
				got := ask(t, t.Context(), newResolver(t, Config{Servers: servers(t, c.main), Fallback: fb}), "a.test", max(c.kind, wire.TypeA))
				took := time.Since(begin)
				synctest.Wait()
				if got != c.want || took != c.took || n.Load() != c.asked {
					t.Errorf("%s after %s, %d asked; want %s after %s, %d", got, took, n.Load(), c.want, c.took, c.asked)
				}
			})
		})
	}
}
