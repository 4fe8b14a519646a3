package relay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

const (
	// interruptRest is the least time between two looks at the choices, so that many tests that end in a row
	// do not make groups decide for each of them.
	interruptRest = 100 * time.Millisecond
	// dialsEnd is when every flow that was being dialed at a change is in the table, or has failed.
	dialsEnd = outbound.DialTimeout + time.Second
	// maxDepartures bounds what one group remembers to do.
	maxDepartures = 1024
)

// interrupts ends the connections that went through what a group had chosen before, for the groups whose
// configuration says so (interrupt-exist-connections). Choices are looked at when somebody pokes, and where a
// group chooses by tests whenever these have found something. It sleeps where no group wants anything.
type interrupts struct {
	table *track.Table
	book  *health.Book
	log   *slog.Logger
	pins  func() // called on the goroutine, with no lock held, before it looks and at its end
	wake  chan struct{}

	mu     sync.Mutex
	groups []*interruptGroup
	deaf   func() // ends the notes of the book; nil is that it sends none
}

// interruptGroup is a group with a policy. It stays the same, by name, when the group is built anew.
type interruptGroup struct {
	name  string
	group group.Chooser
	after time.Duration
	since time.Time // when it began to be looked at
	now   string    // the choice that was seen last
	left  []departure
}

// departure is a change of a group's choice whose connections are still to end.
type departure struct {
	from, to string
	at       time.Time
	void     bool // the choice has come back meanwhile
}

func newInterrupts(table *track.Table, book *health.Book, log *slog.Logger) *interrupts {
	return &interrupts{table: table, book: book, log: log, pins: func() {}, wake: make(chan struct{}, 1)}
}

// poke has the choices looked at soon, because one may have changed. It never waits and may be called with
// any lock held.
func (i *interrupts) poke() {
	if i == nil {
		return
	}
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// follow makes the groups of next those that are looked at. What they had chosen in prev, which may be nil,
// counts as their choice before. It is called when next runs, and before anything is forgotten of prev.
func (i *interrupts) follow(prev, next *Running) {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.groups
	i.groups = nil
	now, tested := time.Now(), false
	for n := range next.Config.Groups {
		c := &next.Config.Groups[n]
		g, ok := next.Outbounds[c.Name].(group.Chooser)
		if !ok || !c.Interrupt.Close {
			continue
		}
		var ig *interruptGroup
		if at := slices.IndexFunc(old, func(ig *interruptGroup) bool { return ig.name == c.Name }); at >= 0 {
			ig = old[at]
		} else {
			ig = &interruptGroup{name: c.Name, since: now, now: prev.choice(c.Name)}
		}
		ig.group, ig.after = g, c.Interrupt.After
		ig.look(now)
		i.groups = append(i.groups, ig)
		_, decides := g.(group.Pinner)
		tested = tested || decides
	}
	switch {
	case tested && i.deaf == nil:
		i.deaf = i.book.Notify(i.wake)
	case !tested && i.deaf != nil:
		i.deaf()
		i.deaf = nil
	}
	i.poke()
}

// choice is the name of what a group has chosen; "" where there is no such group.
func (n *Running) choice(name string) string {
	if n == nil {
		return ""
	}
	if g, ok := n.Outbounds[name].(group.Chooser); ok {
		return g.Now().Info().Name
	}
	return ""
}

// start looks at the choices on a goroutine of its own until stop is called, which waits for it to end.
func (i *interrupts) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.serve(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (i *interrupts) serve(ctx context.Context) {
	defer i.pins() // those that were lost last
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Duration(0) // until something is to be done; negative is never
	var again time.Time     // what was being dialed when somebody poked is in the table by then
	for {
		if timer.Stop(); due >= 0 {
			timer.Reset(due)
		}
		select {
		case <-ctx.Done():
			return
		case <-i.wake:
			again = time.Now().Add(dialsEnd)
		case <-timer.C:
		}
		i.pins()
		due = i.turn(time.Now())
		if wait := time.Until(again); wait > 0 && i.follows() && (due < 0 || wait < due) {
			due = wait
		}
		timer.Reset(interruptRest)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if due > 0 {
			due = max(0, due-interruptRest)
		}
	}
}

// follows says whether any group has a policy.
func (i *interrupts) follows() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.groups) > 0
}

