//go:build !linux

package process

import (
	"context"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

type finder struct{}

func newFinder() finder { return finder{} }

func (finder) find(context.Context, flow.Network, netip.AddrPort, netip.AddrPort) (Owner, error) {
	return Owner{}, ErrUnsupported
}
