package relay

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// Select makes member the choice of the group called name, or pins it, and remembers it where the
// configuration says so. A change of the configuration comes before it or after it, and keeps it.
func (r *Relay) Select(name, member string) error {
	r.retest(name, member)
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	var err error
	switch g := now.Outbounds[name].(type) {
	case *group.Select:
		err = g.Select(member)
	case group.Pinner:
		err = g.Pin(member)
	default:
		err = fmt.Errorf("group %q: %w", name, group.ErrNoMember)
	}
	if err == nil {
		r.interrupts.poke()
		r.remember(now, name, member)
	}
	return err
}

// Unpin lets a group choose by itself again; known is false for one that always does, or never.
func (r *Relay) Unpin(name string) (known bool) {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	g, ok := now.Outbounds[name].(group.Pinner)
	if !ok {
		return false
	}
	g.Unpin()
	r.interrupts.poke()
	r.remember(now, name, "")
	return true
}

// remember stores a choice. It is made by then; where it cannot be stored now the store keeps trying, and
// its health says so.
func (r *Relay) remember(now *Running, name, member string) {
	if now.Config.Profile.StoreSelected {
		_ = r.store.Select(name, member)
	}
}

// recall makes the stored choices once they can be read, where they could not when the groups were built.
// What somebody has chosen since then stays.
func (r *Relay) recall() {
	r.applying.Lock()
	defer r.applying.Unlock()
	if !r.unread {
		return
	}
	stored, err := r.store.Selections()
	if err != nil {
		return // the store calls again
	}
	r.unread = false
	defer r.interrupts.poke()
	now := r.current.Load()
	if !now.Config.Profile.StoreSelected {
		return
	}
	for _, g := range now.Groups {
		w, ok := g.(group.Wisher)
		member, known := stored[g.Info().Name]
		if !ok || !known {
			continue
		}
		if _, chosen := w.Wish(); !chosen {
			w.SetWish(member)
		}
	}
}

// lostPins are the groups that have lost their pin with the member it was of, until the store forgets it too.
type lostPins struct {
	mu    sync.Mutex
	names map[string]bool
}

// lostPin notes that the group called name has lost its pin. It is called on the way of a flow: it only notes.
func (r *Relay) lostPin(name string) {
	r.lost.mu.Lock()
	if r.lost.names == nil {
		r.lost.names = make(map[string]bool)
	}
	r.lost.names[name] = true
	r.lost.mu.Unlock()
	r.interrupts.poke()
}

// forgetPins has the store forget the pins that were lost, unless there is a new one. It waits for a change of
// the configuration to end.
func (r *Relay) forgetPins() {
	r.lost.mu.Lock()
	names := r.lost.names
	r.lost.names = nil
	r.lost.mu.Unlock()
	if len(names) == 0 {
		return
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	if now == nil {
		return
	}
	for name := range names {
		if g, ok := now.Outbounds[name].(group.Pinner); ok && g.Fixed() == "" {
			r.remember(now, name, "")
		}
	}
}

// retest tests a member that is known to be dead before the group called name is pinned to it, so that one
// that has come back is not left again at once. It takes five seconds at most.
func (r *Relay) retest(name, member string) {
	for _, g := range r.current.Load().built {
		if g.Info().Name != name {
			continue
		}
		if _, ok := g.Group.(group.Pinner); !ok {
			return
		}
		for _, m := range g.Members() {
			if m.Info().Name != member {
				continue
			}
			if alive, _ := r.book.Result(m.Info(), g.probe.URL); !alive {
				_, _ = r.planner.One(context.Background(), m, g.probe, min(cmp.Or(g.timeout, outbound.DialTimeout), outbound.DialTimeout))
			}
			return
		}
	}
}

// carryOn has a group that was built anew go on where the one of its name ended.
func (b *builder) carryOn(g group.Group) {
	if next, ok := g.(group.Successor); ok && b.prev != nil {
		next.Follow(b.prev.Outbounds[g.Info().Name])
	}
}
