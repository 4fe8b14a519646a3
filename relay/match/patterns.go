package match

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// ErrTwice means that a pattern has a value already, which it keeps.
var ErrTwice = errors.New("the same pattern stands before")

// Patterns finds the value that the most specific of many patterns gives to a name. A pattern is a name
// in which a * stands for any one label. "+.a.test" is a.test and all names below it, ".a.test" only
// those below it.
//
// Patterns that hold for one name are compared label by label, from the right: a label that is written
// out comes before a *, and that before the labels in place of a sign. So the longest name behind a sign
// decides, and "a.test" decides before "+.a.test". Between ".a.test" and "+.a.test" the one added first
// does.
//
// The zero Patterns has none, as has nil. Add is not to be called while others ask.
type Patterns[T any] struct {
	places []place // a tree of labels; the first is the root
	edges  map[edge]uint32
	values []T
}

// edge leads from a place to the one below it with that label.
type edge struct {
	from  uint32
	label string
}

// place is where the labels of a pattern lead to. Places and values have numbers; 0 is none.
type place struct {
	star             uint32 // the place below for a *
	exact, plus, dot uint32 // the values of the patterns that end here, by their sign
}

// below is the value of the names below the place.
func (p *place) below() uint32 {
	if p.plus == 0 || p.dot != 0 && p.dot < p.plus {
		return p.dot
	}
	return p.plus
}

// Limits of RFC 1035, in bytes, without the dot at the end.
const (
	maxPattern = 253
	maxLabel   = 63
)

// Add gives v to a pattern, whose text is in lower case and punycode. It returns ErrPattern or ErrTwice
// and then changes nothing.
func (p *Patterns[T]) Add(pattern string, v T) error {
	name, plus := strings.CutPrefix(pattern, "+.")
	if !plus {
		name = strings.TrimPrefix(pattern, ".")
	}
	if err := checkPattern(name); err != nil {
		return err
	}
	if p.places == nil {
		p.places, p.edges = make([]place, 1), make(map[edge]uint32)
	}
	at := uint32(0)
	for end := len(name); end >= 0; {
		start := strings.LastIndexByte(name[:end], '.') + 1
		at = p.grow(at, name[start:end])
		end = start - 1
	}
	value := &p.places[at].exact
	switch pattern[0] {
	case '+':
		value = &p.places[at].plus
	case '.':
		value = &p.places[at].dot
	}
	if *value != 0 {
		return ErrTwice
	}
	p.values = append(p.values, v)
	*value = uint32(len(p.values))
	return nil
}

func checkPattern(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(name) > maxPattern {
		return fmt.Errorf("%w, of at most %d bytes", ErrPattern, maxPattern)
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > maxLabel {
			return fmt.Errorf("%w, with labels of at most %d bytes", ErrPattern, maxLabel)
		}
	}
	return nil
}

// grow returns the place of label below from, and makes one where there is none.
func (p *Patterns[T]) grow(from uint32, label string) uint32 {
	e := edge{from, label}
	to := p.edges[e]
	if label == "*" {
		to = p.places[from].star
	}
	if to != 0 {
		return to
	}
	to = uint32(len(p.places))
	p.places = append(p.places, place{})
	if label == "*" {
		p.places[from].star = to
	} else {
		p.edges[e] = to
	}
	return to
}

// Len is the number of patterns.
func (p *Patterns[T]) Len() int {
	if p == nil {
		return 0
	}
	return len(p.values)
}

// Find returns the value of name, which is in lower case and has no trailing dot. ok says whether a
// pattern holds for it.
func (p *Patterns[T]) Find(name string) (v T, ok bool) {
	var b [255]byte
	if len(name) > len(b) {
		return v, false
	}
	return p.FindBytes(b[:copy(b[:], name)])
}

// FindBytes is Find for bytes, which are not kept.
func (p *Patterns[T]) FindBytes(name []byte) (v T, ok bool) {
	if p.Len() == 0 || len(name) > 255 {
		return v, false
	}
	stars := maxStarWalks
	n := p.seek(0, name, len(name), &stars)
	if n == 0 {
		return v, false
	}
	return p.values[n-1], true
}

// seek returns the number of the value for the labels name[:end], which are below the place at; an end
// of -1 is no label. It takes no more *s than stars, so that no list makes it take long: each costs at
// most one way up the name.
func (p *Patterns[T]) seek(at uint32, name []byte, end int, stars *int) uint32 {
	here := &p.places[at]
	if end < 0 {
		return cmp.Or(here.exact, here.plus)
	}
	start := bytes.LastIndexByte(name[:end], '.') + 1
	if start == end {
		return 0 // no name has an empty label
	}
	if next, ok := p.edges[edge{at, string(name[start:end])}]; ok {
		if n := p.seek(next, name, start-1, stars); n != 0 {
			return n
		}
	}
	if here.star != 0 && *stars > 0 {
		*stars--
		if n := p.seek(here.star, name, start-1, stars); n != 0 {
			return n
		}
	}
	return here.below()
}
