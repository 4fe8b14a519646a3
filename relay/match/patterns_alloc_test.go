//go:build !race

package match

import "testing"

func TestFindingAllocatesNothing(t *testing.T) {
	var p Patterns[string]
	for _, pattern := range []string{"+.a.test", "b.*.test", "*.c.*.d.test", "*"} {
		if err := p.Add(pattern, pattern); err != nil {
			t.Fatal(err)
		}
	}
	find := func(name, want string) bool { v, ok := p.Find(name); return v == want && ok == (want != "") }
	allocates(t, "a hit", func() bool { return find("www.a.test", "+.a.test") })
	allocates(t, "a star", func() bool { return find("b.x.test", "b.*.test") })
	allocates(t, "many stars", func() bool { return find("x.c.y.d.test", "*.c.*.d.test") })
	allocates(t, "a miss", func() bool { return find("www.example.org", "") })
	name := []byte("b.x.test")
	allocates(t, "bytes", func() bool { v, ok := p.FindBytes(name); return ok && v == "b.*.test" })
}
