package engine

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// Count is how often something happened, by a word of which there are few.
type Count struct {
	Word  string
	Count uint64
}

// Counts are what an engine has counted since it was made.
type Counts struct {
	Matches  []Count // flows by the type of the rule that decided; "none" is that none did
	Failures []Count // dials that failed, by the type of the node; "none" are flows for which there was none
	Rejected uint64  // flows that a rule refused
}

// noRule and noNode count what has no type.
const (
	noRule = "none"
	noNode = "none"
)

// counters count flows. matches is not changed once it is made.
type counters struct {
	matches  map[string]*atomic.Uint64
	rejected atomic.Uint64

	mu       sync.Mutex
	failures map[string]uint64
}

func newCounters() *counters {
	c := &counters{matches: map[string]*atomic.Uint64{noRule: new(atomic.Uint64)}, failures: make(map[string]uint64)}
	for _, word := range rule.Words() {
		c.matches[word] = new(atomic.Uint64)
	}
	return c
}

// matched counts a flow that the rules have decided about.
func (c *counters) matched(r *route) {
	word := r.info.Type
	switch {
	case r.mode != ByRule:
		return
	case r.rule == rule.None:
		word = noRule
	}
	if n := c.matches[word]; n != nil {
		n.Add(1)
	}
}

// failed counts a flow that came to nothing.
func (c *counters) failed(r *route, err error) {
	if rejected(err) {
		c.rejected.Add(1)
		return
	}
	word := noNode
	if r.leaf != nil && !errors.Is(err, flow.ErrLoop) {
		word = r.leaf.Info().Type
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures[word]++
}

// Counts returns what was counted until now.
func (e *Engine) Counts() Counts {
	c := e.counters
	n := Counts{Rejected: c.rejected.Load()}
	for word, count := range c.matches {
		n.Matches = append(n.Matches, Count{word, count.Load()})
	}
	c.mu.Lock()
	for word, count := range c.failures {
		n.Failures = append(n.Failures, Count{word, count})
	}
	c.mu.Unlock()
	for _, list := range [][]Count{n.Matches, n.Failures} {
		slices.SortFunc(list, func(a, b Count) int { return cmp.Compare(a.Word, b.Word) })
	}
	return n
}
