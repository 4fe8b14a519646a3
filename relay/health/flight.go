package health

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// flight is one test that waits for its turn or runs. Planner.mu guards it; its outcome may be read
// once done is closed.
type flight struct {
	key
	node    outbound.Outbound
	probe   Probe
	timeout time.Duration
	planned bool      // it is to run as long as somebody wants it
	expires time.Time // until when it is to run though nobody wants it
	urgent  bool      // it is in the queue that goes first

	running  bool
	deadline time.Time // while it runs
	latest   time.Time // that deadline may be put off to
	alarm    *time.Timer

	done     chan struct{}
	delay    uint16
	expected bool
	panicked bool
	err      error
}

// enqueue has t tested when it is its turn.
func (p *Planner) enqueue(t *test) {
	f := p.flights[t.key]
	if f == nil {
		f = &flight{key: t.key, node: t.node, probe: t.probe, timeout: t.timeout, done: make(chan struct{})}
		p.flights[t.key] = f
		if !t.urgent {
			p.planned.push(f)
		}
	}
	f.planned = true
	if t.urgent {
		p.hurry(f)
	}
}

// hurry lets f go before what is planned.
func (p *Planner) hurry(f *flight) {
	if !f.running && !f.urgent {
		f.urgent = true
		p.asked.push(f)
	}
}

// ask has node tested with probe at once, or as soon as it is its turn; it joins a test that waits or
// runs. That one may then take as long as the longest of those who share it want. One that has not begun within
// within is left out.
func (p *Planner) ask(node outbound.Outbound, probe *Probe, timeout, within time.Duration) (*flight, error) {
	k := key{node.Info(), probe.URL}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil, ErrStopped
	}
	now := time.Now()
	f := p.flights[k]
	switch {
	case f != nil && f.running:
		p.extend(f, now.Add(timeout), now)
		return f, nil
	case p.asked.len() >= maxWaiting:
		return nil, ErrBusy
	case f == nil:
		f = &flight{key: k, node: node, probe: *probe, done: make(chan struct{})}
		p.flights[k] = f
	}
	f.timeout = max(f.timeout, timeout)
	if until := now.Add(within); until.After(f.expires) {
		f.expires = until
	}
	p.hurry(f)
	p.poke()
	return f, nil
}

// extend lets a test that runs go on until deadline.
func (p *Planner) extend(f *flight, deadline, now time.Time) {
	if deadline.After(f.latest) {
		deadline = f.latest
	}
	if deadline.After(f.deadline) && f.alarm.Stop() {
		f.deadline = deadline
		f.alarm.Reset(deadline.Sub(now))
	}
}

// pop takes the next test out of the queues; nil is none.
func (p *Planner) pop(now time.Time) *flight {
	for p.asked.len()+p.planned.len() > 0 {
		q := &p.asked
		if q.len() == 0 {
			q = &p.planned
		}
		f := q.pop()
		switch {
		case p.flights[f.key] != f || f.running: // it was in the other queue as well
		case p.due(f, now):
			return f
		default:
			p.drop(f, context.DeadlineExceeded)
		}
	}
	return nil
}

// due says whether a test that waits is still to run.
func (p *Planner) due(f *flight, now time.Time) bool {
	return f.planned && p.tests[f.key] != nil || now.Before(f.expires)
}

// drop ends a test that has not run.
func (p *Planner) drop(f *flight, err error) {
	f.err = err
	delete(p.flights, f.key)
	close(f.done)
}

// start runs f on a goroutine of its own.
func (p *Planner) start(serving context.Context, f *flight, now time.Time) {
	ctx, cancel := context.WithCancelCause(serving)
	f.running = true
	f.deadline, f.latest = now.Add(f.timeout), now.Add(maxTime)
	f.alarm = time.AfterFunc(f.timeout, func() { cancel(context.DeadlineExceeded) })
	if t := p.tests[f.key]; t != nil {
		t.started = now
	}
	p.running++
	p.live.Go(func() {
		defer cancel(nil)
		p.run(ctx, f)
		if f.err == nil || serving.Err() == nil { // what only the end of Serve has ended says nothing
			p.c.Book.Note(f.info, f.url, time.Now(), f.delay, f.expected, f.err)
		}
		p.land(f)
	})
}

// run tests, and makes an error of a panic.
func (p *Planner) run(ctx context.Context, f *flight) {
	defer func() {
		if v := recover(); v != nil {
			f.delay, f.expected, f.err = 0, false, fmt.Errorf("panic while testing: %v", v)
			f.panicked = true
			p.c.Log.Error("a bug ended the test of a node", "node", f.info.Name, "panic", v)
		}
	}()
	var c Client
	if p.c.Client != nil {
		c = p.c.Client()
	}
	f.delay, f.expected, f.err = f.probe.Run(ctx, f.node, c)
	switch {
	case f.err != nil:
		p.c.Log.LogAttrs(ctx, slog.LevelDebug, "a node failed its test",
			slog.String("node", f.info.Name), slog.Any("err", f.err))
	case !f.expected:
		p.c.Log.LogAttrs(ctx, slog.LevelDebug, "a node's test met with an unexpected status",
			slog.String("node", f.info.Name), slog.String("expected", f.probe.Expected.String()))
	}
}

// land makes place for the next test.
func (p *Planner) land(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.alarm.Stop()
	delete(p.flights, f.key)
	p.running--
	p.count(f)
	p.noted = true
	close(f.done)
	p.poke()
}

// queue is first in, first out.
type queue struct {
	list []*flight
	head int
}

func (q *queue) len() int { return len(q.list) - q.head }

func (q *queue) push(f *flight) {
	if q.head > len(q.list)/2 && len(q.list) == cap(q.list) { // most of it is behind us
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		*q = queue{list: q.list[:n]}
	}
	q.list = append(q.list, f)
}

func (q *queue) pop() *flight {
	f := q.list[q.head]
	q.list[q.head] = nil
	q.head++
	if q.head == len(q.list) {
		*q = queue{list: q.list[:0]}
	}
	return f
}
