package dns

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
)

// answered is how a client's question was answered.
type answered uint8

const (
	byCache  answered = iota
	byServer          // a name server was asked
	byStale           // with what was known before: no name server answered
	byHosts
	byFake
	byNothing // what is asked for is switched off
	refused
	failed
)

// answers are the words that count them.
var answers = [...]string{
	byCache: "cache", byServer: "server", byStale: "stale", byHosts: "hosts", byFake: "fake_ip",
	byNothing: "empty", refused: "refused", failed: "failed",
}

// Count is how often something happened, by a word of which there are few.
type Count struct {
	Word  string
	Count uint64
}

// Counts are what was counted in a Life.
type Counts struct {
	Questions    []Count // of clients, by where the answer is from
	Hits, Misses uint64  // of the caches, also for what the daemon asks itself
	Asked        []Count // questions to name servers, by how they are spoken to
	Failures     []Count // of them, those that got no answer, or one that says that the server could not
	Panics       uint64
}

// counters count questions. Counting allocates nothing; on a nil Life nobody counts.
type counters struct {
	questions     [len(answers)]atomic.Uint64
	hits, misses  atomic.Uint64
	asked, failed [nameserver.Schemes]atomic.Uint64
	panics        atomic.Uint64
}

// Counts returns what was counted until now.
func (l *Life) Counts() Counts {
	c := Counts{Hits: l.counters.hits.Load(), Misses: l.counters.misses.Load(), Panics: l.counters.panics.Load()}
	for i, word := range answers {
		c.Questions = append(c.Questions, Count{word, l.counters.questions[i].Load()})
	}
	for i := range l.counters.asked {
		word := nameserver.Scheme(i).String()
		c.Asked = append(c.Asked, Count{word, l.counters.asked[i].Load()})
		c.Failures = append(c.Failures, Count{word, l.counters.failed[i].Load()})
	}
	return c
}

// answered counts a client's question.
func (l *Life) answered(how answered) {
	if l != nil {
		l.counters.questions[how].Add(1)
	}
}

// found counts a look into a cache.
func (l *Life) found(fresh bool) {
	switch {
	case l == nil:
	case fresh:
		l.counters.hits.Add(1)
	default:
		l.counters.misses.Add(1)
	}
}

// asked counts a question to s, and how that went. One that is not needed any more has not failed.
func (l *Life) asked(ctx context.Context, s *Server, err error) {
	if l == nil || int(s.Spec.Scheme) >= len(l.counters.asked) {
		return
	}
	l.counters.asked[s.Spec.Scheme].Add(1)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, upstream.ErrClosed) {
		l.counters.failed[s.Spec.Scheme].Add(1)
	}
}

// panicked counts a bug that ended a question.
func (l *Life) panicked() {
	if l != nil {
		l.counters.panics.Add(1)
	}
}
