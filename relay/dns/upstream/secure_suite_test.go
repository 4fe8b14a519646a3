package upstream

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// trait is something in which the protocols differ.
type trait uint8

const (
	withoutTLS trait = iota
	oneByOne         // a connection has one exchange at a time
)

// suite is what is expected of every way to ask that keeps connections.
func suite(t *testing.T, start func(testing.TB) *peer, traits ...trait) {
	has := func(x trait) bool { return slices.Contains(traits, x) }
	begin := func(t *testing.T) *peer {
		leak.Check(t)
		return start(t)
	}
	t.Run("shares", func(t *testing.T) { shares(t, begin(t), has(oneByOne)) })
	t.Run("certificate", func(t *testing.T) {
		if has(withoutTLS) {
			t.Skip("there is none")
		}
		certificate(t, begin(t))
	})
	t.Run("wrong answers", func(t *testing.T) { wrongAnswers(t, begin(t)) })
	t.Run("restart", func(t *testing.T) { restart(t, begin(t), !has(withoutTLS)) })
	t.Run("cancel", func(t *testing.T) { cancels(t, begin(t)) })
	t.Run("shared dial", func(t *testing.T) { sharedDial(t, begin(t)) })
	t.Run("no server", func(t *testing.T) { noServer(t, begin(t)) })
	t.Run("close", func(t *testing.T) { closes(t, begin(t)) })
}

// shortSilence makes tests fast, and is long enough for a machine that has much to do.
const shortSilence = 400 * time.Millisecond

// use makes an upstream. Once the test has closed the last one of p, no socket must be open.
func use(t *testing.T, p *peer) Upstream {
	u := New(p.server, p.config)
	switch u := u.(type) {
	case *overQUIC:
		u.lines.silence = shortSilence
	case *overHTTP:
		if u.fast != nil {
			u.fast.lines.silence = shortSilence
		}
	}
	p.users++
	t.Cleanup(func() {
		u.Close()
		if p.users--; p.users == 0 {
			await(t, func() bool { return p.open.Load() == 0 })
		}
	})
	return u
}

// shares asks much at once, and reads what belongs to what.
func shares(t *testing.T, p *peer, oneByOne bool) {
	u := use(t, p)
	var all sync.WaitGroup
	const n = 24
	for i := range n {
		all.Go(func() {
			query := ask(t, fmt.Sprintf("h%d.Test", i), uint16(i+1))
			before := bytes.Clone(query)
			resp, err := u.Exchange(limited(t), query)
			checkAnswer(t, query, resp, err)
			if !bytes.Equal(before, query) {
				t.Error("Exchange changed the query")
			}
		})
	}
	all.Wait()
	switch made := p.accepts.Load(); {
	case oneByOne && (made < 1 || made > maxLinks), !oneByOne && made != 1:
		t.Errorf("%d connections", made)
	}
}

func certificate(t *testing.T, p *peer) {
	query := ask(t, "a.test", 9)
	here, elsewhere, trusting := *p.server, *p.server, *p.server
	elsewhere.Addr.Host, trusting.Addr.Host = "other.test", "other.test" // the certificate is for an address
	trusting.SkipVerify = true
	f := func(s *nameserver.Server, roots *x509.CertPool, want string) {
		t.Helper()
		p.server, p.config.Roots = s, roots
		resp, err := use(t, p).Exchange(limited(t), query)
		if want == "" {
			checkAnswer(t, query, resp, err)
			return
		}
		checkError(t, s, err)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %q: want one with %q", err, want)
		}
	}
	f(&here, x509.NewCertPool(), "unknown authority")
	f(&elsewhere, p.id.roots, "certificate")
	f(&trusting, x509.NewCertPool(), "")
	f(&here, p.id.roots, "")
}

