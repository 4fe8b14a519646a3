package health

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Result is the outcome of one of the tests that Test was asked for.
type Result struct {
	Node     outbound.Outbound
	Delay    uint16 // ms; 0 where there is Err
	Expected bool   // whether the status was
	Err      error
}

// One tests node now. The outcome is in the book before it is returned. An error that is
// context.DeadlineExceeded means that there was no answer within timeout, of which 65 seconds are the
// longest; ErrURL, ErrBusy and ErrStopped say nothing of the node. The test goes on when ctx ends.
func (p *Planner) One(ctx context.Context, node outbound.Outbound, probe Probe, timeout time.Duration) (delay uint16, err error) {
	r := p.Test(ctx, []outbound.Outbound{node}, probe, timeout)
	return r[0].Delay, r[0].Err
}

// Test tests all of nodes now, those first that were fast before, and returns what it found within
// timeout in the order of nodes; its errors are those of One. What it found is in the book by then. A
// node whose turn has not come within timeout is not tested; one whose test began late has timeout from
// its start, and the outcome is in the book later.
func (p *Planner) Test(ctx context.Context, nodes []outbound.Outbound, probe Probe, timeout time.Duration) []Result {
	return p.test(ctx, nodes, probe, timeout, timeout)
}

// Sweep is Test of nodes that are many: each has timeout, 0 is 5 seconds, once its turn has come, and what has
// not begun within within is not tested.
func (p *Planner) Sweep(ctx context.Context, nodes []outbound.Outbound, probe Probe, timeout, within time.Duration) []Result {
	timeout = bounded(timeout)
	return p.test(ctx, nodes, probe, timeout, max(timeout, min(within, maxTime)))
}

// test gives each of nodes timeout, and all of them within.
func (p *Planner) test(ctx context.Context, nodes []outbound.Outbound, probe Probe, timeout, within time.Duration) []Result {
	results := make([]Result, len(nodes))
	for i, o := range nodes {
		results[i].Node = o
	}
	err := CheckURL(probe.URL)
	if err == nil && timeout <= 0 {
		err = context.DeadlineExceeded
	}
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	timeout, within = min(timeout, maxTime), min(within, maxTime)
	w := waiter{p: p, deadline: time.Now().Add(within)}
	flights := make([]*flight, len(nodes))
	for _, i := range p.order(nodes, probe.URL) {
		flights[i], results[i].Err = p.ask(nodes[i], &probe, timeout, within)
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	w.timer = timer.C
	for i, f := range flights {
		if f != nil {
			w.collect(ctx, f, &results[i])
		}
	}
	return results
}

// order is the places of nodes: what was fast comes before what nobody knows, and that before the
// dead, which may hold up the others until the time is over.
func (p *Planner) order(nodes []outbound.Outbound, url string) []int {
	rank, places := make([]int, len(nodes)), make([]int, len(nodes))
	for i, o := range nodes {
		alive, delay := p.c.Book.Result(o.Info(), url)
		places[i], rank[i] = i, int(delay)
		if !alive {
			rank[i]++
		}
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	return places
}

// waiter waits for tests, until its deadline.
type waiter struct {
	p        *Planner
	deadline time.Time
	timer    <-chan time.Time
	over     bool // timer has fired
}

// collect waits for f and writes its outcome to r.
func (w *waiter) collect(ctx context.Context, f *flight, r *Result) {
	if !w.wait(ctx, f) {
		r.Err = ctx.Err()
		if r.Err == nil {
			r.Err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
		}
		return
	}
	r.Delay, r.Expected, r.Err = f.delay, f.expected, f.err
}

// wait says whether f has ended before ctx and in time. One whose own time is over as well ends now,
// and what it found is waited for, so that it is in the book.
func (w *waiter) wait(ctx context.Context, f *flight) bool {
	if !w.over {
		select {
		case <-f.done:
			return true
		case <-ctx.Done():
			return false
		case <-w.timer:
			w.over = true
		}
	}
	if w.p.endsBy(f, w.deadline.Add(slack)) {
		select {
		case <-f.done:
			return true
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// endsBy says whether f runs, and no longer than until at.
func (p *Planner) endsBy(f *flight, at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.running && !f.deadline.After(at)
}
