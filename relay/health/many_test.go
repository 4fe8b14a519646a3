//go:build !race

package health

import (
	"slices"
	"testing"
	"time"
)

// TestManyWants plans ten thousand, and keeps the pace.
func TestManyWants(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, p *Planner) {
		nodes, wants := make([]*node, 10_000), make([]Want, 0, 20_000)
		for i := range nodes {
			nodes[i] = fast("n")
			wants = append(wants, want(nodes[i], 300*time.Second, nil), want(nodes[i], 600*time.Second, nil))
		}
		p.Use(slices.Values(wants))
		time.Sleep(300 * time.Second)
		for _, n := range nodes {
			if c := n.count(); c < 1 || c > 2 {
				t.Fatalf("%d tests", c)
			}
		}
		if got := len(p.State().Next); got != 10_000 {
			t.Errorf("%d planned", got)
		}
	})
}