func wrongAnswers(t *testing.T, p *peer) {
	query := ask(t, "a.test", 9)
	f := func(name string, answer func(*dns.Msg) []byte) {
		t.Helper()
		u := use(t, p)
		p.set(answer)
		_, err := u.Exchange(limited(t), query)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		checkError(t, p.server, err)
		p.set(func(q *dns.Msg) []byte { return packed(good(q)) })
		resp, err := u.Exchange(limited(t), query) // it is of use afterwards
		checkAnswer(t, query, resp, err)
	}
	f("id", func(q *dns.Msg) []byte {
		m := good(q)
		m.Id++
		return packed(m)
	})
	f("question", func(q *dns.Msg) []byte {
		m := good(q)
		m.Question[0].Name = "b.test."
		return packed(m)
	})
	f("no response", func(q *dns.Msg) []byte {
		m := good(q)
		m.Response = false
		return packed(m)
	})
	f("cut", func(q *dns.Msg) []byte { return packed(good(q))[:40] })
	f("tiny", func(*dns.Msg) []byte { return []byte{0} })
}

// restart looks whether a server that has forgotten the connection is asked on another one.
func restart(t *testing.T, p *peer, encrypted bool) {
	u := use(t, p)
	query := ask(t, "a.test", 9)
	for range 3 {
		for range 3 {
			resp, err := u.Exchange(limited(t), query)
			checkAnswer(t, query, resp, err)
		}
		p.restart()
	}
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if made := p.accepts.Load(); made != 4 {
		t.Errorf("%d connections; want 4", made)
	}
	if n := p.resumed.Load(); n == 0 && encrypted {
		t.Error("no session was resumed")
	}
}

func cancels(t *testing.T, p *peer) {
	u := use(t, p)
	asked, release := make(chan struct{}, 2), make(chan struct{})
	p.set(func(q *dns.Msg) []byte {
		if strings.HasPrefix(q.Question[0].Name, "slow.") {
			asked <- struct{}{}
			<-release
		}
		return packed(good(q))
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := u.Exchange(ctx, ask(t, "slow.test", 1))
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled exchange says %v", err)
	}
	if _, err := u.Exchange(ctx, ask(t, "b.test", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("an exchange that was canceled before says %v", err)
	}
	query := ask(t, "b.test", 2)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
}

type valueKey struct{}

// sharedDial looks whether a dial goes on without the exchange that began it, for those that wait too.
func sharedDial(t *testing.T, p *peer) {
	dialing, release := make(chan any, 1), make(chan struct{})
	p.before = func(ctx context.Context) error {
		dialing <- ctx.Value(valueKey{})
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	u := use(t, p)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "loop"))
	first, second := make(chan error), make(chan error)
	go func() {
		_, err := u.Exchange(ctx, ask(t, "a.test", 1))
		first <- err
	}()
	if v := <-dialing; v != "loop" {
		t.Errorf("the dial has the value %v", v)
	}
	go func() {
		query := ask(t, "b.test", 2)
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled exchange says %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Error(err)
	}
	if n := p.dials.Load(); n != 1 {
		t.Errorf("%d dials", n)
	}
}

func noServer(t *testing.T, p *peer) {
	bad := errors.New("the proxy is down")
	p.before = func(context.Context) error { return bad }
	_, err := use(t, p).Exchange(limited(t), ask(t, "a.test", 1))
	checkError(t, p.server, err)
	if !errors.Is(err, bad) {
		t.Errorf("error %v: want one that wraps %v", err, bad)
	}
}

func closes(t *testing.T, p *peer) {
	u := use(t, p)
	asked, release := make(chan struct{}), make(chan struct{})
	p.set(func(q *dns.Msg) []byte {
		asked <- struct{}{}
		<-release
		return packed(good(q))
	})
	defer close(release)
	done := make(chan error)
	go func() {
		_, err := u.Exchange(context.Background(), ask(t, "a.test", 1))
		done <- err
	}()
	<-asked
	u.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("an exchange that was under way says %v", err)
	}
	if _, err := u.Exchange(limited(t), ask(t, "a.test", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("an exchange after Close says %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("the second Close says %v", err)
	}

	// A dial that is under way ends too.
	dialing := make(chan struct{})
	p.before = func(ctx context.Context) error {
		close(dialing)
		<-ctx.Done()
		return ctx.Err()
	}
	u = use(t, p)
	go func() {
		_, err := u.Exchange(context.Background(), ask(t, "a.test", 1))
		done <- err
	}()
	<-dialing
	u.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("an exchange that waited for a connection says %v", err)
	}
}
