package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	idleTime = 30 * time.Second // how long a connection without exchanges is kept
	maxLinks = 8                // connections to one server at once
)

// link is a connection that exchanges share, such as an *http.ClientConn.
type link interface {
	Reserve() error // takes a place for one exchange; an error where there is none now
	Available() int // places that are free; 0 where it is of no use any more
	Err() error     // why it has ended, or nil
	Close() error   // ends the exchanges too
}

// slot is a link of a pool.
type slot[L link] struct {
	link L
	n    uint64 // the how-manieth link of the pool it is
	busy int    // exchanges
	used bool   // an exchange has had it before
}

// opening is the next link that comes up or does not. made and err are set when done is closed.
type opening[L link] struct {
	done chan struct{}
	made *slot[L]
	err  error
}

// pool keeps the connections to one server: one where exchanges can share it, several where they cannot.
type pool[L link] struct {
	// open has the values of the context of the exchange that needed the connection first, but not its
	// end: others wait for it too. It returns soon after its context is done.
	open     func(context.Context) (L, error)
	idle     time.Duration
	patience time.Duration // how long an exchange waits for a connection; 0 is as long as it may

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	live sync.WaitGroup // opens and closes

	mu     sync.Mutex
	slots  []*slot[L]
	next   *opening[L] // nil: nobody waits
	coming int         // links that are being made
	count  uint64      // links that were made
	narrow bool        // the last link had a place for one exchange alone
	timer  *time.Timer
}

var (
	errBusy = errors.New("the server does not take more queries now")
	errSlow = errors.New("no connection came up in time")
)

func newPool[L link](open func(context.Context) (L, error)) *pool[L] {
	p := &pool[L]{open: open, idle: idleTime}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// exchange lends ask a connection. Where that was a kept one that turns out to be dead, ask is called once
// more, with one that was made later.
func (p *pool[L]) exchange(ctx context.Context, ask func(context.Context, L) ([]byte, error)) ([]byte, error) {
	var after uint64
	for {
		s, used, err := p.get(ctx, after)
		if err != nil {
			return nil, p.ended(err)
		}
		resp, err := ask(ctx, s.link)
		again := err != nil && used && after == 0 && ctx.Err() == nil && s.link.Available() == 0
		p.put(s)
		if !again {
			return resp, p.ended(err)
		}
		after = s.n
	}
}

// ended says what an error means once the pool is closed.
func (p *pool[L]) ended(err error) error {
	if err != nil && p.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// ready says whether there is a connection that takes an exchange at once.
func (p *pool[L]) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.slots, func(s *slot[L]) bool { return s.link.Available() > 0 })
}

// get lends a connection later than the one of number after, until put. used says whether it was lent before.
func (p *pool[L]) get(ctx context.Context, after uint64) (s *slot[L], used bool, err error) {
	if p.patience > 0 {
		patient, cancel := context.WithTimeoutCause(ctx, p.patience, errSlow)
		defer cancel()
		ctx = patient
	}
	var failed error
	for range 4 * maxLinks { // others may take what comes up, or the server close it
		s, used, o, err := p.take(ctx, after, failed)
		if s != nil || err != nil {
			return s, used, err
		}
		select {
		case <-o.done:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("connect: %w", context.Cause(ctx))
		}
		if failed = o.err; failed == nil {
			failed = o.made.link.Err()
		}
	}
	return nil, false, errBusy
}

// take lends a connection, or returns one that is being made. Where one that was waited for has failed, it
// makes no other.
func (p *pool[L]) take(ctx context.Context, after uint64, failed error) (*slot[L], bool, *opening[L], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, false, nil, ErrClosed
	}
	p.slots = slices.DeleteFunc(p.slots, func(s *slot[L]) bool { return s.link.Err() != nil })
	var least *slot[L]
	for _, s := range p.slots {
		if s.n <= after {
			continue
		}
		if s.link.Reserve() == nil {
			return s, p.lend(s), nil, nil
		}
		if least == nil || s.busy < least.busy {
			least = s
		}
	}
	full := p.coming+len(p.slots) >= maxLinks
	switch {
	case p.coming > 0 && (full || !p.narrow || failed != nil):
		return nil, false, p.wait(), nil
	case !full && failed == nil:
		p.begin(ctx)
		return nil, false, p.wait(), nil
	case least != nil:
		return least, p.lend(least), nil, nil // its exchange waits there for a place
	case failed != nil:
		return nil, false, nil, fmt.Errorf("connect: %w", failed)
	}
	return nil, false, nil, errBusy
}

func (p *pool[L]) lend(s *slot[L]) (used bool) {
	used = s.used
	s.used = true
	s.busy++
	return used
}

// put gives s back after its exchange.
func (p *pool[L]) put(s *slot[L]) {
	p.mu.Lock()
	s.busy--
	spent := s.busy == 0 && s.link.Available() == 0
	if spent {
		p.slots = slices.DeleteFunc(p.slots, func(o *slot[L]) bool { return o == s })
	}
	p.rest()
	p.mu.Unlock()
	if spent {
		s.link.Close()
	}
}

func (p *pool[L]) wait() *opening[L] {
	if p.next == nil {
		p.next = &opening[L]{done: make(chan struct{})}
	}
	return p.next
}

// begin makes a connection, for all who need one.
func (p *pool[L]) begin(ctx context.Context) {
	p.coming++
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
	p.live.Go(func() {
		defer cancel()
		defer context.AfterFunc(p.ctx, cancel)()
		p.opened(p.open(ctx))
	})
}

func (p *pool[L]) opened(l L, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming--
	o := p.wait()
	p.next = nil
	defer close(o.done)
	switch {
	case p.ctx.Err() != nil:
		o.err = ErrClosed
		if err == nil {
			l.Close()
		}
	case err != nil:
		o.err = err
	default:
		p.count++
		o.made = &slot[L]{link: l, n: p.count}
		p.slots = append(p.slots, o.made)
		p.narrow = l.Available() <= 1
		p.rest()
	}
}

// rest begins the time after which connections are closed that nobody uses.
func (p *pool[L]) rest() {
	switch {
	case p.ctx.Err() != nil:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.idle, p.tidy)
	default:
		p.timer.Reset(p.idle)
	}
}

// tidy closes the connections that nobody uses.
func (p *pool[L]) tidy() {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	p.live.Add(1)
	defer p.live.Done()
	var quiet []*slot[L]
	p.slots = slices.DeleteFunc(p.slots, func(s *slot[L]) bool {
		if s.busy == 0 {
			quiet = append(quiet, s)
		}
		return s.busy == 0
	})
	if len(p.slots) > 0 {
		p.rest()
	}
	p.mu.Unlock()
	for _, s := range quiet {
		s.link.Close()
	}
}

// Close ends all connections, and those that are being made.
func (p *pool[L]) Close() error {
	p.mu.Lock()
	p.stop()
	if p.timer != nil {
		p.timer.Stop()
	}
	slots := p.slots
	p.slots = nil
	p.mu.Unlock()
	for _, s := range slots {
		s.link.Close()
	}
	p.live.Wait()
	return nil
}
