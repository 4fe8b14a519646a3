//go:build !race

package pump_test

import (
	"io"
	"testing"
)

// TestRelayAllocatesNothing moves bytes through an open relay, in buffers and by splice.
func TestRelayAllocatesNothing(t *testing.T) {
	r := run(t, bare)
	p := make([]byte, 4<<10)
	trip := func() {
		if _, err := r.client.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r.target, p); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(20, trip); n != 0 {
		t.Errorf("%v allocations a read through buffers", n)
	}
	for r.up.Load() < 256<<10 {
		trip()
	}
	if n := testing.AllocsPerRun(20, trip); n != 0 {
		t.Errorf("%v allocations a read by splice", n)
	}
}
