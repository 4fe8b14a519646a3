package group

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// The defaults of what asks for a check, and the least time between two.
const (
	defaultMaxFailed = 5
	defaultWindow    = 5 * time.Second
	checkEvery       = time.Second
)

// failures are the dials of one member that failed lately. They change under the group's lock.
type failures struct {
	count atomic.Int32
	first time.Duration // when the first was, on the group's clock
}

// watched is a crew that hears how dials went, and asks for a check of the members when they go badly.
type watched struct {
	crew
	failed  sync.Mutex
	checked time.Duration // when a check was last asked for; 0 is never
}

func (g *watched) start(c Config, kind string) {
	if c.MaxFailed <= 0 {
		c.MaxFailed = defaultMaxFailed
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultWindow
	}
	g.crew.start(c, kind)
}

// DialFailed implements Feedback. A member that refuses connections is a reason to check at once, one
// that fails in other ways when it does so MaxFailed times within Timeout. What is not the member's
// fault does not count: that the client left, or what the target of a direct connection does.
func (g *watched) DialFailed(m outbound.Outbound, err error) {
	if g.c.Check == nil || !blames(m.Info(), err) {
		return
	}
	s := g.set.Load()
	i, ok := s.byName[m.Info().Name]
	if !ok {
		return
	}
	if g.bad(&s.all[i].failures, errors.Is(err, syscall.ECONNREFUSED)) {
		g.c.Check() // with no lock held: it is somebody else's code
	}
}

// bad notes a failure, and says whether a check is due.
func (g *watched) bad(f *failures, refused bool) bool {
	g.failed.Lock()
	defer g.failed.Unlock()
	now := time.Since(g.made)
	if f.count.Load() == 0 || now-f.first > g.c.Timeout {
		f.first = now
		f.count.Store(0)
	}
	if n := f.count.Add(1); !refused && int(n) < g.c.MaxFailed {
		return false
	}
	f.count.Store(0)
	if g.checked != 0 && now-g.checked < checkEvery {
		return false
	}
	g.checked = max(now, 1)
	return true
}

// DialWorked implements Feedback: it forgets the member's failures.
func (g *watched) DialWorked(m outbound.Outbound) {
	s := g.set.Load()
	i, ok := s.byName[m.Info().Name]
	if !ok || s.all[i].failures.count.Load() == 0 {
		return
	}
	g.failed.Lock()
	defer g.failed.Unlock()
	s.all[i].failures.count.Store(0)
}

// blames says whether an error tells something about the way through a member.
func blames(i *outbound.Info, err error) bool {
	switch i.Type {
	case "Direct", "Compatible", "Pass", "Reject", "RejectDrop", "Rematch", "Dns":
		return false
	}
	for _, no := range []error{context.Canceled, flow.ErrNoUDP, flow.ErrRejected, flow.ErrLoop} {
		if errors.Is(err, no) {
			return false
		}
	}
	return true
}
