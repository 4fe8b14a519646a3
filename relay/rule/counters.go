package rule

import (
	"sync"
	"sync/atomic"
	"time"
)

// Counters count how often each rule of a list held and did not. They belong to the list, not to a
// program: a list that is compiled anew keeps them.
//
// A rule that holds costs one addition and one store of a clock that ticks once a second. Those that
// do not are not counted at all: a rule was passed over by every evaluation that ended behind it.
type Counters struct {
	clock atomic.Int64 // unix seconds
	rules []counter    // the last one counts evaluations in which no rule held

	mu  sync.Mutex
	off map[int]*pause
}

type counter struct {
	ended atomic.Uint64 // evaluations that ended at this rule
	at    atomic.Int64  // when the last one did
	again atomic.Uint64 // evaluations that went on behind this rule after it held
}

// pause is how many misses a rule would have had while it was switched off.
type pause struct {
	misses uint64 // in earlier pauses
	since  uint64 // misses when this one began
	off    bool
}

// NewCounters makes counters for rules.
func NewCounters(rules int) *Counters {
	c := &Counters{rules: make([]counter, rules+1), off: make(map[int]*pause)}
	c.Tick(time.Now())
	return c
}

// Tick sets the clock.
func (c *Counters) Tick(now time.Time) { c.clock.Store(now.Unix()) }

// Hit counts an evaluation that ended at rule, which may be None.
func (c *Counters) Hit(rule int) {
	if rule == None {
		rule = len(c.rules) - 1
	}
	r := &c.rules[rule]
	r.ended.Add(1)
	r.at.Store(c.clock.Load())
}

// GoesOn counts that an evaluation went on behind a rule that held, which Hit has counted.
func (c *Counters) GoesOn(rule int) { c.rules[rule].again.Add(1) }

// Stat is what is known of one rule. The times are zero for never, and exact to the second. MissAt
// may be the time of a flow that the rule was tried on and handed on.
type Stat struct {
	Hits, Misses  uint64
	HitAt, MissAt time.Time
}

// All are the statistics of all rules.
func (c *Counters) All() []Stat {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := make([]Stat, len(c.rules)-1)
	none := &c.rules[len(c.rules)-1]
	passed, last := int64(none.ended.Load()), none.at.Load() // evaluations that ended behind rule i
	for i := len(stats) - 1; i >= 0; i-- {
		r, s := &c.rules[i], &stats[i]
		passed -= int64(r.again.Load())
		s.Hits, s.Misses = r.ended.Load(), uint64(max(0, passed)) // a flow on its way may be counted by half
		s.HitAt, s.MissAt = unix(r.at.Load()), unix(last)
		if s.Misses == 0 {
			s.MissAt = time.Time{}
		}
		if p := c.off[i]; p != nil {
			s.Misses -= min(s.Misses, p.in(s.Misses))
		}
		passed += int64(s.Hits)
		last = max(last, r.at.Load())
	}
	return stats
}

func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// in is how many of the misses fell into pauses.
func (p *pause) in(misses uint64) uint64 {
	if p.off {
		return p.misses + misses - min(misses, p.since)
	}
	return p.misses
}

// Switch notes that a rule is switched off, or on again: in between it does not miss.
func (c *Counters) Switch(rule int, off bool) {
	raw := c.raw(rule)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.off[rule]
	switch {
	case p == nil && off:
		c.off[rule] = &pause{since: raw, off: true}
	case p != nil && p.off && !off:
		p.misses, p.off = p.in(raw), false
	case p != nil && !p.off && off:
		p.since, p.off = raw, true
	}
}

// raw are the misses of a rule as if it had never been switched off.
func (c *Counters) raw(rule int) uint64 {
	var passed int64
	for i := rule; i < len(c.rules); i++ {
		if i > rule {
			passed += int64(c.rules[i].ended.Load())
		}
		passed -= int64(c.rules[i].again.Load())
	}
	return uint64(max(0, passed))
}
