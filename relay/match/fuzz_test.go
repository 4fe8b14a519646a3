package match

import (
	"fmt"
	"strings"
	"testing"
)

func FuzzDomains(f *testing.F) {
	f.Add("+.a.test", "b.a.test")
	f.Add("*.a.*", "b.a.test")
	f.Add(".*", "a.")
	f.Add("a..b", strings.Repeat(".", 255))
	f.Fuzz(func(t *testing.T, pattern, host string) {
		var text, bytes DomainsBuilder
		err := text.Add(pattern)
		if other := bytes.AddBytes([]byte(pattern)); fmt.Sprint(other) != fmt.Sprint(err) {
			t.Fatalf("%q: Add says %v, AddBytes %v", pattern, err, other)
		}
		d, buildErr := text.Build()
		b, otherErr := bytes.Build()
		if buildErr != nil || otherErr != nil {
			t.Fatalf("%q: %v, %v", pattern, buildErr, otherErr)
		}
		n := nameOf(host)
		got := d.Has(n)
		if got != b.Has(n) {
			t.Errorf("%q: Add and AddBytes differ about %q", pattern, host)
		}
		if strings.Contains("."+host+".", "..") {
			return // labels of nothing: no name of a host
		}
		if want := err == nil && len(host) <= 255 && holds(pattern, host); got != want {
			t.Errorf("%q: Has(%q) = %v", pattern, host, got)
		}
		for p := range d.Patterns() {
			if p != pattern {
				t.Errorf("%q: Patterns has %q", pattern, p)
			}
		}
	})
}

func FuzzReadBinary(f *testing.F) {
	for _, l := range []list{{}, {patterns: []string{"a"}}, {patterns: []string{"+.a.b", "*.b", "a.*"}}} {
		var b DomainsBuilder
		for _, p := range l.patterns {
			if err := b.Add(p); err != nil {
				f.Fatal(err)
			}
		}
		d, err := b.Build()
		if err != nil {
			f.Fatal(err)
		}
		var data strings.Builder
		if err := d.WriteBinary(&data); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(data.String()), "a.b")
	}
	f.Fuzz(func(t *testing.T, data []byte, host string) {
		askForged(t, sealed(data), host, "a", "a.b", "x.b", dots(128))
	})
}
