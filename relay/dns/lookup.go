package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

var errPanic = errors.New("panic while resolving")

// Lookup returns the addresses of host, IPv4 first: those that hosts gives it, else those that name
// servers know.
func (r *Resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if r.c.Hosts != nil {
		if e, ok := r.c.Hosts.Resolve(host); ok {
			if e.Alias == "" {
				return r.usable(e.Addrs)
			}
			host = e.Alias
		}
	}
	if !r.c.IPv6 {
		return r.addrs(ctx, host, wire.TypeA)
	}
	six := make(chan lookup, 1)
	if !r.c.Life.enter(func() {
		l := lookup{err: errPanic}
		defer func() { six <- l }()
		l.addrs, l.err = r.addrs(ctx, host, wire.TypeAAAA)
	}) {
		return nil, ErrClosed
	}
	four, err := r.addrs(ctx, host, wire.TypeA)
	if err != nil {
		l := <-six
		if l.err != nil {
			return nil, err
		}
		return l.addrs, nil
	}
	timer := time.NewTimer(r.c.IPv6Timeout)
	defer timer.Stop()
	select {
	case l := <-six:
		return append(four, l.addrs...), nil
	case <-timer.C:
		return four, nil
	}
}

// usable are the addresses of hosts whose family is of use.
func (r *Resolver) usable(addrs []netip.Addr) ([]netip.Addr, error) {
	if !r.c.IPv6 {
		addrs = slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is6)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("hosts: %w of type A", ErrNoAddress)
	}
	return addrs, nil
}

type lookup struct {
	addrs []netip.Addr
	err   error
}

// addrs returns the addresses of one type, of which there is at least one.
func (r *Resolver) addrs(ctx context.Context, host string, kind uint16) ([]netip.Addr, error) {
	var q wire.Query
	if err := q.Set(host, kind); err != nil {
		return nil, err
	}
	f, err := r.Exchange(ctx, &q)
	switch {
	case err != nil:
		return nil, err
	case f.RCode() == wire.NameError:
		return nil, ErrNotFound
	case f.RCode() != wire.Success:
		return nil, &CodeError{f.RCode()}
	}
	addrs := make([]netip.Addr, 0, len(f.Addrs))
	for _, ip := range f.Addrs {
		if ip.Is4() == (kind == wire.TypeA) {
			addrs = append(addrs, ip)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%w of type %s", ErrNoAddress, map[uint16]string{wire.TypeA: "A", wire.TypeAAAA: "AAAA"}[kind])
	}
	return addrs, nil
}
