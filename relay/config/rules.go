package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// Rule is one line of rules, taken apart. What its payload means is judged by the rule compiler,
// which reports at Pos.
type Rule struct {
	rule.Rule // without a type where the line is no rule, which has been reported
	Pos       Pos
}

// SubRules are the rules under each name of sub-rules, in the order of the file.
type SubRules []SubRule

// SubRule is one list of SubRules.
type SubRule struct {
	Name  string
	Pos   Pos
	Rules []Rule
}

// maxSubRules bounds the lists, and so how deep they can lead.
const maxSubRules = 4096

func (s *SubRules) decode(v value) {
	for _, e := range v.entries() {
		if !e.val.resolve() {
			continue
		}
		list := SubRule{Name: e.key.Value, Pos: Pos{e.key.Line, e.key.Column}}
		if list.Name == "" {
			v.d.report(Error, list.Pos, v.path, "want a name for the sub-rules", "")
			continue
		}
		if len(*s) == maxSubRules {
			v.d.report(Error, list.Pos, v.path, fmt.Sprintf("more than %d lists of sub-rules", maxSubRules), "")
			return
		}
		for _, item := range e.val.items() {
			var r Rule
			r.decode(item)
			list.Rules = append(list.Rules, r)
		}
		*s = append(*s, list)
	}
}

// decode takes a line apart and checks its shape and its type.
func (r *Rule) decode(v value) {
	r.Pos = v.pos()
	if v.n.Kind != yaml.ScalarNode {
		v.fail("want a rule such as DOMAIN-SUFFIX,example.org,DIRECT, got %s", v.got())
		return
	}
	line := v.n.Value
	parsed, err := rule.Parse(line)
	if err != nil {
		hint := ""
		var unknown *rule.UnknownType
		if errors.As(err, &unknown) {
			hint = v.d.nearest(unknown.Type, rule.Types())
		}
		v.d.report(Error, v.pos(), v.path, fmt.Sprintf("[%s]: %v", line, err), hint)
		return
	}
	for _, p := range parsed.Params {
		if !slices.Contains(rule.Params, p) {
			v.d.report(Warning, v.pos(), v.path, fmt.Sprintf("[%s]: unknown parameter %q", line, p), v.d.nearest(p, rule.Params))
		}
	}
	r.Rule = parsed
}

// checkRules checks that every target is there.
func (c *Config) checkRules(d *decoder, names []string) {
	known := set(names)
	subs := make([]string, 0, len(c.SubRules))
	calls := make(map[string][]string)
	for i := range c.SubRules {
		s := &c.SubRules[i]
		subs = append(subs, s.Name)
		for j := range s.Rules {
			if s.Rules[j].Type == "SUB-RULE" {
				calls[s.Name] = append(calls[s.Name], s.Rules[j].Target)
			}
		}
	}
	knownSubs := set(subs)
	check := func(path string, r *Rule) {
		switch {
		case r.Type == "":
		case r.Type == "SUB-RULE" && !knownSubs[r.Target]:
			d.report(Error, r.Pos, path, fmt.Sprintf("[%s]: sub-rule [%s] not found", r.Text(), r.Target), d.nearest(r.Target, subs))
		case r.Type != "SUB-RULE" && !known[r.Target]:
			d.report(Error, r.Pos, path, fmt.Sprintf("[%s]: proxy [%s] not found", r.Text(), r.Target), d.nearest(r.Target, names))
		}
	}
	for i := range c.Rules {
		check(fmt.Sprintf("rules[%d]", i), &c.Rules[i])
	}
	for i := range c.SubRules {
		s := &c.SubRules[i]
		for j := range s.Rules {
			check(fmt.Sprintf("sub-rules[%s][%d]", s.Name, j), &s.Rules[j])
		}
	}
	for _, loop := range circles(subs, calls) {
		i := slices.Index(subs, loop[0])
		d.report(Error, c.SubRules[i].Pos, "sub-rules."+loop[0], "circular references ["+wayFrom(loop[0], loop, "->")+"]", "")
	}
}

// Text is the rule as a line.
func (r *Rule) Text() string {
	part := []string{r.Type}
	if r.Type != "MATCH" {
		part = append(part, r.Payload)
	}
	return strings.Join(append(append(part, r.Target), r.Params...), ",")
}
