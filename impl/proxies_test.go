package impl

import (
	"fmt"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// TestNodesAreWrittenOncePerChange keeps the text of nodes until a test finds something, or there are other nodes.
func TestNodesAreWrittenOncePerChange(t *testing.T) {
	var kept nodesText
	written := 0
	f := func(all []outbound.Outbound, count uint64, want int) {
		t.Helper()
		written = 0
		j := kept.of(all, count, func(b []byte, o outbound.Outbound) []byte {
			written++
			return fmt.Append(b, o.Info().Name, " ", count)
		})
		from := 0
		for i, o := range all {
			if got := string(j.text[from:j.ends[i]]); got != fmt.Sprint(o.Info().Name, " ", count) {
				t.Errorf("node %d is %q", i, got)
			}
			from = j.ends[i]
		}
		if written != want {
			t.Errorf("%d nodes were written; want %d", written, want)
		}
	}
	nodes := func(names ...string) (all []outbound.Outbound) {
		for _, name := range names {
			all = append(all, outbound.NewUnbuilt(outbound.Info{Name: name}, "x"))
		}
		return all
	}
	one, two := nodes("a", "bc"), nodes("a", "bc")
	f(one, 0, 2)
	f(one, 0, 0)
	f(one, 1, 2) // a test has found something
	f(one, 1, 0)
	f(two, 1, 2) // a reload
	f(two, 1, 0)
	f(one[:1], 1, 1)
	f(nil, 1, 0)
}
