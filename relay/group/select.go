// Package group has the outbounds that are made of other outbounds.
package group

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// ErrNoMember means that a choice names nobody in the group.
var ErrNoMember = errors.New("no such member")

// Select is a group whose member somebody picks by hand.
type Select struct {
	c      Config
	byName map[string]int
	chosen atomic.Int64
	wish   atomic.Pointer[string] // what somebody chose, or would have
}

// Config is one select group. It has at least one member.
type Config struct {
	Name       string
	Members    []outbound.Outbound
	Default    string // the member chosen at first; "" is the first one
	DisableUDP bool
	Hidden     bool
	Icon       string
	TestURL    string // what the API shows
	Empty      string // the name of the member that stands in for none
	info       outbound.Info
}

// NewSelect makes the group with its default choice.
func NewSelect(c Config) *Select {
	c.info = outbound.Info{Name: c.Name, Type: "Selector"}
	g := &Select{c: c, byName: make(map[string]int, len(c.Members))}
	for i, m := range c.Members {
		if _, dup := g.byName[m.Info().Name]; !dup {
			g.byName[m.Info().Name] = i
		}
	}
	g.chosen.Store(int64(g.byName[c.Default])) // an unknown name is 0, the first
	return g
}

// Config returns what the group was made of; it is not to be changed.
func (g *Select) Config() *Config { return &g.c }

// Info implements outbound.Outbound.
func (g *Select) Info() *outbound.Info { return &g.c.info }

// Select makes name the choice for flows from now on; it fails with ErrNoMember.
func (g *Select) Select(name string) error {
	if _, ok := g.byName[name]; !ok {
		return fmt.Errorf("group %q: %w: %q", g.c.Name, ErrNoMember, name)
	}
	g.SetWish(name)
	return nil
}

// Wish says what somebody wants the choice to be, which may be no member now; none is a group that
// has been left to its default.
func (g *Select) Wish() (name string, ok bool) {
	if w := g.wish.Load(); w != nil {
		return *w, true
	}
	return "", false
}

// SetWish makes name the choice if it is a member, and is remembered if it is not.
func (g *Select) SetWish(name string) {
	g.wish.Store(&name)
	if i, ok := g.byName[name]; ok {
		g.chosen.Store(int64(i))
	}
}

// Now is the choice.
func (g *Select) Now() outbound.Outbound { return g.c.Members[g.chosen.Load()] }

// Pick is the member that carries f.
func (g *Select) Pick(*flow.Flow) outbound.Outbound { return g.Now() }

// UDP says whether the choice carries UDP and the group lets it.
func (g *Select) UDP() bool {
	if g.c.DisableUDP {
		return false
	}
	now := g.Now()
	if u, ok := now.(interface{ UDP() bool }); ok {
		return u.UDP()
	}
	return now.Info().UDP
}

// Dial implements outbound.Outbound through the choice.
func (g *Select) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	return g.Now().Dial(ctx, f)
}

// DialPacket implements outbound.Outbound through the choice.
func (g *Select) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	if g.c.DisableUDP {
		return nil, flow.ErrNoUDP
	}
	return g.Now().DialPacket(ctx, f)
}
