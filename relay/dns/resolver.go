// Package dns resolves names: it chooses who is asked, remembers what was answered, and answers
// clients from the hosts file, with fake addresses, or with what name servers say.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

const (
	queryTimeout = 5 * time.Second // one question, all servers and tries together
	maxFlights   = 2048            // questions that are asked at the same time
	maxOfClients = 1536            // of them, those of clients: the daemon's own have the rest
	staleAfter   = 1800 * time.Millisecond
	staleTTL     = 30   // seconds; both by RFC 8767
	logEvery     = 60   // seconds
	plainFor     = 3600 // seconds for which a server is asked without EDNS that did not understand it
)

// Errors of a resolver.
var (
	// ErrDisabled means that the configuration has no DNS, or has switched it off.
	ErrDisabled = errors.New("DNS section is disabled")
	// ErrLoop means that a name server can only be reached by asking it.
	ErrLoop = errors.New("the way to the name server leads through itself")
	// ErrBusy means that too many questions wait for an answer.
	ErrBusy = errors.New("too many questions are waiting for an answer")
	// ErrClosed means that the resolver was closed.
	ErrClosed = errors.New("the resolver is closed")
	// ErrNoAddress means that a name has no address.
	ErrNoAddress = errors.New("the name has no address")
	// ErrNotFound means that there is no such name.
	ErrNotFound = errors.New("there is no such name")
)

// Server is a name server that is asked.
type Server struct {
	Spec     *nameserver.Server
	Upstream upstream.Upstream

	plainUntil    atomic.Int64 // it does not understand EDNS; in Unix seconds
	failureLogged rarely
}

// rarely is when something was last logged, in Unix seconds: the same is not said more than once a
// minute.
type rarely struct{ atomic.Int64 }

func (r *rarely) due() bool {
	now, last := time.Now().Unix(), r.Load()
	return now-last >= logEvery && r.CompareAndSwap(last, now)
}

// Matcher is a set of names.
type Matcher interface{ Has(n *match.Name) bool }

// Policy says who is asked about some names: the servers of the pattern that fits best, or, without
// patterns, Servers about the names in Set.
type Policy struct {
	Patterns *match.Patterns[[]*Server]
	Set      Matcher
	Servers  []*Server
}

func (p *Policy) find(host string, name *match.Name) ([]*Server, bool) {
	if p.Patterns != nil {
		return p.Patterns.Find(host)
	}
	return p.Servers, p.Set.Has(name)
}

// Config is what a resolver is made of. It is not changed any more.
type Config struct {
	Servers  []*Server // asked at the same time; the first good answer counts
	Policies []Policy  // looked at in order, before all else
	Fallback *Fallback // nil: none
	Hosts    *hosts.Table
	IPv6     bool // whether Lookup asks for IPv6 addresses
	// IPv6Timeout is how long Lookup waits for them once it has others.
	IPv6Timeout time.Duration
	Cache       *cache.Cache
	// Stale says that an answer whose time is up, as long as the cache keeps it, is used when there is no
	// other.
	Stale bool
	Life  *Life
	Log   *slog.Logger
}

// Resolver asks name servers and remembers their answers. Identical questions that are asked at the same
// time are one.
type Resolver struct {
	c       Config
	mu      sync.Mutex
	flights map[string]*flight
}

// New makes a resolver. The servers and the cache stay the caller's.
func New(c Config) *Resolver {
	return &Resolver{c: c, flights: make(map[string]*flight)}
}

// Found is an answer, and how old it is.
type Found struct {
	*wire.Answer
	Age   uint32 // seconds
	Stale bool
}

// Append appends the answer to q.
func (f *Found) Append(dst []byte, q *wire.Query, limit int) []byte {
	if f.Stale {
		return f.AppendStale(dst, q, staleTTL, limit)
	}
	return f.Answer.Append(dst, q, f.Age, limit)
}

// Plain is the answer as the server gave it, but for the id, and for its TTLs, which count down.
func (f *Found) Plain() []byte {
	if f.Stale {
		return f.Aged(0, staleTTL)
	}
	return f.Aged(f.Age, 0)
}

// Cached returns the answer to q that is at hand.
func (r *Resolver) Cached(q *wire.Query) (f Found, ok bool) {
	now := r.c.Cache.Now()
	e := r.c.Cache.Get(q.Key(), now)
	if e == nil || !e.Fresh(now) {
		return f, false
	}
	r.c.Life.found(true)
	return Found{Answer: e.Answer, Age: e.Age(now)}, true
}

