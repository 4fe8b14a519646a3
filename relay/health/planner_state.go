package health

import (
	"cmp"
	"slices"
	"time"
)

// PlannerState is what a planner is about to do.
type PlannerState struct {
	Most     int    // tests at a time
	Queue    []Pair // wait for their turn, next first
	InFlight []Pair // by name
	Next     []Due  // what is planned, soonest first
}

// Pair is a node and the URL it is tested with.
type Pair struct{ Name, URL string }

// Due is a test that is planned.
type Due struct {
	Name, URL string
	At        time.Time
	Lazy      bool // it will be left out if nobody uses the node until then
}

// State is a copy of the planner's state.
func (p *Planner) State() PlannerState {
	s := p.snapshot()
	slices.SortFunc(s.InFlight, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.URL, b.URL))
	})
	slices.SortFunc(s.Next, func(a, b Due) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name), cmp.Compare(a.URL, b.URL))
	})
	return s
}

func (p *Planner) snapshot() PlannerState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PlannerState{
		Most: p.c.Most, Queue: []Pair{},
		InFlight: make([]Pair, 0, p.running), Next: make([]Due, 0, len(p.plan)),
	}
	now := time.Now()
	for _, q := range []*queue{&p.asked, &p.planned} {
		for _, f := range q.list[q.head:] {
			twice := q == &p.planned && f.urgent
			if p.flights[f.key] == f && !f.running && !twice && p.due(f, now) {
				s.Queue = append(s.Queue, f.pair())
			}
		}
	}
	for _, f := range p.flights {
		if f.running {
			s.InFlight = append(s.InFlight, f.pair())
		}
	}
	for _, t := range p.plan {
		s.Next = append(s.Next, Due{t.info.Name, t.url, t.due, t.lazy && !t.forced})
	}
	return s
}

func (f *flight) pair() Pair { return Pair{f.info.Name, f.url} }
