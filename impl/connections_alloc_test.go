//go:build !race

package impl

import (
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/track"
)

func TestConnectionsAllocateOnce(t *testing.T) {
	o := new(observed)
	o.table = track.NewTable()
	open(o.table, 1000)
	c := New(Options{Relay: o, Hub: testHub()})
	defer c.end()
	b := c.appendConnections(nil)
	if n := testing.AllocsPerRun(20, func() { b = c.appendConnections(b[:0]) }); n > 20 { // the list of flows
		t.Errorf("%v allocations for 1000 flows that were shown before", n)
	}
}
