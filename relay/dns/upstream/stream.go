package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const (
	dialTime = 5 * time.Second // how long a connection may take to come up
	// stallTime is how long a server may leave questions without any answer until new ones go to another
	// connection: this one's path may be gone without a word.
	stallTime = 3 * time.Second
)

// errDead means that a connection ended before it brought the answer.
var errDead = errors.New("the connection ended before the answer came")

// stream asks one server over connections that it keeps, many questions at once on each (RFC 7766,
// section 6.2.1). New questions go to one connection, as long as it is good. It is for TCP and TLS alike.
type stream struct {
	server string // for errors
	dial   func(context.Context) (net.Conn, error)
	idle   time.Duration

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	live sync.WaitGroup // dials and connections

	mu      sync.Mutex
	closed  bool
	kept    *pipe // nil: there is none
	pending *pending
}

// pending is a connection that is being made. p and err are set when done is closed.
type pending struct {
	done chan struct{}
	p    *pipe
	err  error
}

// newStream makes a stream that opens nothing yet. A connection on which nothing is said for the time
// idle is closed. dial has the values of the context of the exchange that needed the connection first, not
// its end: others wait for it too. It returns soon after its context is done.
func newStream(s *nameserver.Server, dial func(context.Context) (net.Conn, error), idle time.Duration) *stream {
	ctx, stop := context.WithCancel(context.Background())
	return &stream{server: s.String(), dial: dial, idle: idle, ctx: ctx, stop: stop}
}

// Exchange asks once more, on another connection, where one that had been of use before broke: a server
// closes connections whenever it likes (RFC 7766, section 6.2.4).
func (s *stream) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	if err := checkQuery(query); err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		p, kept, err := s.pipe(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.server, err)
		}
		resp, err := p.exchange(ctx, query)
		if err == nil {
			return resp, nil
		}
		if again || !errors.Is(err, errDead) || !kept && !p.useful() {
			return nil, fmt.Errorf("%s: %w", s.server, err)
		}
	}
}

// Close ends all connections and waits for their goroutines.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.live.Wait()
	return nil
}

// pipe is a connection to ask on, and whether it was there before.
func (s *stream) pipe(ctx context.Context) (p *pipe, kept bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, ErrClosed
	}
	if p = s.kept; p != nil {
		if p.good() {
			s.mu.Unlock()
			return p, true, nil
		}
		p.retire()
		s.kept = nil
	}
	d := s.pending
	if d == nil {
		d = &pending{done: make(chan struct{})}
		s.pending = d
		s.live.Go(func() { s.connect(context.WithoutCancel(ctx), d) })
	}
	s.mu.Unlock()

	select {
	case <-d.done:
		return d.p, false, d.err
	case <-ctx.Done():
		return nil, false, fmt.Errorf("connect: %w", ctx.Err())
	case <-s.ctx.Done():
		return nil, false, ErrClosed
	}
}

// connect makes the connection of d. values has no end of its own.
func (s *stream) connect(values context.Context, d *pending) {
	ctx, cancel := context.WithTimeout(values, dialTime)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	c, err := s.dial(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(d.done)
	s.pending = nil
	switch {
	case s.closed:
		d.err = ErrClosed
		if err == nil {
			c.Close()
		}
	case err != nil:
		d.err = fmt.Errorf("connect: %w", err)
	default:
		d.p = newPipe(c, s.idle)
		s.kept = d.p
		s.live.Go(func() { s.serve(d.p) })
	}
}

// serve runs p until it ends.
func (s *stream) serve(p *pipe) {
	defer context.AfterFunc(s.ctx, func() { p.fail(ErrClosed) })()
	p.run()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == p {
		s.kept = nil
	}
}

// checkQuery says why query cannot be sent: no response would be the answer to it.
func checkQuery(query []byte) error {
	if len(query) > wire.MaxSize {
		return fmt.Errorf("query: %w", wire.ErrFormat)
	}
	var q wire.Query
	if err := q.Parse(query); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}
