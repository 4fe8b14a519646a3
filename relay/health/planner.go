package health

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// ErrStopped means that the planner has ended.
var ErrStopped = errors.New("health checks have ended")

// ErrBusy means that too many tests wait for their turn already.
var ErrBusy = errors.New("too many health checks are waiting")

const (
	most        = 16
	usualTime   = 5 * time.Second                   // of a test, where nobody says
	maxTime     = (maxDelay + 1) * time.Millisecond // more cannot be told in a delay
	coarse      = 10 * time.Millisecond             // how late a test may begin, for the sake of fewer wake-ups
	resting     = time.Second                       // between tests that are triggered
	maxWaiting  = 1 << 15                           // tests that were asked for and wait
	startSpread = 3 * time.Second                   // over which tests that are new begin
	startStep   = 100 * time.Millisecond            // between two of them, at most
	slack       = 200 * time.Millisecond            // between the start of a test and its being asked for
	never       = time.Duration(1<<63 - 1)
)

// Config is what a planner works with.
type Config struct {
	Book   *Book
	Client func() Client // asked before each test; nil: no User-Agent, the system's roots
	Most   int           // tests at a time; 0 is 16
	Log    *slog.Logger  // nil: none
	// Tested is called once notes have been made, from one goroutine; many notes may share a call.
	// The planner waits for it. It may be nil.
	Tested func()
}

// Planner tests what is wanted in turn, and what is asked for at once; all of it within one budget,
// and a node with a URL once at a time. Any goroutine may use it.
type Planner struct {
	c    Config
	wake chan struct{}
	live sync.WaitGroup

	mu      sync.Mutex
	tests   map[key]*test // what is wanted
	plan    plan          // those of them that have a time
	flights map[key]*flight
	asked   queue // goes first
	planned queue
	running int
	counts  Counts // the numbers of what has ended
	noted   bool   // since Tested was called
	stopped bool
}

// key is a node and a URL.
type key struct {
	info *outbound.Info
	url  string
}

// NewPlanner makes a planner, which does nothing before Serve.
func NewPlanner(c Config) *Planner {
	c.Most = cmp.Or(max(c.Most, 0), most)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Planner{
		c: c, wake: make(chan struct{}, 1),
		tests: make(map[key]*test), flights: make(map[key]*flight),
	}
}

// Limit sets how many tests may run at a time from now on. Those that run go on.
func (p *Planner) Limit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.c.Most = max(n, 1)
	p.poke()
}

// Serve tests until ctx is done, and returns once the last test has ended; what still waits for one
// gets ErrStopped. It is called once.
func (p *Planner) Serve(ctx context.Context) error {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(p.turn(ctx))
		if p.c.Tested != nil && p.anyNoted() {
			p.c.Tested()
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
	}
	p.stop()
	p.live.Wait()
	return nil
}

// turn begins what is due, as far as the budget goes, and returns how long there is nothing to do.
func (p *Planner) turn(ctx context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.plan) > 0 && !p.plan[0].due.After(now) {
		t := p.plan[0]
		if t.forced || !t.idle(now) {
			p.enqueue(t)
		}
		t.forced, t.urgent = false, false
		t.due = t.next(now)
		p.place(t)
	}
	for p.running < p.c.Most {
		f := p.pop(now)
		if f == nil {
			break
		}
		p.start(ctx, f, now)
	}
	if len(p.plan) == 0 {
		return never
	}
	return max(coarse, p.plan[0].due.Sub(now))
}

// place puts t where its time belongs in the plan, or takes it out.
func (p *Planner) place(t *test) {
	switch {
	case t.due.IsZero() && t.at >= 0:
		heap.Remove(&p.plan, t.at)
	case t.due.IsZero():
	case t.at >= 0:
		heap.Fix(&p.plan, t.at)
	default:
		heap.Push(&p.plan, t)
	}
}

func (p *Planner) anyNoted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	noted := p.noted
	p.noted = false
	return noted
}

// stop ends all that waits. What runs ends with Serve's context.
func (p *Planner) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, f := range p.flights {
		if !f.running {
			p.drop(f, ErrStopped)
		}
	}
	p.asked, p.planned = queue{}, queue{}
}

func (p *Planner) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