// Exchange answers q from what is at hand or by asking.
func (r *Resolver) Exchange(ctx context.Context, q *wire.Query) (Found, error) {
	return r.exchangeOf(ctx, q, maxFlights)
}

// exchangeOf is Exchange while no more than most questions are being asked.
func (r *Resolver) exchangeOf(ctx context.Context, q *wire.Query, most int) (Found, error) {
	now := r.c.Cache.Now()
	e := r.c.Cache.Get(q.Key(), now)
	fresh := e != nil && e.Fresh(now)
	r.c.Life.found(fresh)
	if fresh {
		return Found{Answer: e.Answer, Age: e.Age(now)}, nil
	}
	if e == nil || !r.c.Stale {
		return r.join(ctx, q, most, nil)
	}
	stale := time.NewTimer(staleAfter)
	defer stale.Stop()
	f, err := r.join(ctx, q, most, stale.C)
	if err != nil && !errors.Is(err, ErrLoop) && ctx.Err() == nil {
		return Found{Answer: e.Answer, Stale: true}, nil
	}
	return f, err
}

// flight is one question that is being asked.
type flight struct {
	done   chan struct{}
	answer *wire.Answer
	err    error
}

// errTruncated means that there is more to an answer, and no way to get it.
var errTruncated = errors.New("the answer is truncated")

// errSlow means that whoever waits has something else to answer with.
var errSlow = errors.New("no answer yet")

// join waits for the answer to q, which is asked by whoever comes first.
func (r *Resolver) join(ctx context.Context, q *wire.Query, most int, enough <-chan time.Time) (Found, error) {
	f, err := r.flight(ctx, q, most)
	if err != nil {
		return Found{}, err
	}
	end, ok := r.c.Life.waits.begin(ctx, f)
	if !ok {
		return Found{}, trailOf(ctx).loop()
	}
	defer end()
	select {
	case <-f.done:
		return Found{Answer: f.answer}, f.err
	case <-enough:
		return Found{}, errSlow
	case <-ctx.Done():
		return Found{}, ctx.Err()
	}
}

// flight finds the flight of q or begins it.
func (r *Resolver) flight(ctx context.Context, q *wire.Query, most int) (*flight, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[string(q.Key())]; f != nil {
		return f, nil
	}
	if len(r.flights) >= most {
		return nil, ErrBusy
	}
	f := &flight{done: make(chan struct{})}
	own := *q
	own.Own()
	// The question is asked for all who wait: it does not end with the first of them.
	asking := withTrail(context.WithoutCancel(ctx), f)
	if !r.c.Life.enter(func() { r.fly(asking, f, &own) }) {
		return nil, ErrClosed
	}
	r.flights[string(q.Key())] = f
	return f, nil
}

// fly asks q and tells all who wait.
func (r *Resolver) fly(ctx context.Context, f *flight, q *wire.Query) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	defer context.AfterFunc(r.c.Life.ctx, cancel)()
	f.err = errors.New("panic while resolving")
	defer func() {
		if v := recover(); v != nil { // a bug ends one question and not the daemon
			r.c.Life.panicked()
			r.c.Log.Error("panic while resolving", "panic", v)
		}
		r.mu.Lock()
		delete(r.flights, string(q.Key()))
		r.mu.Unlock()
		close(f.done)
	}()
	since := r.c.Cache.Flushes()
	f.answer, f.err = r.ask(ctx, q)
	if f.err == nil {
		r.c.Cache.Put(q.Key(), f.answer, r.c.Cache.Now(), since)
	}
	if loop := (*loopError)(nil); errors.As(f.err, &loop) { // and nobody else could help
		r.c.Life.logLoop(r.c.Log, loop.server)
	}
}

// ask asks those who are to be asked about q.
func (r *Resolver) ask(ctx context.Context, q *wire.Query) (*wire.Answer, error) {
	var name match.Name
	text, _ := q.Host()
	host := string(text)
	if host != "" {
		name.Set(host)
		for i := range r.c.Policies {
			if servers, ok := r.c.Policies[i].find(host, &name); ok {
				return r.first(ctx, servers, q)
			}
		}
	}
	if r.c.Fallback == nil || !q.AsksAddrs() {
		return r.first(ctx, r.c.Servers, q)
	}
	return r.withFallback(ctx, q, &name)
}

