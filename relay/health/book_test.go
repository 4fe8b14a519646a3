package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func TestBook(t *testing.T) {
	b, n, start := NewBook(), new(outbound.Info), time.Unix(1000, 0)
	const one, two = "http://one.test/", "http://two.test/"
	result := func(url string, alive bool, delay uint16) {
		t.Helper()
		if a, d := b.Result(n, url); a != alive || d != delay {
			t.Errorf("%s: %v, %d; want %v, %d", url, a, d, alive, delay)
		}
	}
	if s := b.State(n); !s.Alive || s.History == nil || len(s.History) > 0 || s.Extra == nil || len(s.Extra) > 0 {
		t.Errorf("unknown: %+v", s)
	}
	result(one, true, noDelay)

	// A good test.
	b.Note(n, one, start, 20, true, nil)
	result(one, true, 20)
	result(two, true, noDelay) // by what others found
	// An unexpected status is a sign of life, and not for those who expect another.
	b.Note(n, one, start, 30, false, nil)
	result(one, false, noDelay)
	result(two, true, noDelay)
	if s := b.State(n); !s.Alive || s.History[1].Delay != 30 || s.Extra[one].Alive || s.Extra[one].History[1].Delay != 0 {
		t.Errorf("unexpected status: %+v", s)
	}
	// A failure, whatever else is said.
	b.Note(n, one, start, 40, true, errors.New("no"))
	result(one, false, noDelay)
	result(two, false, noDelay)
	if s := b.State(n); s.Alive || s.History[2].Delay != 0 || len(s.Extra) != 1 {
		t.Errorf("failure: %+v", s)
	}
	b.Note(n, two, start, 50, true, nil)
	result(one, false, noDelay)
	result(two, true, 50)
	if b.Changed() != 4 {
		t.Errorf("%d changes", b.Changed())
	}

	// Ten records each, the last ones.
	for i := range 25 {
		b.Note(n, one, start.Add(time.Duration(i)), uint16(i+1), true, nil)
	}
	s := b.State(n)
	for _, h := range [][]Record{s.History, s.Extra[one].History} {
		if len(h) != 10 || h[0].Delay != 16 || h[9].Delay != 25 || !h[9].Time.Equal(start.Add(24)) {
			t.Errorf("history %v", h)
		}
	}
	if len(s.Extra[two].History) != 1 {
		t.Error("the tests of one URL are in another's history")
	}
	s.History[0].Delay, s.Extra[one].History[0].Delay = 99, 99
	if s := b.State(n); s.History[0].Delay == 99 || s.Extra[one].History[0].Delay == 99 {
		t.Error("State is no copy")
	}

	b.Keep(func(i *outbound.Info) bool { return i == n })
	result(two, true, 50)
	b.Keep(func(*outbound.Info) bool { return false })
	result(two, true, noDelay)
}

// TestBookURLs keeps the URLs in use, however many others somebody tries.
func TestBookURLs(t *testing.T) {
	b, n := NewBook(), new(outbound.Info)
	b.Note(n, "used", time.Now(), 7, true, nil)
	b.Note(n, "unused", time.Now(), 8, true, nil)
	for i := range 100 {
		b.Note(n, fmt.Sprint(i), time.Now(), 9, true, nil)
		if _, d := b.Result(n, "used"); d != 7 {
			t.Fatalf("gone after %d", i)
		}
	}
	s := b.State(n)
	if _, kept := s.Extra["unused"]; len(s.Extra) != maxURLs || kept {
		t.Errorf("%d URLs, unused %v", len(s.Extra), kept)
	}
	b.Note(n, strings.Repeat("a", maxURL+1), time.Now(), 9, true, nil)
	if s := b.State(n); len(s.Extra) != maxURLs || s.History[9].Delay != 9 {
		t.Error("a URL of any length")
	}
}

// TestBookNotifies who reads, once for what has gone by meanwhile, and not for ever.
func TestBookNotifies(t *testing.T) {
	b, n := NewBook(), new(outbound.Info)
	note := func() { b.Note(n, "u", time.Now(), 7, true, nil) }
	one, two := make(chan struct{}, 1), make(chan struct{}, 1)
	f := func(wantOne, wantTwo int) {
		t.Helper()
		if len(one) != wantOne || len(two) != wantTwo {
			t.Errorf("%d and %d; want %d and %d", len(one), len(two), wantOne, wantTwo)
		}
		for len(one)+len(two) > 0 {
			select {
			case <-one:
			case <-two:
			}
		}
	}
	note()
	f(0, 0)
	stopOne, stopTwo := b.Notify(one), b.Notify(two)
	f(0, 0)
	note()
	f(1, 1)
	note()
	note() // nobody reads, and nobody waits
	f(1, 1)
	stopOne()
	note()
	f(0, 1)
	stopOne()
	stopTwo()
	note()
	f(0, 0)
}
