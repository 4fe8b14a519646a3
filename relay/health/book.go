package health

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

const (
	maxHistory = 10 // records of a node, and of each of its URLs
	maxURLs    = 16 // of a node
)

// Record is the outcome of a test.
type Record struct {
	Time  time.Time
	Delay uint16 // ms; 0 is that it failed
}

// Outcome is what tests have found, oldest first.
type Outcome struct {
	Alive   bool
	History []Record
}

// State is what tests of a node have found: with any URL, where a status that was not expected is a
// sign of life too, and with each.
type State struct {
	Alive   bool
	History []Record
	Extra   map[string]Outcome
}

// Book keeps what tests have found, by node and URL. A node is its Info, which stays the same as long
// as it is kept over changes of the configuration. Any goroutine may use it.
type Book struct {
	changes atomic.Uint64

	mu      sync.RWMutex
	nodes   map[*outbound.Info]*page
	readers []chan<- struct{} // of changes
}

// page is what is known of a node.
type page struct {
	any  Outcome
	urls []*entry
}

// entry is what is known with one URL.
type entry struct {
	Outcome
	url  string
	used atomic.Uint64 // the count of changes when it was last written or asked for
}

// NewBook makes an empty book.
func NewBook() *Book { return &Book{nodes: make(map[*outbound.Info]*page)} }

// Note adds the outcome of a test of i with url, which ended at at.
func (b *Book) Note(i *outbound.Info, url string, at time.Time, delay uint16, expected bool, err error) {
	if err != nil {
		delay, expected = 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.nodes[i]
	if p == nil {
		p = new(page)
		b.nodes[i] = p
	}
	p.any.add(Record{at, delay}, err == nil)
	now := b.changes.Add(1)
	defer b.poke()
	if len(url) > maxURL {
		return
	}
	if !expected {
		delay = 0
	}
	e := p.entry(url)
	e.add(Record{at, delay}, expected)
	e.used.Store(now)
}

// poke tells the readers; mu is held, for their list.
func (b *Book) poke() {
	for _, c := range b.readers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Notify puts a word into c whenever something is noted, where there is room for it: who reads from a channel
// with room for one misses nothing. stop ends that; no word is put in once it has returned.
func (b *Book) Notify(c chan<- struct{}) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers = append(b.readers, c)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i := slices.Index(b.readers, c); i >= 0 {
			b.readers = slices.Delete(b.readers, i, i+1)
		}
	}
}

func (o *Outcome) add(r Record, alive bool) {
	if len(o.History) == maxHistory {
		copy(o.History, o.History[1:])
		o.History = o.History[:maxHistory-1]
	}
	o.History = append(o.History, r)
	o.Alive = alive
}

// find is the entry of url, or nil.
func (p *page) find(url string) *entry {
	for _, e := range p.urls {
		if e.url == url {
			return e
		}
	}
	return nil
}

// entry is the one of url; a new one takes the place of the one used longest ago.
func (p *page) entry(url string) *entry {
	if e := p.find(url); e != nil {
		return e
	}
	e := &entry{url: url}
	if len(p.urls) < maxURLs {
		p.urls = append(p.urls, e)
		return e
	}
	oldest := 0
	for i := range p.urls {
		if p.urls[i].used.Load() < p.urls[oldest].used.Load() {
			oldest = i
		}
	}
	p.urls[oldest] = e
	return e
}

// State is a copy of what is known of i. A node that nobody has tested is alive.
func (b *Book) State(i *outbound.Info) State {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p := b.nodes[i]
	if p == nil {
		return State{Alive: true, History: []Record{}, Extra: map[string]Outcome{}}
	}
	s := State{Alive: p.any.Alive, History: p.any.copied(), Extra: make(map[string]Outcome, len(p.urls))}
	for _, e := range p.urls {
		s.Extra[e.url] = Outcome{e.Alive, e.copied()}
	}
	return s
}

func (o *Outcome) copied() []Record {
	return append(make([]Record, 0, len(o.History)), o.History...)
}

// Result is how a group whose tests use url sees i: as the last test with url found it, and where
// there was none as any test did. delay is in milliseconds, and 65535 where i is dead or no test with
// url says it.
func (b *Book) Result(i *outbound.Info, url string) (alive bool, delay uint16) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p := b.nodes[i]
	if p == nil {
		return true, noDelay
	}
	e := p.find(url)
	if e == nil {
		return p.any.Alive, noDelay
	}
	if now := b.changes.Load(); e.used.Load() < now {
		e.used.Store(now)
	}
	if !e.Alive {
		return false, noDelay
	}
	return true, e.History[len(e.History)-1].Delay
}

// Keep forgets the nodes that are not used. used must not call the book.
func (b *Book) Keep(used func(*outbound.Info) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.nodes {
		if !used(i) {
			delete(b.nodes, i)
		}
	}
}

// Changed counts notes: what was decided at another count may be out of date.
func (b *Book) Changed() uint64 { return b.changes.Load() }
