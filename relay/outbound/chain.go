package outbound

import (
	"context"
	"errors"
)

// maxVia bounds the nodes that are dialed through one another for one connection. Lists of nodes change while
// the daemon runs, so that a node may come to be dialed through itself.
const maxVia = 32

var errVia = errors.New("dialer-proxy: too many nodes behind one another: it leads back to itself")

type viaKey struct{}

// via is the outbound that d dials through, and the context to dial it with.
func (d *Dialer) via(ctx context.Context) (Outbound, context.Context, error) {
	n, _ := ctx.Value(viaKey{}).(int)
	if n == maxVia {
		return nil, nil, errVia
	}
	o, err := d.Via()
	if err != nil {
		return nil, nil, err
	}
	return o, context.WithValue(ctx, viaKey{}, n+1), nil
}
