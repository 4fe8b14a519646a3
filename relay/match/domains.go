package match

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
)

// What a record of a set of domains stands for.
const (
	itself  byte = 1 << iota // the name
	below                    // every name below it
	starred                  // there are patterns with a * for the label below it
)

// Domains is an immutable set of host names.
type Domains struct {
	t        table
	root     byte // the flags of the name above all names
	count    int  // patterns, as they were added
	keywords *Keywords
	regexes  []*regexp.Regexp
}

// ErrPattern means that a line is no domain pattern.
var ErrPattern = errors.New("want a domain such as example.org, +.example.org, .example.org or *.example.org")

// DomainsBuilder collects the patterns of a set.
type DomainsBuilder struct {
	d        Domains
	stars    []string
	keywords []string
}

// Grow prepares for size bytes of names.
func (b *DomainsBuilder) Grow(names, size int) {
	b.d.t.arena = slices.Grow(b.d.t.arena, names*headSize+size)
}

// Add adds a pattern of the family: "a.test" is that name, "+.a.test" also all names below it,
// ".a.test" only those below it, and a * is one whole label. The text is in lower case and punycode.
func (b *DomainsBuilder) Add(pattern string) error { return addPattern(b, pattern) }

// AddBytes is Add for bytes, which are not kept: it allocates nothing but the room that Grow prepares.
func (b *DomainsBuilder) AddBytes(pattern []byte) error { return addPattern(b, pattern) }

func addPattern[T string | []byte](b *DomainsBuilder, pattern T) error {
	flags, name := itself, pattern
	switch {
	case len(pattern) > 1 && pattern[0] == '+' && pattern[1] == '.':
		flags, name = itself|below, pattern[2:]
	case len(pattern) > 0 && pattern[0] == '.':
		flags, name = below, pattern[1:]
	}
	return addName(b, name, flags)
}

// Exact adds one name. It takes what Add takes without its signs.
func (b *DomainsBuilder) Exact(name string) error { return addName(b, name, itself) }

// Suffix adds a name and all names below it, as Exact takes it.
func (b *DomainsBuilder) Suffix(name string) error { return addName(b, name, itself|below) }

func addName[T string | []byte](b *DomainsBuilder, name T, flags byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	b.d.count++
	addRecord(&b.d.t, name, flags, 0)
	if bytes.IndexByte(b.d.t.arena[len(b.d.t.arena)-len(name):], '*') >= 0 {
		b.stars = append(b.stars, string(name))
	}
	return nil
}

// Keyword adds all names that contain text.
func (b *DomainsBuilder) Keyword(text string) {
	b.d.count++
	b.keywords = append(b.keywords, text)
}

// Regex adds all names in which a regular expression is found.
func (b *DomainsBuilder) Regex(re *regexp.Regexp) {
	b.d.count++
	b.d.regexes = append(b.d.regexes, re)
}

// Len is the number of patterns so far.
func (b *DomainsBuilder) Len() int { return b.d.count }

// SetLen makes n the Len of the set, where its source knows better: a binary set does not hold the
// lines it was made from, but says how many they were.
func (b *DomainsBuilder) SetLen(n int) { b.d.count = n }

// Build ends the adding.
func (b *DomainsBuilder) Build() (*Domains, error) {
	for _, name := range b.stars { // the names that have a * below them say so
		for i := 0; i < len(name); i++ {
			if name[i] != '*' {
				continue
			}
			if i+1 == len(name) {
				b.d.root |= starred
			} else {
				b.d.t.add(name[i+2:], starred, 0)
			}
		}
	}
	b.stars = nil
	d := &b.d
	if len(b.keywords) > 0 {
		keywords := NewKeywords()
		for _, k := range b.keywords {
			keywords.Add(k, 0)
		}
		keywords.Build()
		d.keywords = keywords
	}
	if err := d.t.build(func(stays, goes uint32) { d.t.arena[stays+1] |= d.t.arena[goes+1] }); err != nil {
		return nil, err
	}
	return d, nil
}

// maxStars bounds the stars of a pattern: each is one more record, and one more walk when a name is
// judged.
const maxStars = 16

