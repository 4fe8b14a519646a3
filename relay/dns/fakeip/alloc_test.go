//go:build !race

package fakeip

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

func TestLeaseAllocatesNothing(t *testing.T) {
	for r, ip := range map[string]string{"198.18.0.0/16": "198.18.0.4", "fd00::/64": "fd00::4"} {
		p, addr := newPool(t, r), netip.MustParseAddr(ip)
		a, b := []byte("a.test"), []byte("b.test")
		p.Lease(a)
		p.Lease(b)
		n := testing.AllocsPerRun(100, func() {
			if p.Lease(b); p.Lease(a) != addr || !p.Has(a) || !p.Contains(addr) {
				t.Error("not what was to be measured")
			}
			if _, ok := p.Name(addr); !ok {
				t.Error("not what was to be measured")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", r, n)
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemory leases 100,000 addresses, and then as many more as make a pool full.
func TestMemory(t *testing.T) {
	const most = 20 << 20
	for _, r := range []string{"198.18.0.0/15", "fd00::/64"} {
		before := heap()
		p := newPool(t, r)
		name := make([]byte, 0, 64)
		lease := func(from, to int) {
			for i := from; i < to; i++ {
				name = fmt.Appendf(name[:0], "host-%d.example.test", i)
				p.Lease(name)
			}
		}
		lease(0, 100_000)
		if p.Len() != 100_000 {
			t.Fatalf("%s: %d leases", r, p.Len())
		}
		size := heap() - before
		t.Logf("%s: 100,000 leases take %.1f MB", r, float64(size)/(1<<20))
		if size > most {
			t.Errorf("%s: they take more than %d bytes", r, most)
		}
		lease(100_000, 300_000)
		if p.Len() != p.size || p.size > maxLeases {
			t.Errorf("%s: %d leases", r, p.Len())
		}
		if size := heap() - before; size > most*3/2 {
			t.Errorf("%s: a full pool takes %d bytes", r, size)
		}
		runtime.KeepAlive(p)
	}
}
