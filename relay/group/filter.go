package group

import (
	"fmt"
	"strings"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// What a configuration may ask of filters.
const (
	maxFilter   = 16 << 10 // bytes of all patterns of one key
	maxPatterns = 64
)

// Filter says which members a group takes of those there are, and in which order. Its methods may be
// called from any goroutine.
type Filter struct {
	// Slow, where set, is told once that a pattern takes too long: names that it does so for do not
	// match. It is set before the first use.
	Slow func(error)

	keep, drop []*pattern
	types      []string
	once       sync.Once
}

// NewFilter reads the keys filter and exclude-filter, which are regular expressions separated by
// back-ticks, and exclude-type, which is words separated by "|". Empty ones filter nothing. Errors begin
// with the key.
func NewFilter(filter, exclude, types string) (*Filter, error) {
	f := new(Filter)
	var err error
	if f.keep, err = patterns(filter); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	// An empty pattern matches everything. That is a way to say "and then the others", but nobody means
	// to exclude all.
	if f.drop, err = patterns(exclude); err != nil {
		return nil, fmt.Errorf("exclude-filter: %w", err)
	}
	f.drop = withoutEmpty(f.drop)
	if len(types) > maxFilter {
		return nil, fmt.Errorf("exclude-type: more than %d bytes", maxFilter)
	}
	for word := range strings.SplitSeq(types, "|") {
		if word = strings.TrimSpace(word); word != "" && len(f.types) < maxPatterns {
			f.types = append(f.types, word)
		}
	}
	return f, nil
}

// Apply returns the members that filter keeps, those of its first pattern first, without those that are
// excluded. It is for members of providers, and all that the file includes without naming it.
func (f *Filter) Apply(members []outbound.Outbound) []outbound.Outbound {
	if len(f.keep) == 0 {
		return f.Exclude(members)
	}
	begin(f.keep)
	kept := make([]outbound.Outbound, 0, len(members))
	taken := make([]bool, len(members))
	for _, p := range f.keep {
		for i, m := range members {
			if !taken[i] && f.matches(p, m.Info().Name) {
				taken[i] = true
				kept = append(kept, m)
			}
		}
	}
	return f.Exclude(kept)
}

// Exclude returns the members without those that exclude-filter and exclude-type take out, in their
// order. It is for members that the file names one by one.
func (f *Filter) Exclude(members []outbound.Outbound) []outbound.Outbound {
	begin(f.drop)
	left := make([]outbound.Outbound, 0, len(members))
	for _, m := range members {
		if !f.excludes(m.Info()) {
			left = append(left, m)
		}
	}
	return left
}

// begin gives patterns that were given up another chance: the machine may have been busy.
func begin(all []*pattern) {
	for _, p := range all {
		p.timeouts.Store(0)
	}
}

func (f *Filter) excludes(i *outbound.Info) bool {
	for _, t := range f.types {
		if strings.EqualFold(t, i.Type) {
			return true
		}
	}
	for _, p := range f.drop {
		if f.matches(p, i.Name) {
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
