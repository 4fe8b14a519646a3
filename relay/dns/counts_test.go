package dns

import (
	"fmt"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// counted are the counts that are not 0, as text.
func counted(list []Count) string {
	var b strings.Builder
	for _, c := range list {
		if c.Count > 0 {
			fmt.Fprintf(&b, "%s=%d ", c.Word, c.Count)
		}
	}
	return strings.TrimSuffix(b.String(), " ")
}

// TestCounts counts a question once, for where its answer is from.
func TestCounts(t *testing.T) {
	life := NewLife()
	t.Cleanup(life.Close)
	good := newResolver(t, Config{Life: life, Servers: servers(t, has("@ 60 A 203.0.113.7"))})
	bad := newResolver(t, Config{Life: life, Servers: []*Server{server(t, "tls://192.0.2.1", says(miekg.RcodeServerFailure))}})
	table := hostsTable(t, listed("mine.test", "192.0.2.1"), listed("other.test", "far.test"))
	real4 := newHandler(t, Handler{Resolver: good, Hosts: table})
	fake := newHandler(t, Handler{Resolver: good, Fake: newFake(t), IPv6: true})
	dead := newHandler(t, Handler{Resolver: bad})
	f := func(h *Handler, name string, kind uint16, want string) {
		t.Helper()
		before := life.Counts()
		h.Answer(t.Context(), nil, question(t, name, kind), wire.MaxSize)
		now := life.Counts()
		for i := range now.Questions {
			now.Questions[i].Count -= before.Questions[i].Count
		}
		for i := range now.Asked {
			now.Asked[i].Count -= before.Asked[i].Count
			now.Failures[i].Count -= before.Failures[i].Count
		}
		got := fmt.Sprintf("%s; %d hits, %d misses; asked %s, failed %s", counted(now.Questions),
			now.Hits-before.Hits, now.Misses-before.Misses, counted(now.Asked), counted(now.Failures))
		if got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	f(real4, "a.test", wire.TypeA, "server=1; 0 hits, 1 misses; asked udp=1, failed ")
	f(real4, "a.test", wire.TypeA, "cache=1; 1 hits, 0 misses; asked , failed ")
	f(real4, "a.test", wire.TypeAAAA, "empty=1; 0 hits, 0 misses; asked , failed ")
	f(real4, "mine.test", wire.TypeA, "hosts=1; 0 hits, 0 misses; asked , failed ")
	f(real4, "other.test", wire.TypeA, "hosts=1; 0 hits, 1 misses; asked udp=1, failed ") // and the name it leads to
	f(real4, "a.test", wire.TypeAXFR, "refused=1; 0 hits, 0 misses; asked , failed ")
	f(fake, "b.test", wire.TypeA, "fake_ip=1; 0 hits, 0 misses; asked , failed ")
	f(fake, "4.0.18.198.in-addr.arpa", wire.TypePTR, "fake_ip=1; 0 hits, 0 misses; asked , failed ")
	f(fake, "b.test", wire.TypeHTTPS, "empty=1; 0 hits, 0 misses; asked , failed ")
	f(fake, "b.real", wire.TypeA, "server=1; 0 hits, 1 misses; asked udp=1, failed ")
	f(dead, "c.test", wire.TypeA, "failed=1; 0 hits, 1 misses; asked tls=1, failed tls=1")
}
