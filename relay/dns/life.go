package dns

import (
	"context"
	"log/slog"
	"sync"
)

// Life is what resolvers run in: one that is replaced answers what it was asked, and all end together.
type Life struct {
	ctx      context.Context
	cancel   context.CancelFunc
	mu       sync.Mutex
	closed   bool
	waits    waits
	looped   rarely
	counters counters
	running  sync.WaitGroup // added to under mu, or by what it counts already
}

// NewLife begins one.
func NewLife() *Life {
	l := new(Life)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Close ends all questions and waits for their goroutines.
func (l *Life) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
}

// enter runs f in a goroutine, unless l is closed.
func (l *Life) enter(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.running.Go(f)
	return true
}

// logLoop says at times that a server can only be reached through itself. A way round has many servers, and
// each question may find another of them: one line a minute is for all.
func (l *Life) logLoop(log *slog.Logger, s *Server) {
	if l.looped.due() {
		log.Error("a name server can only be reached by asking it: give it an address in place of a name, or let another server resolve the proxy's name (proxy-server-nameserver)",
			"server", s.Spec.String())
	}
}
