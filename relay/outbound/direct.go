package outbound

import (
	"context"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Direct connects to the target itself. DIRECT and COMPATIBLE are Directs of other types.
type Direct struct {
	info   Info
	dialer *Dialer
}

// NewDirect makes a direct outbound that dials with d.
func NewDirect(info Info, d *Dialer) *Direct { return &Direct{info: info, dialer: d} }

// Through returns the same node with its connections made by via.
func (o *Direct) Through(via Outbound) Outbound {
	return &Direct{info: o.info, dialer: o.dialer.Through(via)}
}

// Info implements Outbound.
func (o *Direct) Info() *Info { return &o.info }

// Dial implements Outbound. TCP fast open puts the handshake off until there is something to send:
// only where the client speaks first can it be used, and a tunnel's client need not.
func (o *Direct) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	to := f.Target()
	if f.DNSMode == flow.DNSFromHosts && o.dialer.Via == nil {
		to = f.To // it may have more addresses there
	}
	if o.dialer.Socket.FastOpen && f.Kind != flow.HTTP && f.Kind != flow.Inner {
		d := *o.dialer
		d.Socket.FastOpen = false
		return d.Dial(ctx, to)
	}
	return o.dialer.Dial(ctx, to)
}

// DialPacket implements Outbound.
func (o *Direct) DialPacket(ctx context.Context, _ *flow.Flow) (flow.PacketConn, error) {
	return o.dialer.DialPacket(ctx, netip.Addr{})
}

// Resolve returns the addresses of host that may be dialed, best first; none where another
// outbound carries the name on.
func (o *Direct) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if o.dialer.Via != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	return o.dialer.Resolve(ctx, host)
}

// Reject refuses every flow with one error: flow.ErrRejected or flow.ErrDropped.
type Reject struct {
	info Info
	err  error
}

// NewReject makes an outbound that refuses with err.
func NewReject(info Info, err error) *Reject { return &Reject{info: info, err: err} }

// Info implements Outbound.
func (o *Reject) Info() *Info { return &o.info }

// Dial implements Outbound: it fails.
func (o *Reject) Dial(context.Context, *flow.Flow) (flow.Conn, error) { return nil, o.err }

// DialPacket implements Outbound: it fails, and datagrams vanish.
func (o *Reject) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, o.err
}
