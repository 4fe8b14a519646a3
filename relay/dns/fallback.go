package dns

import (
	"context"
	"net/netip"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Fallback is a second opinion on addresses.
type Fallback struct {
	Servers []*Server
	// Names are those about which only Servers are asked; nil is none.
	Names Matcher
	// Doubts says whether an address cannot be right.
	Doubts func(ip netip.Addr) bool
	Lazy   bool // asked only when there is need
}

type outcome struct {
	answer *wire.Answer
	err    error
}

// withFallback asks the servers, and the second ones about an answer that is in doubt or is none.
func (r *Resolver) withFallback(ctx context.Context, q *wire.Query, name *match.Name) (*wire.Answer, error) {
	fb := r.c.Fallback
	if fb.Names != nil && fb.Names.Has(name) {
		return r.first(ctx, fb.Servers, q)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	second := make(chan outcome, 1)
	ask := func() {
		r.c.Life.running.Go(func() {
			o := outcome{err: errPanic}
			defer func() { second <- o }()
			o.answer, o.err = r.first(ctx, fb.Servers, q)
		})
	}
	if !fb.Lazy {
		ask()
	}
	a, err := r.first(ctx, r.c.Servers, q)
	if err == nil && len(a.Addrs) > 0 && !fb.doubts(a.Addrs) {
		return a, nil
	}
	if fb.Lazy {
		ask()
	}
	o := <-second
	if o.err != nil && err == nil && len(a.Addrs) == 0 {
		return a, nil // there is no address, says the only one who says anything
	}
	return o.answer, o.err
}

func (fb *Fallback) doubts(addrs []netip.Addr) bool {
	for _, ip := range addrs {
		if fb.Doubts(ip) {
			return true
		}
	}
	return false
}
