package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"
)

// through is a server to which the way leads through a name, which *lookup is asked for first.
func through(name string, lookup **Resolver, z zone) zone {
	return func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		if _, err := (*lookup).Lookup(ctx, name); err != nil {
			return nil, err
		}
		return z(ctx, q)
	}
}

var errUnreachable = errors.New("unreachable")

// TestLoops: who needs himself is told so at once, and the log now and then.
func TestLoops(t *testing.T) {
	yes := says(miekg.RcodeSuccess, good)
	f := func(want error, lines int, build func(c Config) *Resolver) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			log := new(logbook)
			r := build(Config{Log: log.logger(), Life: NewLife()})
			defer r.c.Life.Close()
			begin := time.Now()
			for _, name := range []string{"a.test", "b.test", "node.test"} {
				if _, err := r.Exchange(t.Context(), question(t, name, miekg.TypeA)); !errors.Is(err, want) {
					t.Errorf("%s: %v; want %v", name, err, want)
				}
			}
			if took := time.Since(begin); took > 0 {
				t.Errorf("it took %s", took)
			}
			if n := log.count("can only be reached by asking it"); n != lines {
				t.Errorf("%d lines in the log; want %d:\n%s", n, lines, &log.b)
			}
		})
	}
	// The server is behind a name that it is asked for.
	f(ErrLoop, 1, func(c Config) (r *Resolver) {
		c.Servers = servers(t, through("node.test", &r, yes))
		r = newResolver(t, c)
		return r
	})
	// A second one knows the name: then the first can be asked.
	f(nil, 0, func(c Config) (r *Resolver) {
		c.Servers = servers(t, through("node.test", &r, yes), yes)
		r = newResolver(t, c)
		return r
	})
	// A second one does not answer: that is worth more to know, and may pass.
	f(errUnreachable, 0, func(c Config) (r *Resolver) {
		c.Servers = servers(t, func(context.Context, *miekg.Msg) (*miekg.Msg, error) { return nil, errUnreachable }, through("node.test", &r, yes))
		r = newResolver(t, c)
		return r
	})
	// A policy sends the name elsewhere.
	f(nil, 0, func(c Config) (r *Resolver) {
		c.Servers = servers(t, through("node.test", &r, yes))
		c.Policies = []Policy{{Set: names(t, "node.test"), Servers: servers(t, yes)}}
		r = newResolver(t, c)
		return r
	})
	// Two resolvers that need each other.
	f(ErrLoop, 1, func(c Config) (a *Resolver) {
		var b *Resolver
		c.Servers = servers(t, through("node.test", &b, yes))
		a = newResolver(t, c)
		c.Servers = []*Server{server(t, "192.0.2.9", through("other.test", &a, yes))}
		b = newResolver(t, c)
		return a
	})
	// One that needs another, which needs nobody.
	f(nil, 0, func(c Config) *Resolver {
		other := c
		other.Servers = servers(t, yes)
		b := newResolver(t, other)
		c.Servers = servers(t, through("node.test", &b, yes))
		return newResolver(t, c)
	})
	// The second opinion is behind a name about which it would be asked: then the first one is all there is.
	f(nil, 0, func(c Config) (r *Resolver) {
		c.Servers = servers(t, says(miekg.RcodeSuccess, "@ 60 A 10.0.0.1"))
		c.Fallback = &Fallback{Servers: servers(t, through("node.test", &r, yes)), Doubts: netip.MustParsePrefix("10.0.0.0/8").Contains}
		r = newResolver(t, c)
		return r
	})
	// The second opinion alone needs itself, and is asked at once.
	f(nil, 0, func(c Config) (r *Resolver) {
		c.Servers = servers(t, yes.after(0))
		c.Fallback = &Fallback{Servers: servers(t, through("node.test", &r, yes)), Doubts: netip.MustParsePrefix("10.0.0.0/8").Contains}
		r = newResolver(t, c)
		return r
	})
}

// TestLoopOfTwoQuestions: two that began apart and come to wait for each other end at once.
func TestLoopOfTwoQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *Resolver
		meet := make(chan struct{})
		z := zone(func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			<-meet // both are on their way
			other := map[string]string{"a.test.": "b.test", "b.test.": "a.test"}[q.Question[0].Name]
			_, err := r.Lookup(ctx, other)
			return nil, err
		})
		one, two := server(t, "192.0.2.1", z), server(t, "192.0.2.2", z)
		of := map[string]*Server{"1": one, "2": two}
		r = newResolver(t, Config{Policies: []Policy{{Patterns: patterns(t, of, "a.test=1", "b.test=2")}}})
		done := make(chan error, 2)
		begin := time.Now()
		for _, name := range []string{"a.test", "b.test"} {
			go func() {
				_, err := r.Exchange(t.Context(), question(t, name, miekg.TypeA))
				done <- err
			}()
		}
		synctest.Wait()
		close(meet)
		for range 2 {
			if err := <-done; err == nil {
				t.Error("no error")
			}
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %s", took)
		}
		if n := len(r.c.Life.waits.next); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// TestAsked: it is the server that is asked now, whoever was asked before.
func TestAsked(t *testing.T) {
	var seen []string
	note := func(ctx context.Context) { seen = append(seen, Asked(ctx)) }
	inner := newResolver(t, Config{Servers: []*Server{server(t, "tls://inner.test", zone(
		func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			note(ctx)
			return reply(q, miekg.RcodeSuccess, good), nil
		}))}})
	outer := newResolver(t, Config{Servers: []*Server{server(t, "https://outer.test/dns-query", zone(
		func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
			note(ctx)
			_, err := inner.Lookup(ctx, "node.test")
			note(ctx)
			return reply(q, miekg.RcodeSuccess, good), err
		}))}})
	note(t.Context())
	ask(t, t.Context(), outer, "a.test", miekg.TypeA)
	if want := []string{"", "outer.test", "inner.test", "outer.test"}; !slices.Equal(seen, want) {
		t.Errorf("%q; want %q", seen, want)
	}
}
