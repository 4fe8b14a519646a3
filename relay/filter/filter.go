// Package filter has the regular expressions that configurations choose nodes by: in the manner of .NET,
// with a limit of time.
package filter

import (
	"fmt"
	"strings"
	"sync"
)

// What a configuration may ask of filters.
const (
	maxFilter   = 16 << 10 // bytes of all patterns of one key
	maxPatterns = 64
)

// Filter says which nodes are taken of those there are, and in which order. It may be used by any goroutine.
type Filter struct {
	// Slow, where set, is told once that a pattern takes too long: names that it does so for do not
	// match. It is set before the first use.
	Slow func(error)

	keep, drop []*pattern
	types      []string
	once       sync.Once
}

// New reads the keys filter and exclude-filter, which are regular expressions separated by back-ticks, and
// exclude-type, which is words separated by "|". Empty ones filter nothing. An error is a *KeyError.
func New(filter, exclude, types string) (*Filter, error) {
	f := new(Filter)
	var err error
	if f.keep, err = patterns(filter); err != nil {
		return nil, &KeyError{"filter", err}
	}
	// An empty pattern matches everything. That is a way to say "and then the others", but nobody means
	// to exclude all.
	if f.drop, err = patterns(exclude); err != nil {
		return nil, &KeyError{"exclude-filter", err}
	}
	f.drop = withoutEmpty(f.drop)
	if len(types) > maxFilter {
		return nil, &KeyError{"exclude-type", fmt.Errorf("more than %d bytes", maxFilter)}
	}
	for word := range strings.SplitSeq(types, "|") {
		if word = strings.TrimSpace(word); word != "" && len(f.types) < maxPatterns {
			f.types = append(f.types, word)
		}
	}
	return f, nil
}

// KeyError says which key is wrong.
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the key.
func (e *KeyError) Unwrap() error { return e.Err }

// Subject says what a filter looks at: the name of a node, and the word for its type.
type Subject[T any] func(node T) (name, kind string)

// Apply returns the nodes that filter keeps, those of its first pattern first, without those that are
// excluded. It is for nodes of providers, and all that the file includes without naming it.
func Apply[T any](f *Filter, nodes []T, subject Subject[T]) []T {
	if len(f.keep) == 0 {
		return Exclude(f, nodes, subject)
	}
	begin(f.keep)
	kept := make([]T, 0, len(nodes))
	taken := make([]bool, len(nodes))
	for _, p := range f.keep {
		for i, n := range nodes {
			if name, _ := subject(n); !taken[i] && f.matches(p, name) {
				taken[i] = true
				kept = append(kept, n)
			}
		}
	}
	return Exclude(f, kept, subject)
}

// Exclude returns the nodes without those that exclude-filter and exclude-type take out, in their order. It
// is for nodes that the file names one by one.
func Exclude[T any](f *Filter, nodes []T, subject Subject[T]) []T {
	begin(f.drop)
	left := make([]T, 0, len(nodes))
	for _, n := range nodes {
		if name, kind := subject(n); !f.excludes(name, kind) {
			left = append(left, n)
		}
	}
	return left
}

// begin gives patterns that were given up another chance: the machine may have been busy.
func begin(all []*pattern) {
	for _, p := range all {
		p.spent.Store(0)
	}
}

func (f *Filter) excludes(name, kind string) bool {
	for _, t := range f.types {
		if strings.EqualFold(t, kind) {
			return true
		}
	}
	for _, p := range f.drop {
		if f.matches(p, name) {
			return true
		}
	}
	return false
}

func (f *Filter) matches(p *pattern, name string) bool {
	ok, err := p.match(name)
	if err != nil && f.Slow != nil {
		f.once.Do(func() { f.Slow(fmt.Errorf("pattern %q, name %q: %w", p.text, name, err)) })
	}
	return ok
}

func patterns(list string) ([]*pattern, error) {
	if list == "" {
		return nil, nil
	}
	if len(list) > maxFilter {
		return nil, fmt.Errorf("more than %d bytes", maxFilter)
	}
	parts := strings.Split(list, "`")
	if len(parts) > maxPatterns {
		return nil, fmt.Errorf("more than %d patterns", maxPatterns)
	}
	all := make([]*pattern, len(parts))
	for i, text := range parts {
		p, err := newPattern(text)
		if err != nil && len(parts) > 1 {
			return nil, fmt.Errorf("pattern %d: %w", i+1, err)
		}
		if err != nil {
			return nil, err
		}
		all[i] = p
	}
	return all, nil
}

func withoutEmpty(all []*pattern) []*pattern {
	some := all[:0]
	for _, p := range all {
		if p.text != "" {
			some = append(some, p)
		}
	}
	return some
}
