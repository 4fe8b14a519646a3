// Package fakeip lends the addresses of a range to names, so that a connection to such an address tells
// which name it is for.
package fakeip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
)

const (
	reserved  = 4       // addresses at the beginning of a range that are not lent, but the system's own
	minHost   = 4       // bits that tell the addresses of a range apart
	maxLeases = 1 << 17 // of one range
	maxName   = 255     // bytes
)

// Config says what a pool lends, and where it keeps that.
type Config struct {
	// Range is of IPv4 or IPv6, and has 16 addresses or more. Its first four, and the last of IPv4, are
	// not lent, nor are those behind 131,072 others.
	Range netip.Prefix
	Store Store        // nil: nothing survives
	Log   *slog.Logger // nil: none
}

// Pool leases the addresses of a range to names. Its methods may be called from any goroutine, but for
// Load; none of them waits for the store but Load, Flush and Serve.
type Pool struct {
	c    Config
	low  uint64 // the last eight bytes of the first address that is lent; those before are Range's
	size int    // how many are lent

	poke   chan struct{} // tells Serve that there are changes
	saving sync.Mutex    // whoever holds it uses the store; taken before mu

	mu      sync.Mutex
	byName  map[string]int32
	leases  []lease // of each address that was ever lent, in their order
	links   []link  // of each lease; apart, because a hit touches three of them and no more
	used    list    // the leases, the one used last first
	free    list    // the addresses whose lease has ended, the one that ended last first
	heir    *Pool   // has taken over the leases
	changed []int32 // leases that the store does not have as they are
}

// lease is what an address was lent to.
type lease struct {
	name    string // "": it is free
	changed bool   // it is one of Pool.changed
}

// New returns a pool that has lent nothing.
func New(c Config) (*Pool, error) {
	if !c.Range.IsValid() || c.Range.Addr().Is4In6() {
		return nil, errors.New("fake addresses: want a range such as 198.18.0.0/16")
	}
	c.Range = c.Range.Masked()
	host := c.Range.Addr().BitLen() - c.Range.Bits()
	if host < minHost {
		return nil, fmt.Errorf("fake addresses %s: the range is too small: want 16 addresses or more", c.Range)
	}
	size := maxLeases
	if host <= 17 {
		size = 1<<host - reserved
		if c.Range.Addr().Is4() {
			size--
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{c: c, size: size, low: low(c.Range.Addr()) + reserved, poke: make(chan struct{}, 1)}
	p.forget()
	return p, nil
}

// forget makes the pool a new one. The caller holds mu.
func (p *Pool) forget() {
	p.byName, p.leases, p.links, p.changed = make(map[string]int32), nil, nil, nil
	p.used, p.free = list{none, none}, list{none, none}
}

// Range is the range, without what Config's had behind its prefix.
func (p *Pool) Range() netip.Prefix { return p.c.Range }

// Contains says whether ip is of the range, lent or not.
func (p *Pool) Contains(ip netip.Addr) bool { return p.c.Range.Contains(ip.Unmap()) }

// Lease returns the address of name, which is in lower case, and lends one where it has none: the next
// that was never lent, then the one that has been free for longest, then the one whose lease was not
// used for longest. The bytes are not kept. What is no name, being empty or longer than 255 bytes, has
// the zero Addr.
func (p *Pool) Lease(name []byte) netip.Addr {
	if len(name) == 0 || len(name) > maxName {
		return netip.Addr{}
	}
	p = p.lock()
	defer p.mu.Unlock()
	i, ok := p.byName[string(name)]
	if ok {
		p.use(i)
	} else {
		i = p.lend(string(name))
	}
	return p.addr(i)
}

// lock locks p, or the pool that has taken over its leases.
func (p *Pool) lock() *Pool {
	p.mu.Lock()
	for p.heir != nil {
		heir := p.heir
		p.mu.Unlock()
		p = heir
		p.mu.Lock()
	}
	return p
}

// lend takes an address for a name that has none.
func (p *Pool) lend(name string) int32 {
	var i int32
	switch {
	case len(p.leases) < p.size:
		i = int32(len(p.leases))
		p.leases, p.links = append(p.leases, lease{}), append(p.links, link{})
	case p.free.last != none:
		i = p.free.last
		p.remove(&p.free, i)
	default:
		i = p.used.last
		p.remove(&p.used, i)
		delete(p.byName, p.leases[i].name)
	}
	p.leases[i].name = name
	p.byName[name] = i
	p.push(&p.used, i)
	p.note(i)
	return i
}

// Name returns the name that ip is lent to, and counts as a use of the lease.
func (p *Pool) Name(ip netip.Addr) (string, bool) {
	p = p.lock()
	defer p.mu.Unlock()
	i, ok := p.index(ip)
	if !ok || int(i) >= len(p.leases) || p.leases[i].name == "" {
		return "", false
	}
	p.use(i)
	return p.leases[i].name, true
}

// Has says whether name has an address. It is no use of the lease.
func (p *Pool) Has(name []byte) bool {
	p = p.lock()
	defer p.mu.Unlock()
	_, ok := p.byName[string(name)]
	return ok
}

// Len is the number of leases.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byName)
}

// Drop ends the lease of name, and says whether there was one.
func (p *Pool) Drop(name []byte) bool {
	p = p.lock()
	defer p.mu.Unlock()
	i, ok := p.byName[string(name)]
	if ok {
		p.end(i)
	}
	return ok
}

// end ends a lease.
func (p *Pool) end(i int32) {
	delete(p.byName, p.leases[i].name)
	p.leases[i].name = ""
	p.remove(&p.used, i)
	p.push(&p.free, i)
	p.note(i)
}

// Evict ends the leases whose name is gone, and says how many those were. Others use the pool meanwhile,
// and gone may, too; a lease made meanwhile may be passed over.
func (p *Pool) Evict(gone func(name string) bool) int {
	var names [256]string
	ended := 0
	for from := 0; ; from += len(names) {
		n := p.names(from, names[:])
		if n == 0 {
			return ended
		}
		for i, name := range names[:n] {
			if name != "" && gone(name) && p.endIf(from+i, name) {
				ended++
			}
		}
	}
}

// names copies the names of the leases from a number on, and says how many fit.
func (p *Pool) names(from int, to []string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for ; n < len(to) && from+n < len(p.leases); n++ {
		to[n] = p.leases[from+n].name
	}
	return n
}

// endIf ends a lease that is still that of name.
func (p *Pool) endIf(i int, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.leases) || p.leases[i].name != name {
		return false
	}
	p.end(int32(i))
	return true
}