// checkName refuses what no host name can look like, so that a page of HTML is no list of names.
func checkName[T string | []byte](name T) error {
	if len(name) == 0 || len(name) > 255 {
		return ErrPattern
	}
	label, stars := 0, 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return ErrPattern
			}
			label = 0
			continue
		case c == '*' && label == 0 && (i+1 == len(name) || name[i+1] == '.'):
			if stars++; stars > maxStars {
				return ErrPattern
			}
		case c <= ' ', c >= 0x7f, c == '*', c == '/', c == '<', c == '>', c == ':', c == ',', c == '"', c == '\\', c == '#', c == '+':
			return ErrPattern
		case 'A' <= c && c <= 'Z':
			return fmt.Errorf("%w, in lower case", ErrPattern)
		}
		label++
	}
	if label == 0 {
		return ErrPattern
	}
	return nil
}

// Len is the number of patterns that were added.
func (d *Domains) Len() int {
	if d == nil {
		return 0
	}
	return d.count
}

// Has says whether n is in the set.
func (d *Domains) Has(n *Name) bool {
	if n.n == 0 {
		return false
	}
	budget := maxStarWalks
	if d.root&starred != 0 && d.walkStar(n.text, len(n.text)+1, seed, &budget) {
		return true
	}
	for i := range n.n {
		off, ok := d.t.find(n.hash[i], n.suffix(i))
		if !ok {
			continue
		}
		flags, full := d.t.flags(off), n.at[i] == 0
		switch {
		case flags&itself != 0 && full, flags&below != 0 && !full:
			return true
		case flags&starred != 0 && !full:
			if d.walkStar(n.text, int(n.at[i]), hashOf(n.suffix(i)), &budget) {
				return true
			}
		}
	}
	if d.keywords != nil && d.keywords.Has(n.text) {
		return true
	}
	for _, re := range d.regexes {
		if re.MatchString(n.text) {
			return true
		}
	}
	return false
}

// maxStarWalks bounds the work that patterns with several stars can make of one name.
const maxStarWalks = 64

// walkStar looks for patterns in which a star stands for the label of name that ends before at, and
// whose rest on the right has the hash h.
func (d *Domains) walkStar(name string, at int, h uint64, budget *int) bool {
	if *budget--; *budget < 0 {
		return false
	}
	if h != seed {
		h = step(h, '.')
	}
	h = step(h, '*')
	start := strings.LastIndexByte(name[:at-1], '.') + 1 // of the label
	for at = start; ; {
		if d.probeStar(name, at, h, budget) {
			return true
		}
		if at == 0 {
			return false
		}
		for h, at = step(h, '.'), at-1; at > 0 && name[at-1] != '.'; at-- { // the next label as it is
			h = step(h, name[at-1])
		}
	}
}

// probeStar looks at the pattern with the hash h, which stands for name[at:].
func (d *Domains) probeStar(name string, at int, h uint64, budget *int) bool {
	off, ok := d.t.findPattern(finish(h), name[at:])
	if !ok {
		return false
	}
	flags := d.t.flags(off)
	switch {
	case flags&itself != 0 && at == 0, flags&below != 0 && at > 0:
		return true
	case flags&starred != 0 && at > 0:
		return d.walkStar(name, at, h, budget)
	}
	return false
}

// findPattern is find for a name that stars of a record may stand in.
func (t *table) findPattern(h uint64, name string) (off uint32, ok bool) {
	mask := uint64(len(t.slots) - 1)
	for i := range uint64(maxProbes) {
		s := t.slots[(h+i)&mask]
		if s == 0 {
			return 0, false
		}
		if s>>32 == h>>32 && matchLabels(t.name(uint32(s)-1), name) {
			return uint32(s) - 1, true
		}
	}
	return 0, false
}

// matchLabels compares label by label; a * in the pattern stands for any one.
func matchLabels(pattern []byte, name string) bool {
	p, i := 0, 0
	for p < len(pattern) && i < len(name) {
		if pattern[p] == '*' {
			p++
			for i < len(name) && name[i] != '.' {
				i++
			}
			continue
		}
		if pattern[p] != name[i] {
			return false
		}
		p++
		i++
	}
	return p == len(pattern) && i == len(name)
}

// Patterns are the names of the set as Add takes them, each once. Keywords and regular expressions
// are not among them.
func (d *Domains) Patterns() iter.Seq[string] {
	return func(yield func(string) bool) {
		for off := 0; off < len(d.t.arena); off += d.t.size(off) {
			name := string(d.t.name(uint32(off)))
			var sign string
			switch d.t.flags(uint32(off)) & (itself | below) {
			case itself | below:
				sign = "+."
			case below:
				sign = "."
			case 0:
				continue
			}
			if !yield(sign + name) {
				return
			}
		}
	}
}
