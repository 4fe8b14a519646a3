// Package cache keeps answers until their time is up or others are worth more.
package cache

import (
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// DefaultSize is how many answers are kept when nobody says how many.
const DefaultSize = 4096

// bytesEach bounds the size of all answers: that many bytes for each that may be kept.
const bytesEach = 2048

// Config says what a cache keeps.
type Config struct {
	Size int           // answers; 0 is DefaultSize
	ARC  bool          // adaptive replacement in place of the least recently used
	Keep time.Duration // how long an answer stays after its time is up
}

// Entry is an answer and its times, in seconds of the cache's clock.
type Entry struct {
	Answer  *wire.Answer
	Stored  int64
	Expires int64
}

// Age is how many seconds the entry is old.
func (e *Entry) Age(now int64) uint32 { return uint32(max(now-e.Stored, 0)) }

// Fresh says whether its time is not up yet.
func (e *Entry) Fresh(now int64) bool { return now < e.Expires }

// node is a key in one of the lists. One that has no entry is a ghost: it was here not long ago.
type node struct {
	key        string
	entry      *Entry
	size       int
	in         *list
	prev, next *node
}

// list has its newest node at head.next.
type list struct {
	head node
	len  int
}

func (l *list) init() { l.head.prev, l.head.next, l.len = &l.head, &l.head, 0 }

func (l *list) push(n *node) {
	n.in, n.prev, n.next = l, &l.head, l.head.next
	n.prev.next, n.next.prev = n, n
	l.len++
}

func (n *node) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.in.len--
	n.in = nil
}

// Cache is a cache. Its methods may be called from any goroutine.
type Cache struct {
	c     Config
	start time.Time

	mu      sync.Mutex
	nodes   map[string]*node
	bytes   int
	flushes uint64
	// The lists of ARC: what was asked for once and more often, and the ghosts of both. Without ARC
	// everything is in once.
	once, often, onceGone, oftenGone list
	target                           int // how many once may have
}

// New makes an empty cache.
func New(c Config) *Cache {
	if c.Size <= 0 {
		c.Size = DefaultSize
	}
	x := &Cache{c: c, start: time.Now()}
	x.clear()
	return x
}

func (x *Cache) clear() {
	x.nodes, x.bytes, x.target = make(map[string]*node), 0, 0
	for _, l := range []*list{&x.once, &x.often, &x.onceGone, &x.oftenGone} {
		l.init()
	}
}

// Now is the time on the cache's clock, in seconds.
func (x *Cache) Now() int64 { return int64(time.Since(x.start) / time.Second) }

// Get returns the entry of key, whether or not its time is up, or nil.
func (x *Cache) Get(key []byte, now int64) *Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.nodes[string(key)]
	if n == nil || n.entry == nil {
		return nil
	}
	if now >= n.entry.Expires+int64(x.c.Keep/time.Second) {
		x.drop(n)
		return nil
	}
	x.use(n)
	return n.entry
}

// use makes n the newest of those it belongs to.
func (x *Cache) use(n *node) {
	n.unlink()
	if x.c.ARC {
		x.often.push(n)
	} else {
		x.once.push(n)
	}
}

// Put keeps an answer under key for its TTL, unless there was a flush after since of them: it may be what
// was to be forgotten. One that may not be kept takes the place of none.
func (x *Cache) Put(key []byte, a *wire.Answer, now int64, since uint64) {
	if a.TTL == 0 {
		return
	}
	e := &Entry{Answer: a, Stored: now, Expires: now + int64(a.TTL)}
	size := len(a.Wire) + len(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flushes != since {
		return
	}
	n := x.nodes[string(key)]
	switch {
	case n == nil:
		n = &node{key: string(key)}
		x.makeRoom(nil)
		x.once.push(n)
		x.nodes[n.key] = n
	case n.entry != nil:
		x.bytes -= n.size
		x.use(n)
	default: // it left too early: its list was too short
		x.adapt(n)
		x.makeRoom(n.in)
		n.unlink()
		x.often.push(n)
	}
	n.entry, n.size = e, size
	x.bytes += size
	for x.bytes > x.c.Size*bytesEach && x.once.len+x.often.len > 1 {
		x.evict(nil)
	}
}

// adapt moves the border between once and often towards where n was missed.
func (x *Cache) adapt(n *node) {
	a, b := x.onceGone.len, x.oftenGone.len
	if n.in == &x.onceGone {
		x.target = min(x.target+max(b/a, 1), x.c.Size)
	} else {
		x.target = max(x.target-max(a/b, 1), 0)
	}
}

// makeRoom makes room for one more; wanted is the list of ghosts it comes from.
func (x *Cache) makeRoom(wanted *list) {
	if x.once.len+x.often.len >= x.c.Size {
		x.evict(wanted)
	}
	for x.onceGone.len > 0 && x.once.len+x.onceGone.len >= x.c.Size && wanted != &x.onceGone {
		x.drop(x.onceGone.head.prev)
	}
	for x.oftenGone.len > 0 && len(x.nodes) >= 2*x.c.Size && wanted != &x.oftenGone {
		x.drop(x.oftenGone.head.prev)
	}
}

// evict ends the entry that is worth least, and with ARC keeps its ghost.
func (x *Cache) evict(wanted *list) {
	from, ghosts := &x.often, &x.oftenGone
	if x.once.len > 0 && (x.often.len == 0 || x.once.len > x.target || x.once.len == x.target && wanted == &x.oftenGone) {
		from, ghosts = &x.once, &x.onceGone
	}
	n := from.head.prev
	if !x.c.ARC {
		x.drop(n)
		return
	}
	n.unlink()
	x.bytes -= n.size
	n.entry, n.size = nil, 0
	ghosts.push(n)
}

func (x *Cache) drop(n *node) {
	n.unlink()
	x.bytes -= n.size
	delete(x.nodes, n.key)
}

// Flush forgets everything.
func (x *Cache) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.clear()
	x.flushes++
}

// Flushes is how often the cache was flushed.
func (x *Cache) Flushes() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.flushes
}

// Len is how many answers are kept.
func (x *Cache) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.once.len + x.often.len
}
