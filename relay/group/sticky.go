package group

import (
	"sync"
	"time"
)

const (
	stickyFor   = 10 * time.Minute // without a flow
	stickyMax   = 1000
	stickyChain = 1024 // heads of chains
)

// sticky remembers which member a key was given, for a while and for the keys used last. It is a table of
// fixed size, so that it allocates nothing.
type sticky struct {
	mu     sync.Mutex
	heads  [stickyChain]uint16 // the first of the keys with one remainder; 0 is none
	used   int
	places [stickyMax + 1]place // the first has no key: next of it is the newest, prev the oldest
}

type place struct {
	key        uint64
	member     string
	at         time.Duration // when it was used last
	chain      uint16        // the next key with the same remainder
	prev, next uint16
}

// get returns the member of key, and keeps it for longer unless it is only looked at. now never goes back
// by much.
func (t *sticky) get(key uint64, now time.Duration, peek bool) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(key)
	if i == 0 || now-t.places[i].at >= stickyFor {
		return "", false
	}
	if !peek {
		t.fresh(i, now)
	}
	return t.places[i].member, true
}

// put gives key a member, at the cost of the key that was used the longest ago.
func (t *sticky) put(key uint64, member string, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(key)
	if i == 0 {
		i = t.free()
		t.places[i].key = key
		head := &t.heads[key%stickyChain]
		t.places[i].chain, *head = *head, i
	}
	t.places[i].member = member
	t.fresh(i, now)
}

func (t *sticky) find(key uint64) uint16 {
	i := t.heads[key%stickyChain]
	for i != 0 && t.places[i].key != key {
		i = t.places[i].chain
	}
	return i
}

// free returns a place that no chain has, linked as the newest.
func (t *sticky) free() uint16 {
	if t.used < stickyMax {
		t.used++
		i := uint16(t.used)
		t.places[i].prev, t.places[i].next = i, i // alone, until fresh puts it in
		return i
	}
	i := t.places[0].prev
	at := &t.heads[t.places[i].key%stickyChain]
	for *at != i {
		at = &t.places[*at].chain
	}
	*at = t.places[i].chain
	return i
}

// fresh makes i the newest.
func (t *sticky) fresh(i uint16, now time.Duration) {
	p := &t.places[i]
	p.at = now
	t.places[p.prev].next, t.places[p.next].prev = p.next, p.prev
	p.prev, p.next = 0, t.places[0].next
	t.places[p.next].prev, t.places[0].next = i, i
}
