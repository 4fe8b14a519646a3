package group

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Strategy is how a load-balance group spreads flows.
type Strategy uint8

// The strategies.
const (
	ConsistentHashing Strategy = iota // all of one registrable domain, or address, to one member
	RoundRobin                        // each flow to the next member
	StickySessions                    // all of one source to one target to one member, for a while
)

var strategyNames = [...]string{"consistent-hashing", "round-robin", "sticky-sessions"}

// String returns the configuration's word.
func (s Strategy) String() string { return strategyNames[s] }

// ParseStrategy reads the configuration's word; "" is ConsistentHashing.
func ParseStrategy(word string) (Strategy, bool) {
	for s, name := range strategyNames {
		if word == name {
			return Strategy(s), true
		}
	}
	return ConsistentHashing, word == ""
}

// LoadBalance is a group that spreads flows over its members. Those that are dead, and for UDP those
// that carry none, are passed over; with nobody left it is the first.
type LoadBalance struct {
	watched
	turn    atomic.Uint32 // round-robin: who is next
	domains *domains      // not for round-robin
	sticky  *sticky       // sticky-sessions
}

// NewLoadBalance makes the group.
func NewLoadBalance(c Config) *LoadBalance {
	g := new(LoadBalance)
	if c.Strategy != RoundRobin {
		g.domains = new(domains)
	}
	if c.Strategy == StickySessions {
		g.sticky = new(sticky)
	}
	g.start(c, "LoadBalance")
	return g
}

// SetMembers implements Group.
func (g *LoadBalance) SetMembers(list []outbound.Outbound) {
	if len(list) > 0 {
		g.set.Store(newSet(list))
	}
}

// Pick implements Group.
func (g *LoadBalance) Pick(f *flow.Flow) outbound.Outbound { return g.pick(f, g.use(), false) }

// Peek implements Group.
func (g *LoadBalance) Peek(f *flow.Flow) outbound.Outbound {
	return g.pick(f, time.Since(g.made), true)
}

// pick is Pick, or Peek, at now on the group's clock.
func (g *LoadBalance) pick(f *flow.Flow, now time.Duration, peek bool) outbound.Outbound {
	s := g.set.Load()
	udp := f != nil && f.Network == flow.UDP
	i, ok := 0, false
	switch g.c.Strategy {
	case RoundRobin:
		i, ok = g.next(s, udp, peek)
	case StickySessions:
		i, ok = g.stick(s, f, udp, now, peek)
	default:
		i, ok = g.hashed(s, g.domains.target(f), udp)
	}
	if !ok {
		i = lastResort(s, udp)
	}
	return s.all[i].out
}

// fits says whether a member is alive and can carry the flow.
func (g *LoadBalance) fits(m *member, udp bool) bool {
	if !g.alive(m) {
		return false
	}
	if !udp {
		return true
	}
	ok, _ := m.carries(maxLooks)
	return ok
}

// lastResort is who is taken when nobody fits.
func lastResort(s *set, udp bool) int {
	looks := maxLooks
	for i := range s.all {
		if !udp {
			break
		}
		var ok bool
		if ok, looks = s.all[i].carries(looks); ok {
			return i
		}
	}
	return 0
}

// next is whose turn it is; to peek takes no turn.
func (g *LoadBalance) next(s *set, udp, peek bool) (int, bool) {
	for n := uint32(len(s.all)); ; {
		turn := g.turn.Load()
		i, found := turn%n, false
		for range n {
			if found = g.fits(&s.all[i], udp); found {
				break
			}
			i = (i + 1) % n
		}
		if !found || peek || g.turn.CompareAndSwap(turn, (i+1)%n) {
			return int(i), found
		}
	}
}

// rehashes is how often a key whose member does not fit is hashed again, so that the flows of a dead
// member are spread over all others.
const rehashes = 8

// hashed is the member that key belongs to. What belongs to others stays when one dies or returns.
func (g *LoadBalance) hashed(s *set, key uint64, udp bool) (int, bool) {
	i := jump(key, len(s.all))
	for range rehashes {
		if g.fits(&s.all[i], udp) {
			return i, true
		}
		key = mix(key + 1)
		i = jump(key, len(s.all))
	}
	for range s.all {
		if g.fits(&s.all[i], udp) {
			return i, true
		}
		i = (i + 1) % len(s.all)
	}
	return 0, false
}

// stick is the member that the flow's source had for its target lately, or gets now. To peek remembers
// nothing.
func (g *LoadBalance) stick(s *set, f *flow.Flow, udp bool, now time.Duration, peek bool) (int, bool) {
	key := g.domains.target(f)
	if f != nil {
		key = mix(key ^ hashAddr(f.Source.Addr()))
	}
	if name, ok := g.sticky.get(key, now, peek); ok {
		if i, ok := s.byName[name]; ok && g.fits(&s.all[i], udp) {
			return i, true
		}
	}
	i, ok := g.hashed(s, key, udp)
	if ok && !peek {
		g.sticky.put(key, s.all[i].info.Name, now)
	}
	return i, ok
}

// UDP implements Group: whether any member carries UDP, and the group lets it.
func (g *LoadBalance) UDP() bool {
	ok, _ := g.carries(maxLooks)
	return ok
}

func (g *LoadBalance) carries(looks int) (ok bool, left int) {
	if g.c.DisableUDP {
		return false, looks
	}
	s := g.set.Load()
	for i := range s.all {
		if ok, looks = s.all[i].carries(looks); ok {
			return true, looks
		}
	}
	return false, looks
}

// Dial implements outbound.Outbound.
func (g *LoadBalance) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	return dial(ctx, g, f)
}

// DialPacket implements outbound.Outbound.
func (g *LoadBalance) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	return dialPacket(ctx, g, f)
}
