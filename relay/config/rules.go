package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Rule is one line of rules, taken apart. What its payload means is judged by the rule compiler,
// which reports at Pos.
type Rule struct {
	Type    string // upper case
	Payload string
	Target  string
	Params  []string // lower case
	Pos     Pos
}

// SubRules are the rules under each name of sub-rules.
type SubRules []struct {
	Name  string
	Rules []Rule
}

func (s *SubRules) decode(v value) {
	for _, e := range v.entries() {
		if !e.val.resolve() {
			continue
		}
		*s = append(*s, struct {
			Name  string
			Rules []Rule
		}{Name: e.key.Value})
		for _, item := range e.val.items() {
			var r Rule
			r.decode(item)
			(*s)[len(*s)-1].Rules = append((*s)[len(*s)-1].Rules, r)
		}
	}
}

// ruleTypes are the types of the family; those that are built are true.
var ruleTypes = map[string]bool{
	"DOMAIN": true, "DOMAIN-SUFFIX": true, "DOMAIN-KEYWORD": true, "IP-CIDR": true, "IP-CIDR6": true,
	"SRC-IP-CIDR": true, "DST-PORT": true, "SRC-PORT": true, "IN-PORT": true, "NETWORK": true, "MATCH": true,

	"DOMAIN-WILDCARD": false, "DOMAIN-REGEX": false, "GEOSITE": false, "IP-SUFFIX": false, "IP-ASN": false,
	"GEOIP": false, "SRC-GEOIP": false, "SRC-IP-ASN": false, "SRC-IP-SUFFIX": false, "IN-TYPE": false,
	"IN-USER": false, "IN-NAME": false, "PROCESS-NAME": false, "PROCESS-PATH": false,
	"PROCESS-NAME-REGEX": false, "PROCESS-PATH-REGEX": false, "PROCESS-NAME-WILDCARD": false,
	"PROCESS-PATH-WILDCARD": false, "UID": false, "DSCP": false, "RULE-SET": false, "AND": false,
	"OR": false, "NOT": false, "SUB-RULE": false, "REMATCH-NAME": false,
}

var ruleTypeNames = slices.Sorted(maps.Keys(ruleTypes))

// greedy are the types whose payload is all between the first and the last comma.
var greedy = set([]string{"AND", "OR", "NOT", "SUB-RULE", "DOMAIN-REGEX", "PROCESS-NAME-REGEX", "PROCESS-PATH-REGEX"})

// ruleParams are the words that may stand behind a target.
var ruleParams = []string{"no-resolve", "src"}

// decode takes a line apart and checks its shape and its type.
func (r *Rule) decode(v value) {
	r.Pos = v.pos()
	if v.n.Kind != yaml.ScalarNode {
		v.fail("want a rule such as DOMAIN-SUFFIX,example.org,DIRECT, got %s", v.got())
		return
	}
	line := v.n.Value
	word, rest, _ := strings.Cut(line, ",")
	r.Type = strings.ToUpper(strings.TrimSpace(word))
	built, known := ruleTypes[r.Type]
	fail := func(message, hint string) {
		v.d.report(Error, v.pos(), v.path, fmt.Sprintf("[%s]: %s", line, message), hint)
	}
	switch {
	case !known:
		fail(fmt.Sprintf("unsupported rule type: %s", r.Type), v.d.nearest(r.Type, ruleTypeNames))
		r.Type = ""
		return
	case !built:
		fail(r.Type+": not supported yet", "")
	}
	part := strings.Split(rest, ",")
	for i := range part {
		part[i] = strings.TrimSpace(part[i])
	}
	switch {
	case r.Type == "MATCH":
		r.Target, part = part[0], part[1:]
	case greedy[r.Type] && len(part) >= 2:
		r.Target = part[len(part)-1]
		i := strings.LastIndexByte(rest, ',')
		r.Payload, part = strings.TrimSpace(rest[:i]), nil
	case len(part) >= 2:
		r.Payload, r.Target, part = part[0], part[1], part[2:]
	default:
		fail("format invalid: want TYPE,PAYLOAD,TARGET", "")
		r.Type = ""
		return
	}
	for _, p := range part {
		if p = strings.ToLower(p); p == "" {
			continue
		}
		if !slices.Contains(ruleParams, p) {
			v.d.report(Warning, v.pos(), v.path, fmt.Sprintf("[%s]: unknown parameter %q", line, p), v.d.nearest(p, ruleParams))
		}
		r.Params = append(r.Params, p)
	}
	if r.Target == "" {
		fail("want a target", "")
		r.Type = ""
	}
}

// checkRules checks that every target is there.
func (c *Config) checkRules(d *decoder, names []string) {
	known := set(names)
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Type == "" || r.Type == "SUB-RULE" || known[r.Target] {
			continue
		}
		d.report(Error, r.Pos, fmt.Sprintf("rules[%d]", i),
			fmt.Sprintf("[%s]: proxy [%s] not found", r.text(), r.Target), d.nearest(r.Target, names))
	}
}

// text is the rule as a line.
func (r *Rule) text() string {
	part := []string{r.Type}
	if r.Type != "MATCH" {
		part = append(part, r.Payload)
	}
	return strings.Join(append(append(part, r.Target), r.Params...), ",")
}
