package relay

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// transaction is a change of the configuration under way.
type transaction struct {
	relay      *Relay
	prev, next *Running // prev is nil at start
	step       string   // that is being taken
	changes    []config.Change
	resolving  *dnsChange
	late       bool // it cannot be given up any more
}

// apply makes c run, with the rules in off switched off.
func (r *Relay) apply(c *config.Config, off map[int]bool) (err error) {
	if err := c.Validate().Err(); err != nil {
		return err
	}
	if err := r.unchangeable(); err != nil {
		return &StepError{Step: "build", Err: err}
	}
	x := &transaction{relay: r, prev: r.current.Load(), step: "build"}
	defer func() { // a bug ends the change and not the daemon
		if v := recover(); v != nil {
			err = r.bug(x.step, v)
		}
		if err != nil {
			x.abort()
		}
	}()
	if x.next, err = r.build(c, x.prev, off); err != nil {
		return err
	}
	if x.prev != nil {
		x.next.revision = x.prev.revision + 1
	}
	if err := x.prepare(c); err != nil {
		return err
	}
	return x.commit(c)
}

// Try says whether c could be applied, by acquiring what it needs, and giving that up again. What runs does not
// notice.
func (r *Relay) Try(c *config.Config) (err error) {
	r.applying.Lock()
	defer r.applying.Unlock()
	if err := r.unchangeable(); err != nil {
		return err
	}
	if err := c.Validate().Err(); err != nil {
		return err
	}
	x := &transaction{relay: r, prev: r.current.Load(), step: "build"}
	judge := newJudge(r.source)
	defer func() {
		if v := recover(); v != nil {
			err = r.bug(x.step, v)
		}
		x.abort()
		judge.discard(x.next, nil)
	}()
	if x.next, err = judge.build(quiet(c), nil, nil); err != nil {
		return err
	}
	return x.prepare(c)
}

// prepare acquires what c needs, beside what runs.
func (x *transaction) prepare(c *config.Config) error {
	r := x.relay
	var old *config.Config
	if x.prev != nil {
		old = x.prev.Config
	}
	take := func(step string, prepare func() (config.Change, error)) error {
		x.step = step
		change, err := prepare()
		if err != nil {
			return &StepError{Step: step, Err: err}
		}
		x.changes = append(x.changes, change)
		return nil
	}
	err := take("inbounds", func() (config.Change, error) { return r.inbounds.prepare(c) })
	if err == nil {
		err = take("dns", func() (change config.Change, err error) {
			x.resolving, err = r.dns.prepare(c, x.next.naming, r.evict)
			return x.resolving, err
		})
	}
	for _, p := range r.parts {
		if err == nil {
			err = take(p.Name(), func() (config.Change, error) { return p.Prepare(old, c) })
		}
	}
	return err
}

// commit makes the change. Nothing in it can fail, but by a bug: until next runs that ends the change, and
// afterwards one step of it.
func (x *transaction) commit(c *config.Config) (err error) {
	r, prev, next := x.relay, x.prev, x.next
	x.step = "commit"
	err = r.finish(x.step, func() {
		r.use(next, func() {
			x.resolving.adopt()
			x.late = true
		})
	})
	if !x.late {
		return err
	}
	steps := []func(){
		r.signs.applied,
		func() { r.hub.SetLevel(logLevel(c.LogLevel)) },
		func() { next.switchCounters(prev) },
		func() { r.sources.follow(prev, next) },
		r.geo.forgive,
		r.geo.wake,
		func() {
			if prev == nil || prev.panel != next.panel || prev.Config.Controller.UIURL != c.Controller.UIURL {
				r.panels.wake()
			}
		},
	}
	for _, change := range x.changes {
		steps = append(steps, change.Commit)
	}
	for _, step := range steps {
		err = errors.Join(err, r.finish(x.step, step))
	}
	if len(c.Rules) > largeSet {
		debug.FreeOSMemory() // reading it took several times what is kept
	}
	return err
}

// abort gives up what was acquired, unless it is in use.
func (x *transaction) abort() {
	if x.late {
		return
	}
	for _, change := range x.changes {
		_ = x.relay.finish(x.step, change.Abort)
	}
}

// finish ends one of the prepared steps of a change. A bug in it does not keep the others from their end.
func (r *Relay) finish(step string, end func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.bug(step, v)
		}
	}()
	end()
	return nil
}

// bug is what a panic in a change of the configuration comes to.
func (r *Relay) bug(step string, v any) error {
	r.signs.bugs.Add(1)
	r.log.Error("panic in a change of the configuration", "panic", v, "stack", string(debug.Stack()))
	return &StepError{Step: step, Err: fmt.Errorf("panic: %v", v)}
}
