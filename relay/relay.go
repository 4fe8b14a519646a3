// Package relay builds a running relay from a configuration and changes it as a transaction:
// everything that can fail happens beside what runs, then one store makes it so.
package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strconv"
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
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
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

var errEnding = errors.New("the daemon stops")

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

	signs      signs
	panels     *panels
	interrupts *interrupts
	lost       lostPins

	sockets   *sysnet.Sockets // nil: nobody keeps account
	lingering atomic.Pointer[context.Context]
	yielded   bool // applying guards it
	ending    bool // applying guards it

	applying sync.Mutex // one change at a time; flows never take this lock
	inbounds *inbounds
	parts    []Part
	current  atomic.Pointer[Running]
	boot     string // what revisions of this process begin with
	plans    bool   // a judge that reads what proxy providers have on disk, to say what would be kept

	gathering sync.Mutex // groups get the members of one moment; it is taken inside applying, never around it
	unread    bool       // the stored choices could not be read; applying guards it
}

// New makes a relay that serves nothing yet.
func New(hub *logs.Hub, store *state.Store, source Source) *Relay {
	log := hub.Logger()
	r := &Relay{
		Agent: "switchyard", hub: hub, log: log, store: store, source: source, finder: process.New(), boot: rand.Text()[:12],
	}
	r.engine = engine.New(log, track.NewTable())
	r.dns = newDNSService(log)
	r.book = health.NewBook()
	r.planner = health.NewPlanner(health.Config{Book: r.book, Client: r.testClient, Log: log})
	r.interrupts = newInterrupts(r.engine.Table, r.book, log)
	r.interrupts.pins = r.forgetPins
	r.panels = newPanels(r.getPanel, log)
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

// Revision is the configuration that runs, as Config is, and a word that another one has never had: it changes
// with every change, and holds nothing of it.
func (r *Relay) Revision() (c *config.Config, revision string) {
	now := r.current.Load()
	return now.Config, r.revision(now)
}

func (r *Relay) revision(n *Running) string { return r.boot + "-" + strconv.FormatUint(n.revision, 10) }

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
	r.inbounds.sockets = r.sockets
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
		tasks.Go(func() { r.keepPanel(ctx) })
		tasks.Go(func() { r.store.Serve(ctx, r.recall) })
		<-ctx.Done()
		r.signs.stopping.Store(true)
		tasks.Wait()
	}
	endInterrupts()
	r.applying.Lock()
	r.ending = true // no change begins any more
	r.applying.Unlock()
	for _, p := range slices.Backward(r.parts) { // whose requests may still want to choose
		err = errors.Join(err, p.Stop())
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	r.sources.stop()
	endTests()
	err = errors.Join(err, <-tested)
	r.linger()
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

// Patch clones the running configuration, lets change edit it, and applies the result. Where expected is there
// and says no to the revision that runs, it fails with config.ErrStale.
func (r *Relay) Patch(expected func(revision string) bool, change func(c *config.Config) error) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	if err := r.expect(now, expected); err != nil {
		return err
	}
	c := now.Config.Clone()
	c.Changed()
	c.Controller.Kept = true
	if err := change(c); err != nil {
		return err
	}
	return r.apply(c, now.off)
}

func (r *Relay) expect(now *Running, expected func(revision string) bool) error {
	if expected != nil && !expected(r.revision(now)) {
		return config.ErrStale
	}
	return nil
}

// use makes next what runs. late is called when that cannot be given up any more.
func (r *Relay) use(next *Running, late func()) {
	r.gathering.Lock()
	defer r.gathering.Unlock()
	next.gather()
	late()
	r.engine.Use(next.snapshot)
	r.interrupts.follow(r.current.Swap(next), next)
	r.watch(next)
}
