package rule

import (
	"fmt"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// suffixes are n rules DOMAIN-SUFFIX and a last one.
func suffixes(n int) []Rule {
	rules := make([]Rule, n)
	for i := range n - 1 {
		rules[i] = Rule{Type: "DOMAIN-SUFFIX", Payload: fmt.Sprintf("site%d.example%d.test", i, i%977)}
	}
	rules[n-1] = Rule{Type: "MATCH"}
	return rules
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000, 1_000_000} {
		p, errs := Compile(suffixes(n), nil)
		if errs != nil {
			b.Fatal(errs)
		}
		// Names are taken in turn, so that the memory of one is not warm for the next.
		hits, misses := make([]string, 4096), make([]string, 4096)
		for i := range hits {
			j := i * 7919 % (n - 1)
			hits[i] = fmt.Sprintf("www.site%d.example%d.test", j, j%977)
			misses[i] = fmt.Sprintf("www.other%d.example%d.test", j, i%977)
		}
		for _, q := range []struct {
			name  string
			hosts []string
		}{{"hit", hits}, {"miss", misses}} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, q.name), func(b *testing.B) {
				b.ReportAllocs()
				fl := named("", 443)
				for i := 0; b.Loop(); i++ {
					fl.To.Host = q.hosts[i%4096]
					p.Match(&fl, 0)
				}
			})
		}
	}
}

// BenchmarkSets misses in 50 rule sets of 20,000 names each.
func BenchmarkSets(b *testing.B) {
	sets := make(map[string]*Set)
	var rules []Rule
	for s := range 50 {
		var db match.DomainsBuilder
		for i := range 20_000 {
			if err := db.Suffix(fmt.Sprintf("n%d.set%d.test", i, s)); err != nil {
				b.Fatal(err)
			}
		}
		d, err := db.Build()
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprint(s)
		sets[name] = new(Set)
		sets[name].Replace(&Content{Domains: d, Count: d.Len()})
		rules = append(rules, Rule{Type: "RULE-SET", Payload: name})
	}
	p, errs := Compile(append(rules, Rule{Type: "MATCH"}), &Env{RuleSet: func(n string) (*Set, error) { return sets[n], nil }})
	if errs != nil {
		b.Fatal(errs)
	}
	hosts := make([]string, 4096)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("www.n%d.other.test", i)
	}
	b.ReportAllocs()
	fl := named("", 443)
	for i := 0; b.Loop(); i++ {
		fl.To.Host = hosts[i%4096]
		p.Match(&fl, 0)
	}
}

func BenchmarkCompile(b *testing.B) {
	rules := suffixes(1_000_000)
	for b.Loop() {
		if _, errs := Compile(rules, nil); errs != nil {
			b.Fatal(errs)
		}
	}
}
