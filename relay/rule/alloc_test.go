//go:build !race

package rule

import (
	"math/rand/v2"
	"testing"
)

// TestMatchAllocatesNothing asks random programs, in which every type of rule occurs.
func TestMatchAllocatesNothing(t *testing.T) {
	for n := range 150 {
		w := &world{Rand: rand.New(rand.NewPCG(7, uint64(n)))}
		env := w.sets(t)
		w.o.subs = map[string][]Rule{"inner": w.rules(4)}
		env.SubRules = w.o.subs
		rules := w.rules(60, "inner")
		p, errs := Compile(rules, env)
		if errs != nil {
			t.Fatal(errs)
		}
		for range 10 {
			f := w.flow()
			f.LookedUp, f.Process.LookedUp = true, true // so that much is looked at
			if n := testing.AllocsPerRun(5, func() { p.Match(&f, 0) }); n != 0 {
				t.Fatalf("%v allocations a match of %+v\n%s", n, f, show(&w.o, rules))
			}
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	c := NewCounters(3)
	if n := testing.AllocsPerRun(100, func() { c.Hit(1); c.GoesOn(1); c.Hit(None) }); n != 0 {
		t.Errorf("%v allocations a hit", n)
	}
}
