package match

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// numbered is a text with its number, for naive code that looks for the first that holds.
type numbered struct {
	text   string
	number int32
}

// first is the smallest number from from on and below none of a text that holds, or none.
func first(all []numbered, from, none int32, holds func(text string) bool) int32 {
	for _, n := range all {
		if n.number >= from && n.number < none && holds(n.text) {
			return n.number
		}
	}
	return none
}

// number gives ascending numbers to texts, some of them to two.
func number(r *rand.Rand, n int, text func() string) []numbered {
	all, next := make([]numbered, n), int32(r.IntN(3))
	for i := range all {
		all[i] = numbered{text(), next}
		next += int32(min(r.IntN(4), 2))
	}
	return all
}

// question is a place to go on from and what to say when nothing is there: often more than all numbers.
func question(r *rand.Rand, all []numbered) (from, none int32) {
	none = math.MaxInt32
	if len(all) == 0 {
		return 0, none
	}
	most := int(all[len(all)-1].number)
	if r.IntN(3) == 0 {
		none = int32(r.IntN(most + 2))
	}
	return int32(r.IntN(most + 2)), none
}

func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var n Name
	for range 3000 {
		all := number(r, r.IntN(70), func() string { return randomName(r, 4, "a", "b") })
		x := NewIndex()
		for _, a := range all {
			x.Add(a.text, a.number)
		}
		if err := x.Build(); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			host := randomName(r, 5, "a", "b", pick(r, "a", "c"))
			n.Set(host)
			from, none := question(r, all)
			want := first(all, from, none, func(name string) bool { return name == host })
			if got := x.Exact(&n, from, none); got != want {
				t.Fatalf("%v: Exact(%q, %d, %d) = %d, want %d", all, host, from, none, got, want)
			}
			want = first(all, from, none, func(name string) bool { return holds("+."+name, host) })
			if got := x.Suffix(&n, from, none); got != want {
				t.Fatalf("%v: Suffix(%q, %d, %d) = %d, want %d", all, host, from, none, got, want)
			}
		}
	}
}

func TestIndexOfLongNames(t *testing.T) {
	x := NewIndex()
	x.Add(dots(128), 1)
	x.Add("a", 2)
	x.Add(strings.Repeat("a", 255), 3)
	if err := x.Build(); err != nil {
		t.Fatal(err)
	}
	f := func(host string, exact, suffix int32) {
		t.Helper()
		n := nameOf(host)
		if e, s := x.Exact(n, 0, 9), x.Suffix(n, 0, 9); e != exact || s != suffix {
			t.Errorf("%q: Exact %d and Suffix %d, want %d and %d", host, e, s, exact, suffix)
		}
	}
	// The longest name, one above it, and a label as long as that.
	f(dots(128), 1, 1)
	f(dots(127), 9, 2)
	f(strings.Repeat("a", 255), 3, 3)
	// No names.
	f("a"+dots(128), 9, 9)
	f("", 9, 9)
}

// colliding are n names that want the slot home of size.
func colliding(n int, size, home uint64) []string {
	const letters = "abcdefghijklmnopqrstuvwxyz012345"
	var names []string
	for base := 0; ; base++ {
		name := [...]byte{3: letters[base&31], 4: letters[base>>5&31], 5: letters[base>>10&31], 6: '.', 7: 't'}
		rest := hashOf(name[3:])
		for i := range 1 << 15 {
			a, b, c := letters[i&31], letters[i>>5&31], letters[i>>10]
			if finish(step(step(step(rest, c), b), a))&(size-1) != home {
				continue
			}
			name[0], name[1], name[2] = a, b, c
			if names = append(names, string(name[:])); len(names) == n {
				return names
			}
		}
	}
}

