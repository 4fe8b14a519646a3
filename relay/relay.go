// Package relay builds a running relay from a configuration and changes it as a transaction:
// everything that can fail happens beside what runs, then one store makes it so.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/process"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// Part is something beside the relay that changes with the configuration: the controller.
type Part interface {
	// Prepare acquires what next needs, without touching what runs. prev is nil at start.
	Prepare(prev, next *config.Config) (config.Change, error)
	// Name is what a failed step is called.
	Name() string
	// Stop releases all of it and waits for its goroutines. It is called when the daemon ends,
	// also when it never began.
	Stop() error
}

// StepError says which step of a change failed. Nothing has changed.
type StepError struct {
	Step string // "build", "inbounds" or a part's name
	Err  error
}

func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }

// FailedStep is Step, for those who know no StepError.
func (e *StepError) FailedStep() string { return e.Step }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Relay is the running relay.
type Relay struct {
	Agent string // what downloads call themselves, unless the configuration says something else

	hub     *logs.Hub
	log     *slog.Logger
	store   *state.Store
	source  Source
	engine  *engine.Engine
	geo     *geoData
	sources *sources
	finder  *process.Finder
	dns     *dnsService
	book    *health.Book
	planner *health.Planner

	interrupts *interrupts
	lost       lostPins

	applying sync.Mutex // one change at a time; flows never take this lock
	inbounds *inbounds
	parts    []Part
	current  atomic.Pointer[Running]

	gathering sync.Mutex // groups get the members of one moment; it is taken inside applying, never around it
	unread    bool       // the stored choices could not be read; applying guards it
}

// New makes a relay that serves nothing yet.
func New(hub *logs.Hub, store *state.Store, source Source) *Relay {
	log := hub.Logger()
	r := &Relay{Agent: "switchyard", hub: hub, log: log, store: store, source: source, finder: process.New()}
	r.engine = engine.New(log, track.NewTable())
	r.dns = newDNSService(log)
	r.book = health.NewBook()
	r.planner = health.NewPlanner(health.Config{Book: r.book, Client: r.testClient, Log: log})
	r.interrupts = newInterrupts(r.engine.Table, r.book, log)
	r.interrupts.pins = r.forgetPins
	r.geo = newGeoData(source.Paths.Home, log)
	r.geo.get, r.geo.inUse, r.geo.held = r.getGeo, r.geoInUse, r.geoHeld
	r.geo.changed = func(kind geo.Kind, names []string) {
		r.setsChanged(func(now *Running) bool {
			return slices.ContainsFunc(names, func(name string) bool { return now.naming.geo[geoKey{kind, name}] })
		})
	}
	return r
}

// Add makes p part of every change from now on. It is called before Start.
func (r *Relay) Add(p Part) { r.parts = append(r.parts, p) }

// Table is the table of live flows.
func (r *Relay) Table() *track.Table { return r.engine.Table }

// Store is what survives a restart.
func (r *Relay) Store() *state.Store { return r.store }

// Panics counts the bugs that ended a flow.
func (r *Relay) Panics() int64 { return r.engine.Panics() }

// Config is the configuration that runs; it is not to be changed. Before the first Apply there is
// none.
func (r *Relay) Config() *config.Config { return r.current.Load().Config }

// Outbound finds a node or group by name, also one of a provider; nil is none.
func (r *Relay) Outbound(name string) outbound.Outbound {
	return r.current.Load().index.Load().byName[name]
}

// Outbounds are all nodes and groups, sorted by name; it is not to be changed.
func (r *Relay) Outbounds() []outbound.Outbound { return r.current.Load().index.Load().sorted }

// Groups are the groups as in the file, with GLOBAL.
func (r *Relay) Groups() []group.Group { return r.current.Load().Groups }

// Rules are the rules, and how often each held.
func (r *Relay) Rules() (*rule.Program, []rule.Stat) {
	now := r.current.Load()
	return now.Program, now.counters.All()
}

