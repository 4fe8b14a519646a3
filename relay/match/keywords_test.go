package match

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// bytesOf makes a text of up to n bytes.
func bytesOf(r *rand.Rand, n int, from string) string {
	b := make([]byte, r.IntN(n+1))
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

// allBytes are the bytes there are.
var allBytes = func() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}()

func testKeywords(t *testing.T, all []numbered, ask func() (name string, from, none int32)) *Keywords {
	t.Helper()
	k := NewKeywords()
	for _, a := range all {
		k.Add(a.text, a.number)
	}
	k.Build()
	for range 40 {
		name, from, none := ask()
		in := func(text string) bool { return strings.Contains(name, text) }
		want := first(all, from, none, in)
		if got := k.First(name, from, none); got != want {
			t.Fatalf("%q: First(%q, %d, %d) = %d, want %d", all, name, from, none, got, want)
		}
		if got, want := k.Has(name), first(all, 0, noNumber, in) != noNumber; got != want {
			t.Fatalf("%q: Has(%q) = %v", all, name, got)
		}
	}
	return k
}

func TestKeywords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		// Few letters make texts that overlap, end in one another or are the same; the last has a
		// letter that no name has, and names have one that no text has.
		letters := pick(r, "a", "ab", "ab.", allBytes)
		longest := pick(r, 2, 4, 7)
		all := number(r, r.IntN(25), func() string { return bytesOf(r, longest, letters) })
		if r.IntN(4) > 0 { // most sets are without the text that is in every name
			for i := range all {
				all[i].text += letters[:1]
			}
		}
		testKeywords(t, all, func() (string, int32, int32) {
			name := bytesOf(r, 12, pick(r, letters, letters+"x"))
			if len(all) > 0 && r.IntN(3) == 0 {
				name += all[r.IntN(len(all))].text + pick(r, "", "a", "x")
			}
			from, none := question(r, all)
			return name, from, none
		})
	}
}

// TestManyKeywords has more texts than the table has room for, all bytes in them: those in the table
// and those beyond it answer as one.
func TestManyKeywords(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	long := number(r, 80, func() string {
		b := make([]byte, 255)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return string(b)
	})
	next := long[len(long)-1].number + 1
	all := append(long, numbered{"ab", next}, numbered{"b", next + 1}, numbered{"ab", next + 2})
	k := testKeywords(t, all, func() (string, int32, int32) {
		name := all[r.IntN(len(all))].text
		if r.IntN(2) == 0 {
			name += pick(r, "", "a", "b") + all[r.IntN(len(all))].text
		}
		from, none := question(r, all)
		return name[min(r.IntN(20), 1):], from, none
	})
	if n := len(k.rest); n == 0 || n > len(all)/2 || len(k.next) > maxDense {
		t.Errorf("%d of %d texts are beyond the table of %d cells", n, len(all), len(k.next))
	}
}