func TestCollidingNames(t *testing.T) {
	const size = 8192 // slots for so many names
	names := colliding(maxProbes+1, size, 4711)
	var b DomainsBuilder
	for _, name := range names[:maxProbes] {
		if err := b.Exact(name); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Build()
	if err != nil || len(d.t.slots) != size {
		t.Fatalf("%d slots, %v", len(d.t.slots), err)
	}
	for _, name := range names[:maxProbes] {
		if !d.Has(nameOf(name)) {
			t.Fatalf("%q is not in the set", name)
		}
	}
	if d.Has(nameOf(names[maxProbes])) {
		t.Error("one that was not added is in the set")
	}
	testFar(t, d, names[:maxProbes])

	b = DomainsBuilder{}
	for _, name := range names {
		if err := b.Exact(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Build(); !errors.Is(err, errHostile) {
		t.Errorf("one name more: %v", err)
	}
}

// TestManyCollisions refuses names that collide in groups, each of which is small enough.
func TestManyCollisions(t *testing.T) {
	var b DomainsBuilder
	for home := range uint64(3) { // far from each other
		for _, name := range colliding(maxProbes-100, 1<<14, home*5000) {
			if err := b.Exact(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.Build(); !errors.Is(err, errHostile) {
		t.Error(err)
	}
}

// testFar moves the last of the names a slot farther than any is put: no question goes so far.
func testFar(t *testing.T, d *Domains, names []string) {
	t.Helper()
	h, far := finish(hashOf(names[0])), names[len(names)-1]
	from, to := (h+maxProbes-1)&(1<<13-1), (h+maxProbes)&(1<<13-1)
	d.t.slots[from], d.t.slots[to] = d.t.slots[(from-1)&(1<<13-1)], d.t.slots[from]
	if _, ok := d.t.find(finish(hashOf(far)), far); ok {
		t.Error("find went farther than maxProbes")
	}
	if _, ok := d.t.findPattern(finish(hashOf(far)), far); ok {
		t.Error("findPattern went farther than maxProbes")
	}
}

// TestCollisions asks with the hash of another name, as if the two were the same.
func TestCollisions(t *testing.T) {
	d := (&list{patterns: []string{"a.b"}}).build(t, rand.New(rand.NewPCG(1, 1)))
	h := finish(hashOf("a.b"))
	for _, other := range []string{"x.b", "a.bb", "b", ""} {
		if _, ok := d.t.find(h, other); ok {
			t.Errorf("find takes %q for a.b", other)
		}
		if _, ok := d.t.findPattern(h, other); ok {
			t.Errorf("findPattern takes %q for a.b", other)
		}
		if slot, _, err := d.t.place(h, []byte(other)); slot < 0 || err != nil {
			t.Errorf("place takes %q for a.b: %v", other, err)
		}
	}
	if slot, off, err := d.t.place(h, []byte("a.b")); slot >= 0 || off != 0 || err != nil {
		t.Errorf("place finds room for a.b again: %d, %d, %v", slot, off, err)
	}
}

// TestSlots leaves a quarter of the slots free, and at least one.
func TestSlots(t *testing.T) {
	var names []numbered
	for n := range 200 {
		x := NewIndex()
		for _, a := range names {
			x.Add(a.text, a.number)
		}
		if err := x.Build(); err != nil || 4*n > 3*len(x.t.slots) || n == len(x.t.slots) {
			t.Errorf("%d names have %d slots, %v", n, len(x.t.slots), err)
		}
		names = append(names, numbered{domain(n), int32(n)})
	}
}

// TestSpread has names as they are: none is far from its slot, and the filter knows most that are
// not there.
func TestSpread(t *testing.T) {
	const n = 1<<17*3/4 - 2 // makes the slots as full as they get
	var b DomainsBuilder
	for i := range n {
		if err := b.Exact(domain(i)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	mask, farthest := len(d.t.slots)-1, 0
	if len(d.t.slots) != 1<<17 {
		t.Errorf("%d slots for %d names", len(d.t.slots), n)
	}
	for at, s := range d.t.slots {
		if s == 0 {
			continue
		}
		home := finish(hashOf(d.t.name(uint32(s) - 1)))
		farthest = max(farthest, (at-int(home))&mask)
	}
	if farthest > maxProbes/8 {
		t.Errorf("one is %d slots from its own", farthest)
	}
	passed := 0
	for i := range n {
		if word, bits := d.t.bits(finish(hashOf(domain(n + i)))); d.t.filter[word]&bits == bits {
			passed++
		}
	}
	if passed > n/32 {
		t.Errorf("the filter lets %d of %d pass", passed, n)
	}
}
