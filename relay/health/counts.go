package health

import "time"

// Counts are what a planner has counted since it was made, and what it has to do now.
type Counts struct {
	Passed     uint64 // tests that found the node alive
	Unexpected uint64 // that were answered with a status that was not expected
	Failed     uint64
	Panics     uint64 // of Failed, those that a bug ended

	InFlight, Queued, Most int  // tests that run, that wait for their turn, and that may run at a time
	Busy                   bool // so many wait that more are refused
}

// Counts returns what is known now.
func (p *Planner) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts
	c.InFlight, c.Most, c.Busy = p.running, p.c.Most, p.asked.len() >= maxWaiting
	now := time.Now()
	for _, f := range p.flights {
		if !f.running && p.due(f, now) {
			c.Queued++
		}
	}
	return c
}

// count counts a test that has ended. p.mu is held.
func (p *Planner) count(f *flight) {
	switch {
	case f.err != nil:
		p.counts.Failed++
	case !f.expected:
		p.counts.Unexpected++
	default:
		p.counts.Passed++
	}
	if f.panicked {
		p.counts.Panics++
	}
}
