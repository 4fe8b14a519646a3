// Package rule compiles rules into a Program that says which rule is the first to hold for a flow.
//
// A program judges only what the flow carries: a fact that is missing is asked for, never fetched.
// Rules that look for names, prefixes, ports and words are found through indexes, whatever their
// number; what cannot be indexed is looked at one after the other, and only as far as the best rule
// found so far.
package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule is one line of the configuration, taken apart.
type Rule struct {
	Type    string // as the configuration spells it, in upper case: "DOMAIN-SUFFIX"
	Payload string
	Target  string
	Params  []string // in lower case: "no-resolve", "src"
}

// Info is a rule as the API shows it.
type Info struct {
	Type    string // "DomainSuffix"
	Payload string // normalized
	Target  string
	Size    int // entries of a geo set, -1 for what is none
}

// Need is a fact that Match lacks.
type Need uint8

// What Match may need before it can go on.
const (
	NeedNothing Need = iota
	NeedIP           // the address behind the flow's name
	NeedProcess      // the process that opened the flow
)

// None is the index of no rule, and of no target.
const None = -1

// Hit is what Match found.
type Hit struct {
	Rule   int // the first rule that holds, the one that Need is for, or None
	Target int // index into Targets; with SUB-RULE that of the rule inside
	Need   Need
}

// Error says what is wrong with one rule.
type Error struct {
	Sub   string // the list of sub-rules it is in; "" for the rules
	Index int    // of the rule
	Err   error
}

func (e *Error) Error() string {
	if e.Sub != "" {
		return fmt.Sprintf("sub-rules[%s][%d]: %v", e.Sub, e.Index, e.Err)
	}
	return fmt.Sprintf("rules[%d]: %v", e.Index, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrNoRule means that no rule has such a number.
var ErrNoRule = errors.New("there is no rule with such a number")

// ErrCircular means that sub-rules lead back to themselves.
var ErrCircular = errors.New("circular references")

// NotFound says that a rule names something that is not there.
type NotFound struct{ What, Name string } // What is "rule set" or "sub-rule"

func (e *NotFound) Error() string { return fmt.Sprintf("%s [%s] not found", e.What, e.Name) }

// greedy are the types whose payload is all between the first and the last comma, so that no
// parameters can follow.
var greedy = map[string]bool{
	"AND": true, "OR": true, "NOT": true, "SUB-RULE": true, "DOMAIN-REGEX": true,
	"PROCESS-NAME-REGEX": true, "PROCESS-PATH-REGEX": true,
}

// Params are the words that may follow a target.
var Params = []string{"no-resolve", "src"}

// UnknownType says that there is no such type of rule.
type UnknownType struct{ Type string }

func (e *UnknownType) Error() string { return "unsupported rule type: " + clip(e.Type) }

// Parse takes a line apart: TYPE,PAYLOAD,TARGET[,param…]. What the payload means is seen when it is
// compiled. Parameters that nobody knows are kept.
func Parse(line string) (Rule, error) {
	word, rest, _ := strings.Cut(line, ",")
	r := Rule{Type: strings.ToUpper(strings.TrimSpace(word))}
	part := strings.Split(rest, ",")
	_, known := types[r.Type]
	switch {
	case !known:
		return r, &UnknownType{r.Type}
	case r.Type == "MATCH":
		r.Target, part = strings.TrimSpace(part[0]), part[1:]
	case len(part) < 2:
		return r, errors.New("format invalid: want TYPE,PAYLOAD,TARGET")
	case greedy[r.Type]:
		i := strings.LastIndexByte(rest, ',')
		r.Payload, r.Target, part = strings.TrimSpace(rest[:i]), strings.TrimSpace(rest[i+1:]), nil
	default:
		r.Payload, r.Target, part = strings.TrimSpace(part[0]), strings.TrimSpace(part[1]), part[2:]
	}
	r.Params = params(part)
	if r.Target == "" {
		return r, errors.New("want a target")
	}
	return r, nil
}

func params(part []string) []string {
	var list []string
	for _, p := range part {
		if p = strings.ToLower(strings.TrimSpace(p)); p != "" {
			list = append(list, p)
		}
	}
	return list
}

// ParseCondition takes a rule without a target apart, as it stands in logic rules and in classical
// rule sets: TYPE,PAYLOAD[,param…]. In a set a target may follow and is left out, but behind a regular
// expression, where it cannot be told from the expression.
func ParseCondition(line string) (Rule, error) {
	word, rest, found := strings.Cut(line, ",")
	r := Rule{Type: strings.ToUpper(strings.TrimSpace(word))}
	switch {
	case !found && r.Type != "MATCH":
		return r, fmt.Errorf("format invalid: want TYPE,PAYLOAD, got %q", clip(line))
	case greedy[r.Type]:
		r.Payload = strings.TrimSpace(rest)
		if strings.HasPrefix(r.Payload, "(") && !strings.HasSuffix(r.Type, "REGEX") {
			if end, err := closing(r.Payload); err == nil && strings.HasPrefix(strings.TrimSpace(r.Payload[end+1:]), ",") {
				r.Payload = r.Payload[:end+1]
			}
		}
		return r, nil
	}
	payload, rest, _ := strings.Cut(rest, ",")
	r.Payload = strings.TrimSpace(payload)
	r.Params = slices.DeleteFunc(params(strings.Split(rest, ",")), func(p string) bool { return !slices.Contains(Params, p) })
	return r, nil
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