// Run serves until ctx is done. started is called once the engine runs; it makes the first Apply.
func (r *Relay) Run(ctx context.Context, started func() error) error {
	flows, end := context.WithCancel(context.Background())
	defer end()
	r.inbounds, r.sources = newInbounds(r.engine, r.log), newSources(r.log)
	served := make(chan error, 1)
	go func() { served <- r.engine.Serve(flows) }()
	tests, endTests := context.WithCancel(context.Background())
	tested := make(chan error, 1)
	go func() { tested <- r.planner.Serve(tests) }()
	endInterrupts := r.interrupts.start()
	err := started()
	if err == nil {
		var tasks sync.WaitGroup
		tasks.Go(func() { r.geo.run(ctx) })
		tasks.Go(func() { r.store.Serve(ctx, r.recall) })
		<-ctx.Done()
		tasks.Wait()
	}
	endInterrupts()
	r.applying.Lock() // no change begins any more
	defer r.applying.Unlock()
	for _, p := range slices.Backward(r.parts) {
		err = errors.Join(err, p.Stop())
	}
	r.sources.stop()
	endTests()
	err = errors.Join(err, <-tested)
	r.inbounds.stop()
	r.dns.stop()
	end()
	return errors.Join(err, <-served, r.inbounds.wait(), r.store.Close())
}

// Apply makes c the running configuration, or changes nothing and says why: with a
// *config.Invalid for what is wrong in c, else with a *StepError.
func (r *Relay) Apply(c *config.Config) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	return r.apply(c, nil)
}

// Check says what is wrong with c beyond what its parser sees: what only building it shows. It
// opens nothing and changes nothing.
func Check(c *config.Config) error {
	quiet := c.Clone()
	quiet.Profile.StoreSelected = false // what was chosen before does not matter here
	_, err := newJudge().build(quiet, nil, nil)
	return err
}

// newJudge makes a relay that only says what is wrong with configurations.
func newJudge() *Relay {
	log := slog.New(slog.DiscardHandler)
	return &Relay{log: log, store: state.New(os.DevNull, log), dns: newDNSService(log), book: health.NewBook()}
}

// Patch clones the running configuration, lets change edit it, and applies the result.
func (r *Relay) Patch(change func(c *config.Config) error) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	c := now.Config.Clone()
	c.Changed()
	if err := change(c); err != nil {
		return err
	}
	return r.apply(c, now.off)
}

// apply makes c run, with the rules in off switched off.
func (r *Relay) apply(c *config.Config, off map[int]bool) (err error) {
	if err := c.Validate().Err(); err != nil {
		return err
	}
	prev := r.current.Load()
	var changes []config.Change
	step, done := "build", false
	defer func() { // a bug ends the change and not the daemon
		if v := recover(); v != nil {
			r.log.Error("panic in a change of the configuration", "panic", v, "stack", string(debug.Stack()))
			err = &StepError{Step: step, Err: fmt.Errorf("panic: %v", v)}
		}
		if err != nil && !done {
			for _, change := range changes {
				change.Abort()
			}
		}
	}()
	next, err := r.build(c, prev, off)
	if err != nil {
		return err
	}
	step = "inbounds"
	binding, err := r.inbounds.prepare(c)
	if err != nil {
		return &StepError{Step: "inbounds", Err: err}
	}
	changes = append(changes, binding)
	step = "dns"
	resolving, err := r.dns.prepare(c, next.naming, r.evict)
	if err != nil {
		return &StepError{Step: "dns", Err: err}
	}
	changes = append(changes, resolving)
	for _, p := range r.parts {
		step = p.Name()
		var old *config.Config
		if prev != nil {
			old = prev.Config
		}
		change, err := p.Prepare(old, c)
		if err != nil {
			return &StepError{Step: p.Name(), Err: err}
		}
		changes = append(changes, change)
	}
	resolving.adopt() // as nothing below, it cannot fail
	r.use(next)       // nothing after this line can fail
	step, done = "commit", true
	r.hub.SetLevel(logLevel(c.LogLevel))
	next.switchCounters(prev)
	r.sources.follow(prev, next)
	r.geo.forgive()
	r.geo.wake()
	for _, change := range changes {
		change.Commit()
	}
	if len(c.Rules) > largeSet {
		debug.FreeOSMemory() // reading it took several times what is kept
	}
	return nil
}

// use makes next what runs.
func (r *Relay) use(next *Running) {
	r.gathering.Lock()
	defer r.gathering.Unlock()
	next.gather()
	r.engine.Use(next.snapshot)
	r.interrupts.follow(r.current.Swap(next), next)
	r.watch(next)
}
