// Package track is the table of live flows: what they carry, how much, and how to end them. A
// flow's counters are two atomics of its own; totals and rates are sums that one ticker makes.
package track

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Reason says why a flow ended.
type Reason string

// The reasons a flow can end for.
const (
	Done        Reason = "done"         // both directions reached their end
	ClientError Reason = "client error" // the client's side failed
	TargetError Reason = "target error" // the target's side failed
	ByAPI       Reason = "closed by API"
	Idle        Reason = "idle"
	Shutdown    Reason = "shutdown"
	Panic       Reason = "panic"
)

// Moved is the reason of a flow whose group has gone from one member to another since.
func Moved(group, from, to string) Reason {
	return Reason(fmt.Sprintf("group %q went from %s to %s", group, from, to))
}

// Entry is one live flow. All but the counters is fixed once it is opened.
type Entry struct {
	ID             ID
	Flow           *flow.Flow
	Start          time.Time
	Chain          []string // the outbound that dialed first, the outermost group last
	ProviderChain  []string // the provider of each element of Chain, "" for none
	Rule           string   // the rule's API type, "" when no rule decided
	RulePayload    string
	Remote         string // the address that was dialed
	Up, Down       atomic.Int64
	end            func()
	reason         atomic.Pointer[Reason]
	halfClosed     atomic.Bool
	places         atomic.Pointer[Places]
	text           atomic.Pointer[text]
	idleUp, idleDn int64
	idleSweeps     int
}

// End makes the flow end for reason r; the first reason stands. It does not wait.
func (e *Entry) End(r Reason) {
	if e.reason.CompareAndSwap(nil, &r) && e.end != nil {
		e.end()
	}
}

// Reason is why the flow ended, or "" while it lives.
func (e *Entry) Reason() Reason {
	if r := e.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// Member is who carries the flow for the group of that name, or "" where the group has no part in it.
func (e *Entry) Member(group string) string {
	for i := len(e.Chain) - 1; i > 0; i-- { // a node of a provider may have its group's name
		if e.Chain[i] == group {
			return e.Chain[i-1]
		}
	}
	return ""
}

// HalfClosed notes that one direction has ended: from now on silence ends the flow.
func (e *Entry) HalfClosed() { e.halfClosed.Store(true) }

// Places are where the two ends of a flow are.
type Places struct{ Source, Target flow.Place }

// Places returns where the ends are, or nil where nothing is known of either. find is asked when nobody has
// looked before; what it knows nothing of is asked again the next time.
func (e *Entry) Places(find func(netip.Addr) flow.Place) *Places {
	if p := e.places.Load(); p != nil {
		return p
	}
	source, target := find(e.Flow.Source.Addr()), find(e.Flow.To.IP)
	if source.Countries == nil && target.Countries == nil && source.System == "" && target.System == "" {
		return nil
	}
	e.places.Store(&Places{source, target})
	return e.places.Load()
}

// text is how somebody describes the flow, with what is known of its places.
type text struct {
	at    *Places
	parts []string
}

// Text returns what write has made of the flow, and at, what Places returned, when it was asked first. It is
// kept as long as the flow: of its parts, only the counters that come between them change.
func (e *Entry) Text(at *Places, write func(*Entry, *Places) []string) []string {
	t := e.text.Load()
	if t == nil || t.at != at {
		t = &text{at, write(e, at)}
		e.text.Store(t)
	}
	return t.parts
}

const shardCount = 32

type shard struct {
	mu       sync.Mutex
	live     map[ID]*Entry
	up, down int64 // of the flows that have ended
	tally    tally
	_        [64]byte
}

// Table holds the live flows.
type Table struct {
	shards [shardCount]shard
	ids    source
	rates  atomic.Pointer[Rates]
}

// Rates are the sums of all flows: bytes since start, and bytes in the last full second.
type Rates struct {
	Up, Down, UpTotal, DownTotal int64
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := &Table{ids: newSource()}
	for i := range t.shards {
		t.shards[i].live = make(map[ID]*Entry)
	}
	t.rates.Store(&Rates{})
	return t
}

func (t *Table) shard(id ID) *shard { return &t.shards[id.seq%shardCount] }

// Open gives e an id and lists it. end is called at most once, from any goroutine, to end the flow.
func (t *Table) Open(e *Entry, end func()) {
	e.ID, e.Start, e.end = t.ids.next(), time.Now(), end
	network, kind := classOf(e.Flow)
	s := t.shard(e.ID)
	s.mu.Lock()
	s.live[e.ID] = e
	s.tally.opened[network][kind]++
	s.mu.Unlock()
}

// Remove takes e from the table and keeps its bytes in the totals. It may be called again.
func (t *Table) Remove(e *Entry, r Reason) {
	e.reason.CompareAndSwap(nil, &r)
	network, kind := classOf(e.Flow)
	s := t.shard(e.ID)
	s.mu.Lock()
	if s.live[e.ID] == e {
		delete(s.live, e.ID)
		s.tally.closed[network][kind]++
		s.tally.ended[ending(e.Reason())]++
		s.up += e.Up.Load()
		s.down += e.Down.Load()
	}
	s.mu.Unlock()
}

// Find returns the live flow with the id as the API spells it, or nil.
func (t *Table) Find(id string) *Entry {
	key, ok := t.ids.parse(id)
	if !ok {
		return nil
	}
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[key]
}

// Live appends the live flows to dst, oldest first.
func (t *Table) Live(dst []*Entry) []*Entry {
	from := len(dst)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.live {
			dst = append(dst, e)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(dst[from:], func(a, b *Entry) int { return cmp.Compare(a.ID.seq, b.ID.seq) })
	return dst
}

// EndAll ends every live flow.
func (t *Table) EndAll(r Reason) {
	for _, e := range t.Live(nil) {
		e.End(r)
	}
}

// Totals sums the bytes of all flows since start. It never falls.
func (t *Table) Totals() (up, down int64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		up, down = up+s.up, down+s.down
		for _, e := range s.live {
			up, down = up+e.Up.Load(), down+e.Down.Load()
		}
		s.mu.Unlock()
	}
	return up, down
}

// Rates returns what the last Tick found.
func (t *Table) Rates() Rates { return *t.rates.Load() }

// Tick makes the rates; it is called once a second by one goroutine.
func (t *Table) Tick() {
	up, down := t.Totals()
	last := t.rates.Load()
	t.rates.Store(&Rates{
		Up: up - last.UpTotal, Down: down - last.DownTotal, UpTotal: up, DownTotal: down,
	})
}

// Sweep ends the half-closed flows that moved nothing since the given number of sweeps. It is
// called by the goroutine that calls Tick.
func (t *Table) Sweep(quiet int) {
	for _, e := range t.Live(nil) {
		if !e.halfClosed.Load() {
			continue
		}
		up, down := e.Up.Load(), e.Down.Load()
		if up != e.idleUp || down != e.idleDn {
			e.idleUp, e.idleDn, e.idleSweeps = up, down, 0
			continue
		}
		if e.idleSweeps++; e.idleSweeps > quiet {
			e.End(Idle)
		}
	}
}
