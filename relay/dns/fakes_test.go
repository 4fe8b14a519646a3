package dns

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/upstream"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// zone is a name server: a func that answers what another library has read.
type zone func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error)

func (z zone) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	q := new(miekg.Msg)
	if err := q.Unpack(query); err != nil {
		return nil, err
	}
	m, err := z(ctx, q)
	if err != nil {
		return nil, err
	}
	return m.Pack()
}

func (zone) Close() error { return nil }

// reply answers q with a code and records, which are written as in a zone file; @ is the name that was
// asked for. An SOA is put into the authority section.
func reply(q *miekg.Msg, code int, records ...string) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetRcode(q, code)
	for _, text := range records {
		rr, err := miekg.NewRR(strings.ReplaceAll(text, "@", q.Question[0].Name))
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == miekg.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

// says is a server that always answers the same.
func says(code int, records ...string) zone {
	return func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) { return reply(q, code, records...), nil }
}

// has is a server that knows the same records for every name, and answers with those of the type.
func has(records ...string) zone {
	return func(_ context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		m := reply(q, miekg.RcodeSuccess, records...)
		all := m.Answer
		m.Answer = nil
		for _, rr := range all {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		return m, nil
	}
}

func fails(text string) zone {
	return func(context.Context, *miekg.Msg) (*miekg.Msg, error) { return nil, errors.New(text) }
}

// silent never answers.
func silent(ctx context.Context, _ *miekg.Msg) (*miekg.Msg, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// after answers as z does, a time later.
func (z zone) after(d time.Duration) zone {
	return func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		select {
		case <-time.After(d):
			return z(ctx, q)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// counted counts the questions in n.
func (z zone) counted(n *atomic.Int64) zone {
	return func(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
		n.Add(1)
		return z(ctx, q)
	}
}

// server is the name server written as text, in the place of which u answers.
func server(t testing.TB, text string, u upstream.Upstream) *Server {
	t.Helper()
	spec, err := nameserver.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Spec: spec, Upstream: u}
}

// servers are name servers at 192.0.2.1, .2 and so on.
func servers(t testing.TB, zones ...zone) (list []*Server) {
	t.Helper()
	ip := netip.MustParseAddr("192.0.2.0")
	for _, z := range zones {
		ip = ip.Next()
		list = append(list, server(t, ip.String(), z))
	}
	return list
}

// newResolver fills in what c lacks, and ends it with the test.
func newResolver(t testing.TB, c Config) *Resolver {
	t.Helper()
	if c.Life == nil {
		c.Life = NewLife()
		t.Cleanup(c.Life.Close)
	}
	if c.Cache == nil {
		c.Cache = cache.New(cache.Config{})
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return New(c)
}

func question(t testing.TB, name string, kind uint16) *wire.Query {
	t.Helper()
	q := new(wire.Query)
	if err := q.Set(name, kind); err != nil {
		t.Fatal(err)
	}
	return q
}

// shown is what a message says, in one line: its code where it is no success, its records without their
// class, and TC where it is truncated.
func shown(t testing.TB, message []byte) string {
	t.Helper()
	m := new(miekg.Msg)
	if err := m.Unpack(message); err != nil {
		t.Fatalf("%x: %v", message, err)
	}
	var words []string
	if m.Rcode != miekg.RcodeSuccess {
		words = append(words, miekg.RcodeToString[m.Rcode])
	}
	if m.Truncated {
		words = append(words, "TC")
	}
	for _, rr := range m.Answer {
		words = append(words, strings.ReplaceAll(strings.ReplaceAll(rr.String(), "\tIN", ""), "\t", " "))
	}
	return strings.Join(words, ", ")
}

// ask is what r says of a question, or the error.
func ask(t testing.TB, ctx context.Context, r *Resolver, name string, kind uint16) string {
	t.Helper()
	q := question(t, name, kind)
	f, err := r.Exchange(ctx, q)
	if err != nil {
		return "error: " + err.Error()
	}
	return shown(t, f.Append(nil, q, wire.MaxSize))
}

// logbook is a log that tests read.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count says how many lines hold text.
func (l *logbook) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// patterns gives each of texts the server that stands behind its =.
func patterns(t testing.TB, of map[string]*Server, texts ...string) *match.Patterns[[]*Server] {
	t.Helper()
	p := new(match.Patterns[[]*Server])
	for _, text := range texts {
		pattern, name, _ := strings.Cut(text, "=")
		if err := p.Add(pattern, []*Server{of[name]}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// names is a set of domain patterns.
func names(t testing.TB, list ...string) Matcher {
	t.Helper()
	var b match.DomainsBuilder
	for _, p := range list {
		if err := b.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
