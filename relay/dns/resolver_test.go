package dns

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const good = "@ 60 A 203.0.113.7"

// TestFirstGoodAnswer: servers that cannot do not count, and those that are slower are called off.
func TestFirstGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calledOff time.Duration
		begin := time.Now()
		slow := zone(func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			<-ctx.Done()
			calledOff = time.Since(begin)
			return nil, ctx.Err()
		})
		r := newResolver(t, Config{Servers: servers(t, slow, says(miekg.RcodeServerFailure), fails("unreachable"),
			says(miekg.RcodeSuccess, good).after(time.Second), says(miekg.RcodeSuccess, "@ 60 A 203.0.113.8").after(2*time.Second))})
		if got := ask(t, t.Context(), r, "a.test", miekg.TypeA); got != "a.test. 60 A 203.0.113.7" {
			t.Error(got)
		}
		synctest.Wait()
		if calledOff != time.Second {
			t.Errorf("the slowest was called off after %s", calledOff)
		}
	})
}

// TestAnswers is what counts as an answer, and what is said when there is none.
func TestAnswers(t *testing.T) {
	coded := func(text string) *Server {
		spec, err := nameserver.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return &Server{Spec: spec, Upstream: upstream.New(spec, upstream.Config{})}
	}
	f := func(want string, took time.Duration, list ...*Server) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			got := ask(t, t.Context(), newResolver(t, Config{Servers: list}), "a.test", miekg.TypeA)
			if got != want || time.Since(begin) != took {
				t.Errorf("after %s: %s; want %s, after %s", time.Since(begin), got, want, took)
			}
		})
	}
	const all = "error: all DNS requests failed, first error: "
	second := says(miekg.RcodeRefused).after(time.Second)
	// A negative answer is one.
	f("NXDOMAIN", 0, servers(t, says(miekg.RcodeNameError))...)
	f("", 0, servers(t, says(miekg.RcodeSuccess))...)
	f("NXDOMAIN", time.Second, servers(t, says(miekg.RcodeServerFailure), says(miekg.RcodeNameError).after(time.Second))...)
	// That of all who could not, the first one is told.
	f(all+"udp://192.0.2.1:53: server failure: SERVFAIL", 0, servers(t, says(miekg.RcodeServerFailure))...)
	f(all+"udp://192.0.2.1:53: server failure: SERVFAIL", time.Second, servers(t, says(miekg.RcodeServerFailure), second)...)
	f(all+"udp://192.0.2.2:53: query refused: REFUSED", 2*time.Second, servers(t, fails("late").after(2*time.Second), second)...)
	f(all+"udp://192.0.2.1:53: not implemented: NOTIMP", 0, servers(t, says(miekg.RcodeNotImplemented))...)
	f(all+"udp://192.0.2.1:53: format error: FORMERR", 0, servers(t, says(miekg.RcodeFormatError))...)
	f(all+"udp://192.0.2.1:53: response code 9", 0, servers(t, says(miekg.RcodeNotAuth))...)
	f(all+"unreachable", 0, servers(t, fails("unreachable"))...)
	// Whoever writes rcode:// wants just that.
	f("REFUSED", 0, coded("rcode://refused"))
	f("SERVFAIL", 0, coded("rcode://server_failure"))
	f("", 0, coded("rcode://success"))
	f("NXDOMAIN", 0, coded("rcode://name_error"), server(t, "192.0.2.1", says(miekg.RcodeSuccess, good).after(time.Second)))
	// Silence has an end, whatever the context allows.
	f("error: context deadline exceeded", 5*time.Second, servers(t, silent)...)
	f("error: context deadline exceeded", 5*time.Second, servers(t, silent, silent)...)
	f(all+"unreachable", 5*time.Second, servers(t, fails("unreachable"), silent)...)
	// A bug is one server's answer.
	bug := zone(func(context.Context, *miekg.Msg) (*miekg.Msg, error) { panic("a bug") })
	f(all+"panic", 0, servers(t, bug)...)
	f("a.test. 60 A 203.0.113.7", 0, servers(t, bug, says(miekg.RcodeSuccess, good))...)
	// What is no message is no answer.
	f(all+"udp://192.0.2.9:53: malformed DNS message", 0, server(t, "192.0.2.9", garbage{}))
}

type garbage struct{}

func (garbage) Exchange(context.Context, []byte) ([]byte, error) { return []byte("zzzzzzzzzzzzzz"), nil }
func (garbage) Close() error                                     { return nil }

