package dns

import (
	"context"
	"errors"
	"fmt"
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

func (garbage) Exchange(context.Context, []byte) ([]byte, error) {
	return []byte("zzzzzzzzzzzzzz"), nil
}
func (garbage) Close() error { return nil }

// TestOneFlight: who asks the same meanwhile waits for the same answer, in any case of letters, and ends
// alone.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		r := newResolver(t, Config{Servers: servers(t, says(miekg.RcodeSuccess, good).after(time.Second).counted(&n))})
		first, cancel := context.WithCancel(t.Context())
		var failed error
		go func() { _, failed = r.Exchange(first, question(t, "a.test", miekg.TypeA)) }()
		synctest.Wait()
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
		f("a.test. 60 A 203.0.113.8", 1200*time.Millisecond, 4)
	})
}

// TestDisabledTypes: a server is not asked about what it is not to be asked about, and where nobody is,
// there is nothing.
func TestDisabledTypes(t *testing.T) {
	var a, b atomic.Int64
	yes := says(miekg.RcodeSuccess)
	r := newResolver(t, Config{Servers: []*Server{
		server(t, "192.0.2.1#disable-ipv4=true&disable-qtype-65=true", yes.counted(&a)),
		server(t, "192.0.2.2#disable-ipv6=true&disable-qtype-65=true", yes.counted(&b)),
	}})
	f := func(kind uint16, wantA, wantB int64) {
		t.Helper()
		a.Store(0)
		b.Store(0)
		if got := ask(t, t.Context(), r, "a.test", kind); got != "" || a.Load() != wantA || b.Load() != wantB {
			t.Errorf("%q: %d and %d asked; want %d and %d", got, a.Load(), b.Load(), wantA, wantB)
		}
	}
	f(wire.TypeA, 0, 1)
	f(wire.TypeAAAA, 1, 0)
	f(wire.TypeHTTPS, 0, 0)
}

// TestPolicies: those listed first decide; of patterns that stand together, the one that fits best.
func TestPolicies(t *testing.T) {
	of := make(map[string]*Server)
	for _, name := range []string{"main", "plus", "dot", "star", "exact", "set", "late", "never"} {
		of[name] = server(t, "192.0.2.1", says(miekg.RcodeSuccess, "@ 60 TXT "+name))
	}
	r := newResolver(t, Config{
		Servers: []*Server{of["main"]},
		Policies: []Policy{
			{Patterns: patterns(t, of, "+.test=plus", "*.test=star", "a.test=exact", ".dot.test=dot")},
			{Set: names(t, "+.example", "a.test"), Servers: []*Server{of["set"]}},
			{Patterns: patterns(t, of, "b.example=never", "+.org=late", "*=star")},
		},
		Fallback: &Fallback{Servers: []*Server{of["never"]}, Names: names(t, "a.test")},
	})
	f := func(name, want string) {
		t.Helper()
		if got := ask(t, t.Context(), r, name, miekg.TypeTXT); !strings.HasSuffix(got, "TXT \""+want+"\"") {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	f("a.test", "exact")
	f("A.TEST.", "exact")
	f("b.test", "star")
	f("b.b.test", "plus")
	f("test", "plus")
	f("dot.test", "star")
	f("a.dot.test", "dot")
	f("b.example", "set")
	f("a.org", "late")
	f("local", "star")
	f("a.net", "main")
	f(`a\.test`, "star") // it is one label
	f(`a\.b.test`, "star")
	f(`my\032printer._ipp.test`, "plus")
	f(".", "main")
}

// TestTooManyQuestions: beyond a number they are refused; what is at hand is not.
func TestTooManyQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := NewLife()
		r := newResolver(t, Config{Life: life, Servers: servers(t, zone(func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			if q.Question[0].Name == "kept." {
				return reply(q, miekg.RcodeSuccess, good), nil
			}
			return silent(ctx, q)
		}))})
		ask(t, t.Context(), r, "kept", miekg.TypeA)
		errs := make(chan error, maxFlights+1)
		for i := range maxFlights {
			go func() {
				_, err := r.Exchange(t.Context(), question(t, fmt.Sprintf("n%d.test", i), miekg.TypeA))
				errs <- err
			}()
		}
		synctest.Wait()
		if _, err := r.Exchange(t.Context(), question(t, "more.test", miekg.TypeA)); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		if got := ask(t, t.Context(), r, "kept", miekg.TypeA); got != "kept. 60 A 203.0.113.7" {
			t.Error(got)
		}
		// One that waits already has room for others.
		go func() {
			_, err := r.Exchange(t.Context(), question(t, "n0.test", miekg.TypeA))
			errs <- err
		}()
		synctest.Wait()
		begin := time.Now()
		life.Close()
		for range maxFlights + 1 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if time.Since(begin) != 0 {
			t.Errorf("questions that were ended took %s", time.Since(begin))
		}
		if _, err := r.Exchange(t.Context(), question(t, "late.test", miekg.TypeA)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := r.Lookup(t.Context(), "late.test"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if got := ask(t, t.Context(), r, "kept", miekg.TypeA); got != "kept. 60 A 203.0.113.7" {
			t.Error(got)
		}
	})
}

// TestTruncated: an answer of which there is more counts for nothing.
func TestTruncated(t *testing.T) {
	cut := zone(func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		m := reply(q, miekg.RcodeSuccess)
		m.Truncated = true
		return m, nil
	})
	r := newResolver(t, Config{Servers: servers(t, cut)})
	if _, err := r.Exchange(t.Context(), question(t, "a.test", miekg.TypeA)); !errors.Is(err, errTruncated) {
		t.Error(err)
	}
	r = newResolver(t, Config{Servers: servers(t, cut, says(miekg.RcodeSuccess, good))})
	if got := ask(t, t.Context(), r, "a.test", miekg.TypeA); got != "a.test. 60 A 203.0.113.7" {
		t.Error(got)
	}
}

// TestWithoutEDNS: a server that does not understand EDNS is asked without it, from then on at once.
func TestWithoutEDNS(t *testing.T) {
	for _, code := range []int{miekg.RcodeFormatError, miekg.RcodeNotImplemented} {
		var n atomic.Int64
		z := zone(func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			if q.IsEdns0() != nil {
				return reply(q, code), nil
			}
			return reply(q, miekg.RcodeSuccess, good), nil
		})
		r := newResolver(t, Config{Servers: servers(t, z.counted(&n))})
		for i, asked := range []int64{2, 3} {
			name := fmt.Sprintf("%d.test", i)
			if got, want := ask(t, t.Context(), r, name, miekg.TypeA), name+". 60 A "; !strings.HasPrefix(got, want) || n.Load() != asked {
				t.Errorf("%s after %d questions; want %s after %d", got, n.Load(), want, asked)
			}
		}
	}
}
