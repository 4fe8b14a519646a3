package group

import (
	"context"
	"errors"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// This file is how the groups among the members of a relay hear how dials went. A chain is dialed from its
// end: the last hop asks the one before it for a connection, and so on to the first. Each hop but the last
// writes its name on an error that it hands on; the nearest to us whose name is there has failed, and the
// last where there is none. A hop that does not connect to the next one takes the blame as a single node does
// that does not connect to its target, whichever of both is down: the check that groups ask for finds out.

// leg is a hop that another one is dialed through.
type leg struct{ outbound.Outbound }

// Dial implements outbound.Outbound.
func (l leg) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	c, err := l.Outbound.Dial(ctx, f)
	if err != nil {
		return nil, &legError{l.Info().Name, err}
	}
	return c, nil
}

// DialPacket implements outbound.Outbound.
func (l leg) DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	c, err := l.Outbound.DialPacket(ctx, f)
	if err != nil {
		return nil, &legError{l.Info().Name, err}
	}
	return c, nil
}

// legError is an error that came by a hop.
type legError struct {
	hop string
	err error
}

func (e *legError) Error() string { return e.err.Error() }

// Unwrap returns what the hop said.
func (e *legError) Unwrap() error { return e.err }

// failedHop is the hop of a chain that could not be dialed: the nearest to us that err came by, or the last.
func failedHop(chain outbound.Outbound, err error) outbound.Outbound {
	failed := ""
	for e := (*legError)(nil); errors.As(err, &e); err = e.err {
		if onChain(chain, e.hop) { // and not on that of a group that the node is dialed through
			failed = e.hop
		}
	}
	for {
		h, ok := chain.(*hop)
		if !ok || h.Info().Name == failed {
			break
		}
		chain = h.next
	}
	if h, ok := chain.(*hop); ok {
		return h.Outbound
	}
	return chain
}

// onChain says whether a hop of a chain is called name.
func onChain(chain outbound.Outbound, name string) bool {
	for {
		if chain.Info().Name == name {
			return true
		}
		h, ok := chain.(*hop)
		if !ok {
			return false
		}
		chain = h.next
	}
}

// DialFailed implements Feedback: the groups that lead to the hop that has failed hear of it.
func (g *Relay) DialFailed(m outbound.Outbound, err error) {
	tellInside(g, failedHop(m, err), err, maxSteps)
}

// DialWorked implements Feedback: the groups that lead to a hop hear of it.
func (g *Relay) DialWorked(m outbound.Outbound) { tellInside(g, m, nil, maxSteps) }

// tellInside tells the groups by which o leads to a hop of chain how the dial went. They are asked for their
// choice as it is now, which they may have changed since. It says whether o leads there, and how many looks
// are left.
func tellInside(o, chain outbound.Outbound, err error, looks int) (leads bool, left int) {
	if looks--; looks < 0 {
		return false, 0
	}
	var m outbound.Outbound
	switch g := o.(type) {
	case *Relay:
		s := g.set.Load()
		for i := range s.all {
			var does bool
			does, looks = tellInside(s.all[i].out, chain, err, looks)
			leads = leads || does
		}
		return leads, looks
	case Chooser:
		m = g.Now()
		if leads, looks = tellInside(m, chain, err, looks); !leads {
			return false, looks
		}
	case *LoadBalance:
		if m = g.memberOn(chain); m == nil {
			return false, looks
		}
	default:
		return onChain(chain, o.Info().Name), looks
	}
	if h, ok := o.(Feedback); ok && err != nil {
		h.DialFailed(m, err)
	} else if ok {
		h.DialWorked(m)
	}
	return true, looks
}

// memberOn is a member that is a hop of a chain, or nil. Groups among the members are not looked into.
func (g *LoadBalance) memberOn(chain outbound.Outbound) outbound.Outbound {
	s := g.set.Load()
	for {
		if i, ok := s.byName[chain.Info().Name]; ok {
			return s.all[i].out
		}
		h, ok := chain.(*hop)
		if !ok {
			return nil
		}
		chain = h.next
	}
}
