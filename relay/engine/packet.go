package engine

import (
	"context"
	"net/netip"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// OpenPacket opens the association of f, which is the daemon's own, where the rules send it. The caller
// closes it; so may whoever ends flows.
func (e *Engine) OpenPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error) {
	r, err := e.route(ctx, e.current.Load(), f)
	return e.openOwn(ctx, f, &r, err)
}

// OpenPacketVia is OpenPacket through target, whatever mode and rules say.
func (e *Engine) OpenPacketVia(ctx context.Context, f *flow.Flow, target outbound.Outbound) (flow.PacketConn, error) {
	r := decided(target, f, Via, false)
	return e.openOwn(ctx, f, &r, nil)
}

func (e *Engine) openOwn(ctx context.Context, f *flow.Flow, r *route, err error) (flow.PacketConn, error) {
	var conn flow.PacketConn
	if err == nil {
		e.counters.matched(r)
		conn, err = r.leaf.DialPacket(ctx, f)
		group.Tell(r.way, err)
	}
	if err == nil && !f.To.IP.IsValid() {
		if err = locate(ctx, r.leaf, f); err != nil {
			_ = conn.Close()
		}
	}
	if err != nil {
		e.failed(ctx, f, r, err)
		return nil, err
	}
	f.To = sentTo(r.leaf, f)
	c := &ownPackets{PacketConn: conn, engine: e, entry: r.entry(f)}
	e.Table.Open(c.entry, func() { _ = conn.Close() })
	e.logFlow(ctx, f, r, c.entry)
	return c, nil
}

// ownPackets counts the datagrams of an association of our own.
type ownPackets struct {
	flow.PacketConn
	engine *Engine
	entry  *track.Entry
	once   sync.Once
}

// ReadPacket implements flow.PacketConn.
func (c *ownPackets) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	n, from, err := c.PacketConn.ReadPacket(p)
	c.entry.Down.Add(int64(n))
	return n, from, err
}

// WritePacket implements flow.PacketConn.
func (c *ownPackets) WritePacket(p []byte, to *flow.Addr) error {
	err := c.PacketConn.WritePacket(p, to)
	if err == nil {
		c.entry.Up.Add(int64(len(p)))
	}
	return err
}

// Close implements flow.PacketConn.
func (c *ownPackets) Close() error {
	err := c.PacketConn.Close()
	c.once.Do(func() { c.engine.Table.Remove(c.entry, track.Done) })
	return err
}
