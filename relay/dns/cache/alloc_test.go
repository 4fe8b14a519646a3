//go:build !race

package cache_test

import (
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
)

func TestGetAllocatesNothing(t *testing.T) {
	for _, arc := range []bool{false, true} {
		c := cache.New(cache.Config{ARC: arc})
		k, a := answer(t, "a.test.", 60)
		c.Put(k, a, 1, c.Flushes())
		if n := testing.AllocsPerRun(100, func() { c.Get(k, 1) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
