package cache_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/cache"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

func answer(t testing.TB, name string, ttl uint32) ([]byte, *wire.Answer) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, dns.TypeA)
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN A 192.0.2.1", name, ttl))
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg).SetReply(m)
	r.Answer = []dns.RR{rr}
	p, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	a, err := wire.Scan(p)
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if err := q.Set(name, dns.TypeA); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), q.Key()...), a
}

func TestTime(t *testing.T) {
	for _, arc := range []bool{false, true} {
		c := cache.New(cache.Config{ARC: arc, Keep: 20 * time.Second})
		key, a := answer(t, "a.test.", 10)
		c.Put(key, a, 100, c.Flushes())
		if e := c.Get(key, 109); e == nil || !e.Fresh(109) || e.Age(109) != 9 {
			t.Errorf("%+v", e)
		}
		if e := c.Get(key, 110); e == nil || e.Fresh(110) {
			t.Errorf("what is kept beyond its time: %+v", e)
		}
		if e := c.Get(key, 130); e != nil || c.Len() != 0 {
			t.Errorf("out of date: %+v, %d kept", e, c.Len())
		}
		key, a = answer(t, "b.test.", 0)
		if c.Put(key, a, 1, c.Flushes()); c.Len() != 0 {
			t.Error("an answer for no time is kept")
		}
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	c := cache.New(cache.Config{Size: 3})
	keys := map[string][]byte{}
	put := func(name string) {
		k, a := answer(t, name+".test.", 60)
		keys[name] = k
		c.Put(k, a, 1, c.Flushes())
	}
	put("a")
	put("b")
	put("c")
	c.Get(keys["a"], 1)
	put("d")
	put("c")
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if got := c.Get(keys[name], 1) != nil; got != want {
			t.Errorf("%s is kept: %v", name, got)
		}
	}
	k, late := answer(t, "late.test.", 60)
	since := c.Flushes()
	if c.Flush(); c.Len() != 0 || c.Get(keys["a"], 1) != nil {
		t.Error("a flush leaves something")
	}
	if c.Put(k, late, 1, since); c.Len() != 0 {
		t.Error("what was asked before a flush is kept after it")
	}
}

// TestARCKeepsWhatIsUsed runs a scan of names asked for once through a cache with a few that are asked
// for often: those stay.
func TestARCKeepsWhatIsUsed(t *testing.T) {
	hits := func(arc bool) (n int) {
		c := cache.New(cache.Config{Size: 100, ARC: arc})
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 20000 {
			name := fmt.Sprintf("often%d.test.", r.IntN(80))
			if i%2 == 0 {
				name = fmt.Sprintf("once%d.test.", i)
			}
			k, a := answer(t, name, 60)
			if c.Get(k, 1) != nil {
				n++
			} else {
				c.Put(k, a, 1, c.Flushes())
			}
			if c.Len() > 100 {
				t.Fatalf("%d are kept", c.Len())
			}
		}
		return n
	}
	lru, arc := hits(false), hits(true)
	t.Logf("hits of 10,000: LRU %d, ARC %d", lru, arc)
	if arc <= lru {
		t.Error("ARC is not better than LRU where names are asked for once")
	}
}

func TestBytesAreBounded(t *testing.T) {
	for _, arc := range []bool{false, true} {
		c := cache.New(cache.Config{Size: 4, ARC: arc})
		k, a := answer(t, "a.test.", 60)
		a.Wire = make([]byte, 5000)
		for i := range 10 {
			c.Put(append(k, byte(i)), a, 1, c.Flushes())
		}
		if c.Len() != 1 {
			t.Errorf("%d large answers are kept", c.Len())
		}
	}
}
