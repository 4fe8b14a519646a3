package health

import (
	"container/heap"
	"iter"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Want is a test that is to be repeated.
type Want struct {
	Node     outbound.Outbound
	Probe    Probe
	Interval time.Duration // 0: only when it is triggered
	Timeout  time.Duration // 0 is 5 seconds; 65 seconds are the longest
	// Used says when somebody last dialed through what wants the test: nobody within an interval, and
	// the test is left out. nil is to test anyway. It must not call the planner.
	Used func() time.Time
}

// test is what one or more wants want of a node and a URL.
type test struct {
	key
	node     outbound.Outbound
	probe    Probe
	interval time.Duration
	timeout  time.Duration
	lazy     bool
	used     []func() time.Time

	base    time.Time // due is some intervals later, but for the first and where it is triggered
	due     time.Time // zero: none
	started time.Time // the last one; zero: none
	forced  bool      // the next one is not left out
	urgent  bool      // the next one goes before others
	at      int       // its place in the plan; -1: none
}

// Use replaces what is wanted. A node with a URL that was wanted before keeps its time; one that is
// new is tested within seconds, and from then on the tests of an interval are spread over it. Wants of
// the same node and URL are one test: at the shortest interval, with the longest timeout, and what
// else there is of the first. A want whose URL cannot be tested is left out.
func (p *Planner) Use(wants iter.Seq[Want]) {
	tests, order := make(map[key]*test), []*test{}
	checked := make(map[string]error) // few URLs are of many wants
	for w := range wants {
		k := key{w.Node.Info(), w.Probe.URL}
		if t := tests[k]; t != nil {
			t.merge(&w)
			continue
		}
		err, seen := checked[k.url]
		if !seen {
			err = CheckURL(k.url)
			checked[k.url] = err
		}
		if err != nil {
			p.c.Log.Warn("a node is not tested", "node", k.info.Name, "err", err)
			continue
		}
		t := &test{key: k, node: w.Node, probe: w.Probe, lazy: true, at: -1}
		t.merge(&w)
		tests[k] = t
		order = append(order, t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	fresh := make(map[time.Duration][]*test)
	for _, t := range order {
		if old := p.tests[t.key]; old != nil {
			t.follow(old, now)
		} else if t.interval > 0 {
			fresh[t.interval] = append(fresh[t.interval], t)
		}
	}
	for _, list := range fresh {
		spread(list, now)
	}
	p.tests, p.plan = tests, p.plan[:0]
	for _, t := range order {
		if !t.due.IsZero() {
			t.at = len(p.plan)
			p.plan = append(p.plan, t)
		}
	}
	clear(p.plan[len(p.plan):cap(p.plan)])
	heap.Init(&p.plan)
	p.poke()
}

func (t *test) merge(w *Want) {
	if w.Interval > 0 && (t.interval == 0 || w.Interval < t.interval) {
		t.interval = w.Interval
	}
	t.timeout = max(t.timeout, bounded(w.Timeout))
	switch {
	case w.Interval <= 0: // it has no ticks that would not be left out
	case w.Used == nil:
		t.lazy = false
	default:
		t.used = append(t.used, w.Used)
	}
}

// bounded is how long a test may take where d is asked for.
func bounded(d time.Duration) time.Duration {
	if d <= 0 {
		return usualTime
	}
	return min(d, maxTime)
}

// follow takes over the times of old.
func (t *test) follow(old *test, now time.Time) {
	t.base, t.due, t.started, t.forced, t.urgent = old.base, old.due, old.started, old.forced, old.urgent
	if t.interval == old.interval || t.forced {
		return
	}
	if t.base.IsZero() {
		t.base = now
	}
	t.due = t.next(now)
}

// spread gives tests of one interval, all of them new, their times: the first ones as soon as that
// may be without a rush, and all others evenly over the interval.
func spread(list []*test, now time.Time) {
	n, interval := time.Duration(len(list)), list[0].interval
	step := min(min(startSpread, interval)/n, startStep)
	for i, t := range list {
		t.due = now.Add(time.Duration(i) * step)
		t.base = now.Add(time.Duration(float64(interval) * float64(i) / float64(n)))
		t.forced = true
	}
}

// next is when the test is due after one at now: half an interval to one and a half later, where
// spread has put it, and one later from then on. Zero is never.
func (t *test) next(now time.Time) time.Time {
	if t.interval <= 0 {
		return time.Time{}
	}
	soonest := now.Add(t.interval / 2)
	past := soonest.Sub(t.base)
	if past <= 0 {
		return t.base
	}
	return t.base.Add((past + t.interval - 1) / t.interval * t.interval)
}

// idle says that whoever wants the test has not used the node lately.
func (t *test) idle(now time.Time) bool {
	if !t.lazy {
		return false
	}
	for _, used := range t.used {
		if now.Sub(used()) <= t.interval {
			return false
		}
	}
	return true
}

// plan is a heap of tests by their times.
type plan []*test

func (h plan) Len() int           { return len(h) }
func (h plan) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h plan) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *plan) Push(x any) {
	t := x.(*test)
	t.at = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *plan) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.at = -1
	return t
}

// Trigger tests a node with one of its wanted URLs now, for the sake of a failure that somebody saw.
// It joins a test that waits or runs, and comes no sooner than a second after the last one began. What
// nobody wants is not tested.
func (p *Planner) Trigger(node outbound.Outbound, url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key{node.Info(), url}
	t := p.tests[k]
	if t == nil || p.stopped {
		return
	}
	if f := p.flights[k]; f != nil {
		p.hurry(f)
		return
	}
	now := time.Now()
	due := now
	if soonest := t.started.Add(resting); !t.started.IsZero() && soonest.After(now) {
		due = soonest
	}
	t.forced, t.urgent = true, true
	if t.due.IsZero() || due.Before(t.due) {
		t.due = due
		p.place(t)
		p.poke()
	}
}
