package main

import (
	"fmt"
	"net/netip"
	"runtime"

	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
)

// leases measures the memory and the time that fake addresses take.
func leases() error {
	const count = 100_000
	p, err := fakeip.New(fakeip.Config{Range: netip.MustParsePrefix("198.18.0.0/15")})
	if err != nil {
		return err
	}
	names := make([][]byte, count)
	for i := range names {
		names[i] = fmt.Appendf(nil, "host-%d.example.test", i)
	}
	before := heap()
	for _, name := range names {
		p.Lease(name)
	}
	kept := heap() - before
	row("100,000 fake leases", "≤ 20 MB", fmt.Sprintf("%.1f MB kept", float64(kept)/1e6))
	row("lease of a name that has one", "0 allocs", bench(func(i int) { p.Lease(names[i*7919%count]) }))
	row("lease of a name that has none", "", bench(func(i int) {
		p.Lease(fmt.Appendf(nil, "other-%d.example.test", i))
	}))
	if p.Len() < count {
		return fmt.Errorf("%d leases of %d", p.Len(), count)
	}
	runtime.KeepAlive(names)
	return nil
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
