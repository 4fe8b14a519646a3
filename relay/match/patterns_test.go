package match

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// specificity says how exactly a pattern describes the labels of a host, from the right.
func specificity(pattern, host string) []int {
	sign, name := split(pattern)
	p, h := strings.Split(name, "."), strings.Split(host, ".")
	slices.Reverse(p)
	s := make([]int, len(h)+1)
	for i := range h {
		switch {
		case i >= len(p):
			s[i] = 1
		case p[i] == "*":
			s[i] = 2
		default:
			s[i] = 3
		}
	}
	if sign == "" {
		s[len(h)] = 1
	}
	return s
}

// mostSpecific is the index of the pattern that decides about host, or -1.
func mostSpecific(patterns []string, host string) int {
	best := -1
	for i, p := range patterns {
		if holds(p, host) && (best < 0 || slices.Compare(specificity(p, host), specificity(patterns[best], host)) > 0) {
			best = i
		}
	}
	return best
}

func TestPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 6000 {
		var p Patterns[int]
		var patterns []string
		for range r.IntN(12) {
			pattern := pick(r, "", "", "+.", ".") + randomName(r, 4, "a", "b", "ab", "*")
			err := p.Add(pattern, len(patterns))
			switch {
			case slices.Contains(patterns, pattern):
				if !errors.Is(err, ErrTwice) {
					t.Fatalf("%q again: %v", pattern, err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				patterns = append(patterns, pattern)
			}
		}
		if p.Len() != len(patterns) {
			t.Fatalf("Len is %d for %q", p.Len(), patterns)
		}
		for range 40 {
			host := randomName(r, 6, "a", "b", "ab", pick(r, "b", "c", "*"))
			got, ok := p.Find(host)
			if !ok {
				got = -1
			}
			if want := mostSpecific(patterns, host); got != want {
				t.Fatalf("%q: Find(%q) is %d, want %d", patterns, host, got, want)
			}
			if b, bok := p.FindBytes([]byte(host)); bok != ok || ok && b != got {
				t.Fatalf("%q: FindBytes(%q) is %d, %v", patterns, host, b, bok)
			}
		}
	}
}

func TestPatternsDecide(t *testing.T) {
	f := func(patterns, host, want string) {
		t.Helper()
		var p Patterns[string]
		for pattern := range strings.FieldsSeq(patterns) {
			if err := p.Add(pattern, pattern); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := p.Find(host); got != want {
			t.Errorf("%s: %s is decided by %q, want %q", patterns, host, got, want)
		}
	}
	// A star is one label, and alone a name without a dot.
	f("* *.test", "router", "*")
	f("* *.test", "a.test", "*.test")
	f("* *.test", "a.b.test", "")
	// A plus is the name and all below it, a dot is those below it.
	f("+.test", "test", "+.test")
	f("+.test", "a.b.test", "+.test")
	f(".test", "test", "")
	f(".test", "a.b.test", ".test")
	// An exact name comes before a star, that before a sign, whatever the order.
	f("+.a.test *.test a.test", "a.test", "a.test")
	f("+.test *.test", "b.test", "*.test")
	f("+.test *.test", "test", "+.test")
	// What a sign stands for is compared label by label too.
	f("*.test +.a.test", "a.test", "+.a.test")
	f("+.test +.a.test", "b.a.test", "+.a.test")
	// A way that leads nowhere is left again.
	f("b.a.test c.*.test", "c.a.test", "c.*.test")
	f(".test c.b.a.test", "d.b.a.test", ".test")
	// Of two that are alike the first decides.
	f(".test +.test", "a.test", ".test")
	f("+.test .test", "a.test", "+.test")
}

func TestPatternsRefuse(t *testing.T) {
	f := func(pattern string) {
		t.Helper()
		var p Patterns[int]
		if err := p.Add(pattern, 1); !errors.Is(err, ErrPattern) || p.Len() != 0 {
			t.Errorf("%q: %v, Len is %d", pattern, err, p.Len())
		}
	}
	for _, pattern := range []string{
		"", "+", ".", "+.", "+a.test", "..a", "a.", "a..b", "a*.test", "**", "a b", "A.test", "+.+.a", "é.test",
		"a/b", "*.", strings.Repeat("*.", maxStars) + "*",
	} {
		f(pattern)
	}
	// The limits are those of a name, whatever the sign.
	label := strings.Repeat("a", maxLabel)
	f(label + "a.test")
	f("+." + strings.Repeat(label+".", 3) + label)
	var p Patterns[int]
	if err := p.Add("+."+strings.Repeat(label+".", 3)+label[2:], 1); err != nil {
		t.Error(err)
	}
}

func TestPatternsWithoutAny(t *testing.T) {
	for _, p := range []*Patterns[int]{nil, new(Patterns[int])} {
		if _, ok := p.Find("a.test"); ok || p.Len() != 0 {
			t.Errorf("%v has something", p)
		}
	}
	var p Patterns[int]
	if err := errors.Join(p.Add("*", 1), p.Add(".test", 2)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", ".test", "test.", strings.Repeat("a.", 128) + "test"} {
		if v, ok := p.Find(name); ok {
			t.Errorf("%q has %d", name, v)
		}
	}
}

// TestPatternsStars has a list in which every place has a * below it: the ways through it are bounded.
func TestPatternsStars(t *testing.T) {
	var p Patterns[int]
	for bits := range 1 << 12 {
		labels := make([]string, 12)
		for i := range labels {
			labels[i] = [...]string{"a", "*"}[bits>>i&1]
		}
		if err := p.Add("b."+strings.Join(labels, "."), bits); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Add("+.a", 1<<12); err != nil {
		t.Fatal(err)
	}
	host := "c." + dots(12)
	stars := maxStarWalks
	if n := p.seek(0, []byte(host), len(host), &stars); n == 0 || p.values[n-1] != 1<<12 || stars != 0 {
		t.Errorf("value number %d with %d stars left", n, stars)
	}
	if v, ok := p.Find("b." + dots(12)); !ok || v != 0 {
		t.Errorf("%d, %v", v, ok)
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("+.a.test *.test", "a.test")
	f.Add("* .a *.*", "a")
	f.Add("a.*.b a.c.b +.*.b", "d.c.b")
	f.Fuzz(func(t *testing.T, list, host string) {
		var p Patterns[int]
		var patterns []string
		for pattern := range strings.FieldsSeq(list) {
			if p.Add(pattern, len(patterns)) == nil {
				patterns = append(patterns, pattern)
			}
		}
		got, ok := p.Find(host)
		if !ok {
			got = -1
		}
		if strings.Contains("."+host+".", "..") || strings.Count(list, "*") > maxStarWalks {
			return // no name of a host, or more ways than are taken
		}
		want := -1
		if len(host) <= 255 {
			want = mostSpecific(patterns, host)
		}
		if got != want {
			t.Errorf("%q: Find(%q) is %d, want %d", patterns, host, got, want)
		}
	})
}

func BenchmarkPatterns(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var p Patterns[int]
	for i := range 10_000 {
		_ = p.Add(pick(r, "+.", "", "*.")+randomName(r, 4, "a", "b", "c", "d", "e", "f", "g", "h")+".test", i)
	}
	name := []byte("www.example.a.b.c.test")
	b.ReportAllocs()
	for b.Loop() {
		p.FindBytes(name)
	}
}