// TestOneFlight: who asks the same meanwhile waits for the same answer, in any case of letters, and ends
// alone.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		r := newResolver(t, Config{Servers: servers(t, says(miekg.RcodeSuccess, good).after(time.Second).counted(&n))})
		first, cancel := context.WithCancel(t.Context())
		var failed error
		go func() { _, failed = r.Exchange(first, question(t, "a.test", miekg.TypeA)) }()
		answers := make([]string, 20)
		for i := range answers {
			go func() { answers[i] = ask(t, t.Context(), r, []string{"a.test", "A.Test"}[i%2], miekg.TypeA) }()
		}
		synctest.Wait()
		cancel() // the one who began it
		synctest.Wait()
		if !errors.Is(failed, context.Canceled) {
			t.Error(failed)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, got := range answers {
			if !strings.EqualFold(got, "a.test. 60 A 203.0.113.7") {
				t.Errorf("%d: %s", i, got)
			}
		}
		// Another type, class or DNSSEC is another question; the same one is in the cache.
		ask(t, t.Context(), r, "a.test", miekg.TypeAAAA)
		ask(t, t.Context(), r, "a.test", miekg.TypeA)
		if n.Load() != 2 {
			t.Errorf("%d questions were asked", n.Load())
		}
	})
}

// TestAnswersAreKept: for as long as their records, or the SOA beside none, allow.
func TestAnswersAreKept(t *testing.T) {
	const soa = "test. 300 SOA ns.test. mail.test. 1 1800 900 604800 30"
	f := func(z zone, at time.Duration, want string, asked int64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int64
			r := newResolver(t, Config{Servers: servers(t, z.counted(&n))})
			ask(t, t.Context(), r, "a.test", miekg.TypeA)
			time.Sleep(at)
			if got := ask(t, t.Context(), r, "a.test", miekg.TypeA); got != want || n.Load() != asked {
				t.Errorf("%s, %d asked; want %s, %d", got, n.Load(), want, asked)
			}
		})
	}
	yes := says(miekg.RcodeSuccess, good, "@ 90 A 203.0.113.8")
	f(yes, 25*time.Second, "a.test. 35 A 203.0.113.7, a.test. 65 A 203.0.113.8", 1)
	f(yes, 59*time.Second, "a.test. 1 A 203.0.113.7, a.test. 31 A 203.0.113.8", 1)
	f(yes, 60*time.Second, "a.test. 60 A 203.0.113.7, a.test. 90 A 203.0.113.8", 2)
	f(says(miekg.RcodeSuccess, "@ 0 A 203.0.113.7"), 0, "a.test. 0 A 203.0.113.7", 2)
	f(says(miekg.RcodeNameError, soa), 29*time.Second, "NXDOMAIN", 1)
	f(says(miekg.RcodeNameError, soa), 30*time.Second, "NXDOMAIN", 2)
	f(says(miekg.RcodeSuccess, soa), 29*time.Second, "", 1)
	f(says(miekg.RcodeSuccess, soa), 30*time.Second, "", 2)
	f(says(miekg.RcodeNameError), 0, "NXDOMAIN", 2)
	f(says(miekg.RcodeServerFailure, soa), 0, "error: all DNS requests failed, first error: udp://192.0.2.1:53: server failure: SERVFAIL", 2)
}

// TestStale: an old answer is better than none, and better than waiting for long.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[zone]
		set := func(z zone) { now.Store(&z) }
		var n atomic.Int64
		z := zone(func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) { return (*now.Load())(ctx, q) })
		r := newResolver(t, Config{
			Servers: servers(t, z.counted(&n)), Stale: true, Cache: cache.New(cache.Config{Keep: time.Hour}),
		})
		f := func(want string, took time.Duration, asked int64) {
			t.Helper()
			begin := time.Now()
			if got := ask(t, t.Context(), r, "a.test", miekg.TypeA); got != want || time.Since(begin) != took || n.Load() != asked {
				t.Errorf("%s after %s, %d asked; want %s after %s, %d", got, time.Since(begin), n.Load(), want, took, asked)
			}
		}
		const fresh, stale = "a.test. 60 A 203.0.113.7", "a.test. 30 A 203.0.113.7"
		set(says(miekg.RcodeSuccess, good))
		f(fresh, 0, 1)
		time.Sleep(2 * time.Minute)
		set(fails("unreachable"))
		f(stale, 0, 2)
		set(says(miekg.RcodeServerFailure).after(time.Second))
		f(stale, time.Second, 3)
		if _, ok := r.Cached(question(t, "a.test", miekg.TypeA)); ok {
			t.Error("an old answer is given without asking")
		}
		// Asking goes on, and what comes then is good for the next.
		set(says(miekg.RcodeSuccess, "@ 60 A 203.0.113.8").after(3 * time.Second))
		f(stale, 1800*time.Millisecond, 4)
		f(stale, 1200*time.Millisecond-time.Nanosecond+time.Nanosecond, 4)
	})
}
