package group

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// decisionHolds is how long a decision holds when nothing is learnt.
const decisionHolds = 10 * time.Second

// deciding is a group that chooses one member for all flows by what the tests say, and may be pinned to
// one. A decision is kept until the tests have learnt something, or for a while.
type deciding struct {
	watched
	choose func(s *set) int // called with mu held

	mu     sync.Mutex // a decision, or a change of what it is made by, at a time
	pin    string     // "" is none
	wished bool       // somebody pinned or unpinned
	lost   bool       // the decision that is being made has taken the pin out
}

// decide returns the choice, which it makes anew where the last one may be old. now is the group's clock.
func (g *deciding) decide(now time.Duration) *member {
	s := g.set.Load()
	changed := g.c.Tests.Changed() // before what it counts: a decision looks older rather than newer
	if s.decided(changed, now) {
		return &s.all[s.chosen.Load()]
	}
	m, lost := g.anew(now)
	if lost && g.c.Unpinned != nil {
		g.c.Unpinned() // with no lock held: it is somebody else's code
	}
	return m
}

// anew makes the choice anew, unless somebody else just has, and says whether that took the pin out.
func (g *deciding) anew(now time.Duration) (m *member, lost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.set.Load()
	if changed := g.c.Tests.Changed(); !s.decided(changed, now) {
		g.lost = false
		s.chosen.Store(int32(g.choose(s)))
		s.seen.Store(changed)
		s.until.Store(int64(now + decisionHolds))
		lost = g.lost
	}
	return &s.all[s.chosen.Load()], lost
}

// decided says whether the choice in s still holds.
func (s *set) decided(changed uint64, now time.Duration) bool {
	return int64(now) < s.until.Load() && s.seen.Load() == changed
}

// SetMembers implements Group.
func (g *deciding) SetMembers(list []outbound.Outbound) {
	if len(list) == 0 {
		return
	}
	next := newSet(list)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.set.Store(next)
}

// Pin implements Pinner.
func (g *deciding) Pin(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.set.Load().byName[name]; !ok {
		return fmt.Errorf("group %q: %w: %q", g.c.Name, ErrNoMember, name)
	}
	g.fix(name)
	return nil
}

// Unpin implements Pinner.
func (g *deciding) Unpin() { g.SetWish("") }

// SetWish implements Wisher; "" takes the pin out.
func (g *deciding) SetWish(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fix(name)
}

// fix changes the pin; mu is held.
func (g *deciding) fix(name string) {
	g.pin, g.wished = name, true
	g.set.Load().until.Store(0)
}

// Wish implements Wisher.
func (g *deciding) Wish() (name string, ok bool) {
	g.decide(time.Since(g.made)) // a pin may have to go
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pin, g.wished
}

// Fixed implements Pinner.
func (g *deciding) Fixed() string {
	name, _ := g.Wish()
	return name
}

// Now implements Chooser.
func (g *deciding) Now() outbound.Outbound { return g.decide(time.Since(g.made)).out }

// Pick implements Group.
func (g *deciding) Pick(*flow.Flow) outbound.Outbound { return g.decide(g.use()).out }

// Peek implements Group.
func (g *deciding) Peek(*flow.Flow) outbound.Outbound { return g.Now() }

// UDP implements Group: whether the choice carries UDP, and the group lets it.
func (g *deciding) UDP() bool {
	ok, _ := g.carries(maxLooks)
	return ok
}

func (g *deciding) carries(looks int) (ok bool, left int) {
	if g.c.DisableUDP {
		return false, looks
	}
	return g.decide(time.Since(g.made)).carries(looks)
}

// Dial implements outbound.Outbound through the choice.
func (g *deciding) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	return dial(ctx, g, f)
}

// DialPacket implements outbound.Outbound through the choice.
func (g *deciding) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	return dialPacket(ctx, g, f)
}