// turn looks at all choices and ends what is due. It returns how long there is nothing to do unless somebody
// pokes; a negative time is for ever.
func (i *interrupts) turn(now time.Time) time.Duration {
	ends, next := i.due(now)
	for n := range ends {
		ends[n].carryOut(i.log) // with no lock held: connections are closed
	}
	return next
}

// due looks at all choices, and returns what is to end now and how long there is nothing more.
func (i *interrupts) due(now time.Time) (ends []ending, next time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	next = -1
	if len(i.groups) == 0 {
		return nil, next
	}
	taken := make(map[*track.Entry]bool)
	live := i.table.Live(make([]*track.Entry, 0, 64)) // before the choices: who is in it has been carried by then
	for _, g := range i.groups {
		g.look(now)
		g.strays(live, now)
		for n := range g.left {
			d := &g.left[n]
			if now.Before(g.due(d)) {
				continue
			}
			e := ending{group: g.name, from: d.from, to: d.to, after: g.after}
			for _, f := range g.elsewhere(live, d) {
				if !taken[f] {
					taken[f] = true
					e.flows = append(e.flows, f)
				}
			}
			ends = append(ends, e)
		}
		g.left = slices.DeleteFunc(g.left, func(d departure) bool { return !now.Before(g.due(&d)) })
		for n := range g.left {
			if wait := g.due(&g.left[n]).Sub(now); next < 0 || wait < next {
				next = wait
			}
		}
	}
	return ends, next
}

// look asks the group for its choice, and notes a change.
func (g *interruptGroup) look(now time.Time) {
	to := g.group.Now().Info().Name
	if to == g.now {
		return
	}
	if g.now != "" {
		g.leave(g.now, to, now)
	}
	for i := range g.left {
		g.left[i].void = g.left[i].void || g.left[i].from == to
	}
	g.now = to
}

// strays notes choices that came and went between two looks, by the flows that they have carried.
func (g *interruptGroup) strays(live []*track.Entry, now time.Time) {
	for _, e := range live {
		m := e.Member(g.name)
		if m == "" || m == g.now || e.Start.Before(g.since) || e.Reason() != "" {
			continue
		}
		if !slices.ContainsFunc(g.left, func(d departure) bool { return d.from == m && !d.void && !e.Start.After(d.at) }) {
			g.leave(m, g.now, now)
		}
	}
}

func (g *interruptGroup) leave(from, to string, now time.Time) {
	if len(g.left) == maxDepartures {
		g.left = slices.Delete(g.left, 0, 1) // what is left of it ends with the next one
	}
	g.left = append(g.left, departure{from: from, to: to, at: now})
}

// due is when the connections of d end.
func (g *interruptGroup) due(d *departure) time.Time { return d.at.Add(g.after) }

// elsewhere are the flows that the group carries by another member than its choice: by the one that it has left,
// and by those that it left before anybody looked, but not by those with a departure of their own.
func (g *interruptGroup) elsewhere(live []*track.Entry, left *departure) (flows []*track.Entry) {
	for _, e := range live {
		m := e.Member(g.name)
		if m == "" || m == g.now || e.Reason() != "" {
			continue
		}
		if m == left.from && !left.void && !e.Start.After(left.at) || !slices.ContainsFunc(g.left, func(d departure) bool { return d.from == m }) {
			flows = append(flows, e)
		}
	}
	return flows
}

// ending are the flows that end for a change of a group's choice.
type ending struct {
	group, from, to string
	after           time.Duration
	flows           []*track.Entry
}

func (e *ending) carryOut(log *slog.Logger) {
	for _, f := range e.flows {
		f.End(track.Moved(e.group, e.from, e.to))
	}
	what := "connections"
	if len(e.flows) == 1 {
		what = "connection"
	}
	text := fmt.Sprintf("group %q went from %s to %s: %d %s ended", e.group, e.from, e.to, len(e.flows), what)
	if e.after > 0 {
		text += fmt.Sprintf(" after %v", e.after)
	}
	log.Info(text)
}
