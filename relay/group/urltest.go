package group

import (
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// URLTest is a group that takes the fastest member.
type URLTest struct {
	deciding
	fastest string // the member that was taken last, without a pin
	taken   bool
}

// NewURLTest makes the group.
func NewURLTest(c Config) *URLTest {
	g := new(URLTest)
	g.choose = g.fast
	g.start(c, "URLTest")
	return g
}

// Follow implements Successor: the member that old took last is the one that stays within the tolerance.
func (g *URLTest) Follow(old outbound.Outbound) {
	was, ok := old.(*URLTest)
	if !ok || was == nil || was == g {
		return
	}
	was.mu.Lock()
	fastest, taken := was.fastest, was.taken
	was.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if taken && !g.taken {
		g.fastest, g.taken = fastest, true
	}
}

// fast is the pinned member while it is alive, else the fastest. The one that was taken last stays
// unless it is dead, gone, or slower than the fastest by more than the tolerance. With all dead it is
// the first.
func (g *URLTest) fast(s *set) int {
	last := -1
	if g.taken {
		last = s.index(g.fastest, -1)
	}
	best, bestDelay, lastDelay := -1, 0, -1
	for i := range s.all {
		alive, d := g.c.Tests.Result(s.all[i].info, g.c.TestURL)
		if !alive {
			continue
		}
		if i == last {
			lastDelay = int(d)
		}
		if best < 0 || int(d) < bestDelay {
			best, bestDelay = i, int(d)
		}
	}
	switch {
	case best < 0:
		best = 0
	case lastDelay >= 0 && time.Duration(lastDelay-bestDelay)*time.Millisecond <= g.c.Tolerance:
		best = last
	}
	g.fastest, g.taken = s.all[best].info.Name, true
	if i, ok := s.byName[g.pin]; ok && g.pin != "" && g.alive(&s.all[i]) {
		return i
	}
	return best
}
