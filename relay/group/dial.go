package group

import (
	"context"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// picks is a group, or a hop of a relay, on the way to the outbound that dials.
type picks interface {
	Pick(f *flow.Flow) outbound.Outbound
	Peek(f *flow.Flow) outbound.Outbound
}

// maxWay bounds the groups on a way.
const maxWay = 64

// way goes from g to the outbound that dials: all that it comes by, which begins with g and ends there.
// With packets the groups that let no UDP through end it.
func way(g outbound.Outbound, f *flow.Flow, packets bool) ([]outbound.Outbound, error) {
	chain := make([]outbound.Outbound, 1, 4)
	chain[0] = g
	for range maxWay {
		p, ok := g.(picks)
		if !ok {
			break
		}
		if c, ok := g.(Group); ok && packets && c.Config().DisableUDP {
			return nil, flow.ErrNoUDP
		}
		g = p.Pick(f)
		chain = append(chain, g)
	}
	return chain, nil
}

// dial implements outbound.Outbound's Dial for g, through whom it picks.
func dial(ctx context.Context, g outbound.Outbound, f *flow.Flow) (flow.Conn, error) {
	chain, _ := way(g, f, false)
	c, err := chain[len(chain)-1].Dial(ctx, f)
	Tell(chain, err)
	return c, err
}

// dialPacket is dial for datagrams.
func dialPacket(ctx context.Context, g outbound.Outbound, f *flow.Flow) (flow.PacketConn, error) {
	chain, err := way(g, f, true)
	if err != nil {
		return nil, err
	}
	c, err := chain[len(chain)-1].DialPacket(ctx, f)
	Tell(chain, err)
	return c, err
}

// Tell tells the groups on a way how a dial went: chain begins with the group that was asked first and
// ends with the outbound that dialed. Whoever calls Pick and dials does so; Dial does it by itself.
func Tell(chain []outbound.Outbound, err error) {
	if len(chain) == 0 || err != nil && !blames(chain[len(chain)-1].Info(), err) {
		return
	}
	for i, o := range chain[:len(chain)-1] {
		g, ok := o.(Feedback)
		switch {
		case !ok:
		case err == nil:
			g.DialWorked(chain[i+1])
		default:
			g.DialFailed(chain[i+1], err)
		}
	}
}
