package dns

import (
	"context"
	"sync"
)

// Asked is the name of the server that is being asked on the way to here, or "": who connects to that
// name must not ask it what the name's address is.
func Asked(ctx context.Context) string {
	for t := trailOf(ctx); t != nil; t = t.from {
		if s, ok := t.step.(*Server); ok {
			return s.Spec.Addr.Host
		}
	}
	return ""
}

// trail are the questions and servers that a question has come about through. It is the one value that
// a context carries here: it has to pass through dialers and outbounds, which know nothing of it.
type trail struct {
	step any // a *flight or a *Server
	from *trail
}

type trailKey struct{}

func trailOf(ctx context.Context) *trail {
	t, _ := ctx.Value(trailKey{}).(*trail)
	return t
}

func withTrail(ctx context.Context, step any) context.Context {
	return context.WithValue(ctx, trailKey{}, &trail{step, trailOf(ctx)})
}

// waits is who waits for whom: questions for the servers that they are sent to, servers whose connection
// is being made for the questions that this takes. A circle never ends.
type waits struct {
	mu   sync.Mutex
	next map[any]map[any]int
}

// begin notes that what the context has come about through waits for to, until end is called. It says false
// where that would close a circle.
func (w *waits) begin(ctx context.Context, to any) (end func(), ok bool) {
	t := trailOf(ctx)
	if t == nil {
		return func() {}, true
	}
	from := t.step
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leads(to, from, nil) {
		return nil, false
	}
	if w.next == nil {
		w.next = make(map[any]map[any]int)
	}
	if w.next[from] == nil {
		w.next[from] = make(map[any]int, 1)
	}
	w.next[from][to]++
	return func() { w.end(from, to) }, true
}

func (w *waits) end(from, to any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.next[from]
	if m[to]--; m[to] > 0 {
		return
	}
	if delete(m, to); len(m) == 0 {
		delete(w.next, from)
	}
}

// leads says whether from waits for to, or for something that does. A question that could still be answered
// by another of its servers counts as waiting: else, once that one has failed, nobody would look again.
func (w *waits) leads(from, to any, seen map[any]bool) bool {
	if from == to {
		return true
	}
	if len(w.next[from]) == 0 || seen[from] {
		return false
	}
	if seen == nil {
		seen = make(map[any]bool)
	}
	seen[from] = true
	for n := range w.next[from] {
		if w.leads(n, to, seen) {
			return true
		}
	}
	return false
}

// loop is the error of one that would wait for itself: it is the server asked last.
func (t *trail) loop() error {
	for ; t != nil; t = t.from {
		if s, ok := t.step.(*Server); ok {
			return &loopError{s}
		}
	}
	return ErrLoop
}