// first asks servers at the same time and returns the first good answer.
func (r *Resolver) first(ctx context.Context, servers []*Server, q *wire.Query) (*wire.Answer, error) {
	asked := make([]*Server, 0, len(servers))
	for _, s := range servers {
		if !s.Spec.Disables(q.Type) {
			asked = append(asked, s)
		}
	}
	switch len(asked) {
	case 0: // nobody is to be asked about this type
		return wire.Scan(q.AppendEmpty(nil, wire.Success))
	case 1:
		a, err := r.exchange(ctx, asked[0], q)
		if err != nil {
			err = allFailed(err)
		}
		return a, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the others are not needed any more
	type result struct {
		answer *wire.Answer
		err    error
	}
	results := make(chan result, len(asked))
	for _, s := range asked {
		r.c.Life.running.Go(func() {
			a, err := r.exchange(ctx, s, q)
			results <- result{a, err}
		})
	}
	var failed error
	for range asked {
		got := <-results
		if got.err == nil {
			return got.answer, nil
		}
		if failed == nil || errors.Is(failed, ErrLoop) {
			failed = got.err
		}
	}
	return nil, allFailed(failed)
}

// allFailed is the error of servers of which none has answered. first is that of the first of them that
// says more than that it waits for itself.
func allFailed(first error) error {
	if errors.Is(first, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return fmt.Errorf("all DNS requests failed, first error: %w", first)
}

// exchange asks one server. An answer that says that the server could not is an error.
func (r *Resolver) exchange(ctx context.Context, s *Server, q *wire.Query) (a *wire.Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.c.Life.panicked()
			r.c.Log.Error("panic while asking a name server", "server", s.Spec.String(), "panic", v)
			err = errors.New("panic")
		}
	}()
	end, ok := r.c.Life.waits.begin(ctx, s)
	if !ok {
		return nil, &loopError{s}
	}
	defer end()
	defer func() { r.c.Life.asked(ctx, s, err) }()
	ctx = withTrail(ctx, s)
	edns := time.Now().Unix() >= s.plainUntil.Load()
	if a, err = s.ask(ctx, q, edns); err == nil && edns && (a.RCode() == wire.FormatError || a.RCode() == wire.NotImplemented) {
		// It may not know EDNS (RFC 6891, section 7).
		if b, err := s.ask(ctx, q, false); err == nil && b.RCode() != a.RCode() {
			s.plainUntil.Store(time.Now().Unix() + plainFor)
			a = b
		}
	}
	if err != nil {
		s.logFailure(ctx, r.c.Log, err)
		return nil, err
	}
	if a.Flags()&wire.FlagTC != 0 {
		return nil, fmt.Errorf("%s: %w", s.Spec, errTruncated)
	}
	code := a.RCode()
	if s.Spec.Scheme != nameserver.RCode && code != wire.Success && code != wire.NameError {
		return nil, fmt.Errorf("%s: %w", s.Spec, &CodeError{code})
	}
	return a, nil
}

// ask sends q, with EDNS or without. The error names the server.
func (s *Server) ask(ctx context.Context, q *wire.Query, edns bool) (*wire.Answer, error) {
	response, err := s.Upstream.Exchange(ctx, q.AppendUpstream(make([]byte, 0, 512), edns))
	if err != nil {
		return nil, err
	}
	a, err := wire.Scan(response)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Spec, err)
	}
	return a, nil
}

// CodeError is a response code that says that a server could not answer.
type CodeError struct{ Code uint8 }

func (e *CodeError) Error() string {
	switch e.Code {
	case wire.FormatError:
		return "format error: FORMERR"
	case wire.ServerFailure:
		return "server failure: SERVFAIL"
	case wire.NotImplemented:
		return "not implemented: NOTIMP"
	case wire.Refused:
		return "query refused: REFUSED"
	}
	return fmt.Sprintf("response code %d", e.Code)
}

// loopError is ErrLoop of a server.
type loopError struct{ server *Server }

func (e *loopError) Error() string { return e.server.Spec.String() + ": " + ErrLoop.Error() }

// Unwrap returns ErrLoop.
func (e *loopError) Unwrap() error { return ErrLoop }

// logFailure says at times that s does not answer, unless the answer is not needed any more.
func (s *Server) logFailure(ctx context.Context, log *slog.Logger, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, upstream.ErrClosed) && !errors.Is(err, ErrLoop) && s.failureLogged.due() {
		log.Warn("a name server does not answer", "server", s.Spec.String(), "err", err)
	}
}
