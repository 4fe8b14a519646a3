package outbound

import (
	"context"
	"net/netip"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Direct connects to the target itself. DIRECT, COMPATIBLE and PASS are Directs of other types.
type Direct struct {
	info   Info
	dialer *Dialer
}

// NewDirect makes a direct outbound that dials with d.
func NewDirect(info Info, d *Dialer) *Direct { return &Direct{info: info, dialer: d} }

// Info implements Outbound.
func (o *Direct) Info() *Info { return &o.info }

// Dial implements Outbound.
func (o *Direct) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	return o.dialer.Dial(ctx, f.To)
}

// DialPacket implements Outbound.
func (o *Direct) DialPacket(ctx context.Context, _ *flow.Flow) (flow.PacketConn, error) {
	return o.dialer.DialPacket(ctx, netip.Addr{})
}

// Reject refuses every flow; with Hold it lets the client wait first, in silence.
type Reject struct {
	info Info
	hold time.Duration
}

// NewReject makes an outbound that refuses after hold.
func NewReject(info Info, hold time.Duration) *Reject { return &Reject{info: info, hold: hold} }

// Info implements Outbound.
func (o *Reject) Info() *Info { return &o.info }

// Dial implements Outbound: it fails with flow.ErrRejected.
func (o *Reject) Dial(ctx context.Context, _ *flow.Flow) (flow.Conn, error) {
	if o.hold > 0 {
		t := time.NewTimer(o.hold)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return nil, flow.ErrRejected
}

// DialPacket implements Outbound: it fails with flow.ErrRejected, and datagrams vanish.
func (o *Reject) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, flow.ErrRejected
}
