package fakeip

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Store keeps leases across restarts. A pool calls one of its methods at a time.
type Store interface {
	// LoadLeases calls each with every lease of r; each does not use the store.
	LoadLeases(r netip.Prefix, each func(ip netip.Addr, name string)) error
	// SaveLeases keeps the names of set by their addresses, and forgets those of gone; an address has
	// one name. Where it returns an error it has done nothing.
	SaveLeases(r netip.Prefix, set map[netip.Addr]string, gone []netip.Addr) error
	// ClearLeases forgets all leases of r, or all of its family.
	ClearLeases(r netip.Prefix) error
}

// Load takes over the leases that the store has, of addresses that are lent. It is called before the
// pool is used. After an error the pool has what could be read.
func (p *Pool) Load() error {
	if p.c.Store == nil {
		return nil
	}
	p.saving.Lock()
	defer p.saving.Unlock()
	err := p.c.Store.LoadLeases(p.c.Range, p.adopt)
	p.listFree()
	if err != nil {
		return fmt.Errorf("load the leases of %s: %w", p.c.Range, err)
	}
	return nil
}

// TakeOver takes over the leases of a pool of the same range, to be stored where p stores. It is called
// before p is used, in place of Load. Whoever still uses the old pool uses p from then on.
func (p *Pool) TakeOver(old *Pool) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for i := range old.leases {
		if name := old.leases[i].name; name != "" {
			p.adopt(old.addr(int32(i)), name)
		}
	}
	p.listFree()
	old.heir = p
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.leases {
		p.note(int32(i))
	}
}

// listFree lists the addresses that nobody has, once those that somebody has are known.
func (p *Pool) listFree() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.leases {
		if p.leases[i].name == "" {
			p.push(&p.free, int32(i))
		}
	}
}

// adopt takes over one lease. What makes no sense, such as a second address of a name, is taken out of
// the store later.
func (p *Pool) adopt(ip netip.Addr, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(ip)
	if !ok {
		return
	}
	if more := int(i) + 1 - len(p.leases); more > 0 {
		p.leases = append(p.leases, make([]lease, more)...)
		p.links = append(p.links, make([]link, more)...)
	}
	_, twice := p.byName[name]
	switch {
	case p.leases[i].name != "":
	case twice || name == "" || len(name) > maxName:
		p.note(i)
	default:
		p.leases[i].name = name
		p.byName[name] = i
		p.push(&p.used, i)
	}
}

// Flush ends all leases, also in the store; the next is of the first address again. Where it returns an
// error nothing has ended.
func (p *Pool) Flush() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if p.c.Store != nil {
		if err := p.c.Store.ClearLeases(p.c.Range); err != nil {
			return fmt.Errorf("clear the leases of %s: %w", p.c.Range, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	return nil
}

// saveDelay is how long changes are gathered before they are stored.
const saveDelay = time.Second

// Save stores what has changed, without waiting for Serve to do so.
func (p *Pool) Save() error { return p.save() }

// Serve stores what changes, at most a second later, and once more when ctx ends. It returns nil, or
// what has kept the last changes from being stored. What cannot be stored is logged, and tried again
// every second.
func (p *Pool) Serve(ctx context.Context) error {
	var said string
	for {
		select {
		case <-ctx.Done():
			return p.save()
		case <-p.poke:
		}
		select {
		case <-ctx.Done():
			return p.save()
		case <-time.After(saveDelay):
		}
		switch err := p.save(); {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			p.c.Log.Warn("fake addresses will be other ones after a restart", "err", err)
		}
	}
}

// note remembers that lease i is another than the store has. The caller holds mu.
func (p *Pool) note(i int32) {
	if p.c.Store == nil || p.leases[i].changed {
		return
	}
	p.leases[i].changed = true
	p.changed = append(p.changed, i)
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// change is the name that a lease has now.
type change struct {
	lease int32
	name  string
}

// save brings the store up to date.
func (p *Pool) save() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	changes := p.takeChanges()
	if len(changes) == 0 {
		return nil
	}
	set := make(map[netip.Addr]string, len(changes))
	var gone []netip.Addr
	for _, c := range changes {
		if c.name == "" {
			gone = append(gone, p.addr(c.lease))
		} else {
			set[p.addr(c.lease)] = c.name
		}
	}
	err := p.c.Store.SaveLeases(p.c.Range, set, gone)
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes { // they are still there: to forget them takes the lock of the store
		p.note(c.lease)
	}
	return fmt.Errorf("store the leases of %s: %w", p.c.Range, err)
}

func (p *Pool) takeChanges() []change {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes := make([]change, len(p.changed))
	for n, i := range p.changed {
		p.leases[i].changed = false
		changes[n] = change{i, p.leases[i].name}
	}
	p.changed = nil
	return changes
}
