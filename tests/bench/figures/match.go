package main

import (
	"fmt"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// spread is how many names are asked for in turn, so that the memory of one is not warm for the next.
const spread = 1 << 14

// matches measures a match behind n rules DOMAIN-SUFFIX.
func matches() {
	for _, n := range []int{10, 1_000, 100_000, 1_000_000} {
		rules := make([]rule.Rule, n)
		for i := range n - 1 {
			rules[i] = rule.Rule{Type: "DOMAIN-SUFFIX", Payload: fmt.Sprintf("site%d.example%d.test", i, i%977)}
		}
		rules[n-1] = rule.Rule{Type: "MATCH"}
		p, errs := rule.Compile(rules, nil)
		if errs != nil {
			panic(errs[0])
		}
		hits, misses := make([]string, spread), make([]string, spread)
		for i := range spread {
			j := i * 7919 % (n - 1)
			hits[i] = fmt.Sprintf("www.site%d.example%d.test", j, j%977)
			misses[i] = fmt.Sprintf("www.other%d.example%d.test", j, i%977)
		}
		goal := ""
		if n == 1_000_000 {
			goal = "≤ 300 ns, 0 allocs"
		}
		row(fmt.Sprintf("match behind %d suffix rules, hit", n), goal, ask(p, hits))
		row(fmt.Sprintf("match behind %d suffix rules, miss", n), goal, ask(p, misses))
	}
}

// sets measures a match that misses in 50 rule sets of 20,000 names.
func sets() {
	made := make(map[string]*rule.Set)
	var rules []rule.Rule
	for s := range 50 {
		var b match.DomainsBuilder
		for i := range 20_000 {
			if err := b.Suffix(fmt.Sprintf("n%d.set%d.test", i, s)); err != nil {
				panic(err)
			}
		}
		d, err := b.Build()
		if err != nil {
			panic(err)
		}
		name := fmt.Sprint(s)
		made[name] = new(rule.Set)
		made[name].Replace(&rule.Content{Domains: d, Count: d.Len()})
		rules = append(rules, rule.Rule{Type: "RULE-SET", Payload: name})
	}
	p, errs := rule.Compile(append(rules, rule.Rule{Type: "MATCH"}), &rule.Env{
		RuleSet: func(name string) (*rule.Set, error) { return made[name], nil },
	})
	if errs != nil {
		panic(errs[0])
	}
	hosts := make([]string, spread)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("www.n%d.other.test", i)
	}
	row("50 rule sets of 20,000 names, miss in all", "≤ 3000 ns", ask(p, hosts))
}

// ask measures a match with each of hosts in turn.
func ask(p *rule.Program, hosts []string) string {
	f := flow.Flow{Network: flow.TCP, Kind: flow.SOCKS5, To: flow.Addr{Port: 443}}
	return bench(func(i int) {
		f.To.Host = hosts[i%len(hosts)]
		p.Match(&f, 0)
	})
}
