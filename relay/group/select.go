package group

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Select is a group whose member somebody picks by hand.
type Select struct {
	crew
	mu     sync.Mutex // a choice, or a change of members, at a time
	wish   string     // what somebody chose, or would have
	wished bool
}

// NewSelect makes the group with its default choice.
func NewSelect(c Config) *Select {
	g := new(Select)
	g.start(c, "Selector")
	s := g.set.Load()
	s.chosen.Store(int32(s.index(c.Default, 0)))
	return g
}

// Select makes name the choice for flows from now on; it fails with ErrNoMember.
func (g *Select) Select(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.set.Load()
	i, ok := s.byName[name]
	if !ok {
		return fmt.Errorf("group %q: %w: %q", g.c.Name, ErrNoMember, name)
	}
	g.wish, g.wished = name, true
	s.chosen.Store(int32(i))
	return nil
}

// Wish implements Wisher; none is a group that has been left to its default.
func (g *Select) Wish() (name string, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wish, g.wished
}

// SetWish implements Wisher: what is no member leaves the choice as it is.
func (g *Select) SetWish(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wish, g.wished = name, true
	s := g.set.Load()
	s.chosen.Store(int32(s.index(name, int(s.chosen.Load()))))
}

// SetMembers implements Group. What somebody chose is the choice again where it is a member, else the
// default or the first.
func (g *Select) SetMembers(list []outbound.Outbound) {
	if len(list) == 0 {
		return
	}
	next := newSet(list)
	g.mu.Lock()
	defer g.mu.Unlock()
	i := next.index(g.c.Default, 0)
	if g.wished {
		i = next.index(g.wish, i)
	}
	next.chosen.Store(int32(i))
	g.set.Store(next)
}

// Now implements Chooser.
func (g *Select) Now() outbound.Outbound { return g.now().out }

func (g *Select) now() *member {
	s := g.set.Load()
	return &s.all[s.chosen.Load()]
}

// Pick implements Group.
func (g *Select) Pick(*flow.Flow) outbound.Outbound {
	g.use()
	return g.now().out
}

// Peek implements Group.
func (g *Select) Peek(*flow.Flow) outbound.Outbound { return g.Now() }

// UDP says whether the choice carries UDP and the group lets it.
func (g *Select) UDP() bool {
	ok, _ := g.carries(maxLooks)
	return ok
}

func (g *Select) carries(looks int) (ok bool, left int) {
	if g.c.DisableUDP {
		return false, looks
	}
	return g.now().carries(looks)
}

// Dial implements outbound.Outbound through the choice.
func (g *Select) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	return dial(ctx, g, f)
}

// DialPacket implements outbound.Outbound through the choice.
func (g *Select) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	return dialPacket(ctx, g, f)
}
