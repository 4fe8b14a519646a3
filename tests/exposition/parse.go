// Package exposition reads Prometheus' text format, version 0.0.4, as strictly as its description goes and a
// little more: what it takes, every scraper takes.
package exposition

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ContentType is that of the format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Family is one metric.
type Family struct {
	Name, Type, Help string
	Samples          []Sample
}

// Sample is one value of it.
type Sample struct {
	Labels []Label // in the order of the text
	Value  float64
}

// Label is a name and its value.
type Label struct{ Name, Value string }

// Metrics are families by name.
type Metrics map[string]*Family

// Value is the sum of the samples of a family whose labels, given as names and values in turn, are these; any
// others do not matter. A family or sample that is not there counts 0.
func (m Metrics) Value(name string, labels ...string) (sum float64) {
	f := m[name]
	if f == nil {
		return 0
	}
	for _, s := range f.Samples {
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && slices.Contains(s.Labels, Label{labels[i], labels[i+1]})
		}
		if fits {
			sum += s.Value
		}
	}
	return sum
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	helpEscape = regexp.MustCompile(`^(?:[^\\]|\\\\|\\n)*$`)
)

// Parse reads a whole text. Every family has its HELP and TYPE in front of its samples, and all of them in one
// place; no sample is there twice; counters end in _total, and nothing else does.
func Parse(text string) (Metrics, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("not UTF-8")
	}
	body, whole := strings.CutSuffix(text, "\n")
	if !whole {
		return nil, errors.New("no newline at the end")
	}
	p := parser{all: make(Metrics), seen: make(map[string]bool)}
	for n, line := range strings.Split(body, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", n+1, line, err)
		}
	}
	return p.all, nil
}

type parser struct {
	all  Metrics
	now  *Family
	seen map[string]bool // samples
}

func (p *parser) line(line string) error {
	if comment, ok := strings.CutPrefix(line, "# "); ok {
		word, rest, _ := strings.Cut(comment, " ")
		name, text, _ := strings.Cut(rest, " ")
		switch word {
		case "HELP":
			return p.help(name, text)
		case "TYPE":
			return p.kind(name, text)
		}
		return errors.New("neither HELP nor TYPE")
	}
	return p.sample(line)
}

func (p *parser) help(name, text string) error {
	switch {
	case !metricName.MatchString(name):
		return errors.New("no name of a metric")
	case p.all[name] != nil:
		return errors.New("the family is there already")
	case p.now != nil && p.now.Type == "":
		return errors.New("the family before has no TYPE")
	case text == "" || !helpEscape.MatchString(text):
		return errors.New("no text, or a wrong escape in it")
	}
	p.now = &Family{Name: name, Help: text}
	p.all[name] = p.now
	return nil
}

func (p *parser) kind(name, kind string) error {
	switch {
	case p.now == nil || p.now.Name != name || p.now.Type != "":
		return errors.New("no HELP of this family right before it")
	case kind != "counter" && kind != "gauge":
		return errors.New("neither counter nor gauge")
	case (kind == "counter") != strings.HasSuffix(name, "_total"):
		return errors.New("the end of the name does not tell the type")
	}
	p.now.Type = kind
	return nil
}

func (p *parser) sample(line string) error {
	end := strings.IndexAny(line, "{ ")
	if end < 0 || p.now == nil || p.now.Type == "" || line[:end] != p.now.Name {
		return errors.New("a sample that is not behind HELP and TYPE of its family")
	}
	var s Sample
	rest := line[end:]
	if rest[0] == '{' {
		var err error
		if s.Labels, rest, err = labels(rest[1:]); err != nil {
			return err
		}
	}
	number, ok := strings.CutPrefix(rest, " ")
	if !ok {
		return errors.New("no space in front of the value")
	}
	var err error
	if s.Value, err = strconv.ParseFloat(number, 64); err != nil {
		return err
	}
	if p.now.Type == "counter" && !(s.Value >= 0) {
		return errors.New("a counter below 0")
	}
	key := slices.Clone(s.Labels)
	slices.SortFunc(key, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	if id := fmt.Sprintf("%s%q", p.now.Name, key); p.seen[id] {
		return errors.New("the sample is there already")
	} else {
		p.seen[id] = true
	}
	p.now.Samples = append(p.now.Samples, s)
	return nil
}

// labels reads what is behind a brace, the other brace included.
func labels(s string) (list []Label, rest string, err error) {
	for {
		name, more, ok := strings.Cut(s, `="`)
		if !ok || !labelName.MatchString(name) || strings.HasPrefix(name, "__") {
			return nil, "", errors.New("no name of a label")
		}
		if slices.ContainsFunc(list, func(l Label) bool { return l.Name == name }) {
			return nil, "", errors.New("a label is there twice")
		}
		value, more, err := quoted(more)
		if err != nil {
			return nil, "", err
		}
		list = append(list, Label{name, value})
		switch {
		case strings.HasPrefix(more, "}"):
			return list, more[1:], nil
		case strings.HasPrefix(more, ","):
			s = more[1:]
		default:
			return nil, "", errors.New("neither comma nor brace behind a label")
		}
	}
}

// quoted reads up to a quotation mark, that included.
func quoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			if i == len(s) || !strings.Contains(`\"n`, s[i:i+1]) {
				return "", "", errors.New("a wrong escape")
			}
			if s[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("a value without an end")
}
