package group

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Chained is a node that can be reached through another outbound.
type Chained interface {
	// Through returns the same node with its server dialed through via.
	Through(via outbound.Outbound) outbound.Outbound
}

const (
	maxHops  = 16   // of one chain
	maxSteps = 256  // through groups, to find the hops
	maxLinks = 1024 // that are remembered
)

// Relay is a group that goes through all of its members, one behind the other. Members that are groups
// take part with whom they pick. Pick leads to the hops in their order: each can be asked for the next,
// as if it were a group, and the last one dials.
type Relay struct {
	crew
	tooLong outbound.Outbound

	mu    sync.RWMutex
	root  link // of the chains that are in use
	links int
}

// link is a node at a place of a chain.
type link struct {
	node outbound.Outbound // dialed through those before it
	next map[outbound.Outbound]*link
	head outbound.Outbound // the first hop of the chain that ends here, once one has
}

// NewRelay makes the group.
func NewRelay(c Config) *Relay {
	g := new(Relay)
	g.start(c, "Relay")
	g.tooLong = outbound.NewReject(g.info, fmt.Errorf("group %q: a chain of more than %d nodes", c.Name, maxHops))
	return g
}

// SetMembers implements Group.
func (g *Relay) SetMembers(list []outbound.Outbound) {
	if len(list) == 0 {
		return
	}
	g.set.Store(newSet(list))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.root, g.links = link{}, 0
}

// walk is a chain while it is put together.
type walk struct {
	room   [maxHops]outbound.Outbound
	n      int               // the hops in room
	direct outbound.Outbound // the first that is no hop, since it goes to the target itself
	fate   outbound.Outbound // who decides about the flow whatever the chain is
	steps  int
	peek   bool // nobody goes that way: it is nobody's turn
}

// Pick implements Group. A chain of one is that node, and one of none is the direct outbound among them.
func (g *Relay) Pick(f *flow.Flow) outbound.Outbound { return g.pick(f, false) }

// Peek implements Group.
func (g *Relay) Peek(f *flow.Flow) outbound.Outbound { return g.pick(f, true) }

func (g *Relay) pick(f *flow.Flow, peek bool) outbound.Outbound {
	w := walk{steps: maxSteps, peek: peek}
	g.walk(f, &w)
	switch {
	case w.fate != nil:
		return w.fate
	case w.n == 0:
		return w.direct
	case w.n == 1:
		return w.room[0]
	}
	return g.chain(w.room[:w.n])
}

// walk adds the hops that g has for f, until there is nothing to add.
func (g *Relay) walk(f *flow.Flow, w *walk) {
	if !w.peek {
		g.use()
	}
	s := g.set.Load()
	for i := range s.all {
		o := s.all[i].out
		for w.fate == nil {
			if w.steps--; w.steps < 0 {
				w.fate = g.tooLong
				return
			}
			if r, ok := o.(*Relay); ok {
				r.walk(f, w)
				break
			}
			p, ok := o.(picks)
			if !ok {
				g.add(o, w)
				break
			}
			if w.peek {
				o = p.Peek(f)
			} else {
				o = p.Pick(f)
			}
		}
	}
}

// add adds a node.
func (g *Relay) add(o outbound.Outbound, w *walk) {
	switch o.Info().Type {
	case "Direct", "Compatible":
		if w.direct == nil {
			w.direct = o
		}
	case "Reject", "RejectDrop", "Pass", "Rematch", "Dns":
		w.fate = o
	default:
		if w.n == maxHops {
			w.fate = g.tooLong
			return
		}
		w.room[w.n] = o
		w.n++
	}
}

// chain is the first hop of a chain of two or more.
func (g *Relay) chain(hops []outbound.Outbound) outbound.Outbound {
	g.mu.RLock()
	at := &g.root
	for _, o := range hops {
		if at = at.next[o]; at == nil {
			break
		}
	}
	if at != nil && at.head != nil {
		defer g.mu.RUnlock()
		return at.head
	}
	g.mu.RUnlock()
	return g.build(hops)
}

// build makes a chain and remembers it. Chains of nodes that are gone are forgotten with all others, when
// there are too many.
func (g *Relay) build(hops []outbound.Outbound) outbound.Outbound {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.links > maxLinks {
		g.root, g.links = link{}, 0
	}
	at := &g.root
	for _, o := range hops {
		next := at.next[o]
		if next == nil {
			next = &link{node: through(o, at.node)}
			if at.next == nil {
				at.next = make(map[outbound.Outbound]*link)
			}
			at.next[o] = next
			g.links++
		}
		at = next
	}
	if at.head == nil {
		at.head = at.node
		for i := len(hops) - 2; i >= 0; i-- {
			at.head = &hop{hops[i], at.head}
		}
	}
	return at.head
}

// through is o dialed through via, where there is one.
func through(o, via outbound.Outbound) outbound.Outbound {
	if via == nil {
		return o
	}
	if c, ok := o.(Chained); ok {
		return c.Through(leg{via})
	}
	i := *o.Info()
	return outbound.NewReject(i, fmt.Errorf("proxy %q: type %s cannot be reached through another proxy", i.Name, i.Type))
}

// hop is a node on the way of a chain.
type hop struct {
	outbound.Outbound
	next outbound.Outbound
}

// Pick is the hop behind it.
func (h *hop) Pick(*flow.Flow) outbound.Outbound { return h.next }

// Peek is the hop behind it.
func (h *hop) Peek(*flow.Flow) outbound.Outbound { return h.next }

// UDP implements Group: whether all hops carry UDP, as far back as the first that carries it over TCP.
func (g *Relay) UDP() bool {
	ok, _ := g.carries(maxLooks)
	return ok
}

func (g *Relay) carries(looks int) (ok bool, left int) {
	if g.c.DisableUDP {
		return false, looks
	}
	s := g.set.Load()
	for i := len(s.all) - 1; i >= 0; i-- {
		if ok, looks = s.all[i].carries(looks); !ok {
			return false, looks
		}
		if choice(s.all[i].out).Info().UOT {
			break
		}
	}
	return true, looks
}

// choice is what a member comes down to, as far as that is the same for all flows.
func choice(o outbound.Outbound) outbound.Outbound {
	for range maxWay {
		c, ok := o.(Chooser)
		if !ok {
			break
		}
		o = c.Now()
	}
	return o
}

// Dial implements outbound.Outbound.
func (g *Relay) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) { return dial(ctx, g, f) }

// DialPacket implements outbound.Outbound.
func (g *Relay) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	return dialPacket(ctx, g, f)
}
