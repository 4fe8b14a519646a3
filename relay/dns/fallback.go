package dns

import (
	"context"
	"errors"
	"net/netip"
	"time"

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

// firstPatience is how long the first opinion is waited for when there may be a second.
const firstPatience = 2 * time.Second

// outcome is what servers have said.
type outcome struct {
	answer *wire.Answer
	err    error
}

// good says whether it is an answer with addresses that are not in doubt.
func (o *outcome) good(fb *Fallback) bool {
	return o.err == nil && len(o.answer.Addrs) > 0 && !fb.doubts(o.answer.Addrs)
}

// withFallback asks the servers, and the second ones about an answer that is in doubt, is none, or does not
// come.
func (r *Resolver) withFallback(ctx context.Context, q *wire.Query, name *match.Name) (*wire.Answer, error) {
	fb := r.c.Fallback
	if fb.Names != nil && fb.Names.Has(name) {
		return r.first(ctx, fb.Servers, q)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.NewTimer(firstPatience)
	defer late.Stop()
	one, two := r.outcome(ctx, r.c.Servers, q), (<-chan outcome)(nil)
	need := func() {
		if two == nil {
			two = r.outcome(ctx, fb.Servers, q)
		}
	}
	if !fb.Lazy {
		need()
	}
	var first, second *outcome
	waited := false
	for {
		select {
		case o := <-one:
			if o.good(fb) {
				return o.answer, nil
			}
			first = &o
			need()
		case o := <-two:
			second = &o
		case <-late.C:
			waited = true
			need()
		}
		switch {
		case second == nil:
		case second.err == nil && (waited || first != nil):
			return second.answer, nil
		case first == nil: // the second opinion is none: the first may come yet
		case first.err == nil && len(first.answer.Addrs) == 0:
			return first.answer, nil // there is no address, says the only one who says anything
		case first.err == nil && errors.Is(second.err, ErrLoop):
			return first.answer, nil // which the way to the second ones is made of
		default:
			return nil, second.err
		}
	}
}

// outcome asks servers in the background.
func (r *Resolver) outcome(ctx context.Context, servers []*Server, q *wire.Query) <-chan outcome {
	c := make(chan outcome, 1)
	r.c.Life.running.Go(func() {
		o := outcome{err: errPanic}
		defer func() { c <- o }()
		o.answer, o.err = r.first(ctx, servers, q)
	})
	return c
}

func (fb *Fallback) doubts(addrs []netip.Addr) bool {
	for _, ip := range addrs {
		if fb.Doubts(ip) {
			return true
		}
	}
	return false
}
