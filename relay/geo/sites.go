package geo

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Sites are the lists of host names of a GeoSite.dat.
type Sites struct {
	lists lists
}

// OpenSites indexes data, which Sites keeps: nobody may change it afterwards. The names of a list are
// decoded when it is asked for.
func OpenSites(data []byte) (*Sites, error) {
	l, err := openLists(data)
	if err != nil {
		return nil, err
	}
	return &Sites{l}, nil
}

// SiteSet is a list of host names, or all names that are not on it.
type SiteSet struct {
	Domains *match.Domains
	Not     bool
	Skipped int // entries that are no name, or a regular expression that Go has not
}

// Has says whether n is in the set. No name is in no set, also where Not is true.
func (s SiteSet) Has(n *match.Name) bool {
	return n.String() != "" && s.Domains.Has(n) != s.Not
}

// List returns a list by its name: "list", "list@attribute", "list@one@two" for the entries that have
// both, and "!list" for all names but those. Case makes no difference. "list@!x" are the entries with
// the attribute "!x"; where no entry of the list has one of that name, those without "x". The error is
// ErrNoList for a list that is not there.
func (s *Sites) List(name string) (SiteSet, error) {
	list, rest, _ := strings.Cut(name, "@")
	list, not := strings.CutPrefix(strings.TrimSpace(list), "!")
	entries, err := s.lists.find(list)
	if err != nil {
		return SiteSet{}, err
	}
	wanted, err := attributes(entries, rest)
	if err != nil {
		return SiteSet{}, fmt.Errorf("%q: %w", name, err)
	}
	b := siteBuilder{regexes: match.RegexBudget{Bytes: maxRegex, Instructions: maxProgram}}
	err = eachDomain(entries, func(d *domain) {
		if d.hasAll(wanted) {
			b.add(d)
		}
	})
	if err != nil {
		return SiteSet{}, fmt.Errorf("%q: %w", name, err)
	}
	domains, err := b.names.Build()
	if err != nil {
		return SiteSet{}, fmt.Errorf("%q: %w", name, err)
	}
	return SiteSet{domains, not, b.skipped}, nil
}

// attribute is one that an entry must have, or must not have.
type attribute struct {
	key []byte
	not bool
}

// attributes reads "one@!two" as it is meant in a list of these entries.
func attributes(entries [][]byte, text string) ([]attribute, error) {
	var wanted []attribute
	for key := range strings.SplitSeq(text, "@") {
		a := attribute{key: []byte(strings.TrimSpace(key))}
		if len(a.key) == 0 {
			continue
		}
		if bare, not := bytes.CutPrefix(a.key, []byte("!")); not {
			literal := false
			err := eachDomain(entries, func(d *domain) { literal = literal || d.has(a.key) })
			if err != nil {
				return nil, err
			}
			if !literal {
				a = attribute{bare, true}
			}
		}
		wanted = append(wanted, a)
	}
	return wanted, nil
}

// The types of a domain.
const (
	domainKeyword = iota
	domainRegex
	domainSuffix
	domainFull
)

// domain is a decoded entry of a list; its bytes are those of the file.
type domain struct {
	kind  uint64
	value []byte
	keys  [][]byte // of its attributes
}

// eachDomain calls f for all domains of a list, with one that is overwritten for the next.
func eachDomain(entries [][]byte, f func(*domain)) error {
	var d domain
	for _, entry := range entries {
		r := fields{rest: entry}
		for in, ok := r.next(); ok; in, ok = r.next() {
			if in.id != 2 {
				continue
			}
			if in.wire != wireBytes {
				return errKind
			}
			if err := d.decode(in.bytes); err != nil {
				return err
			}
			f(&d)
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (d *domain) decode(message []byte) error {
	d.kind, d.value, d.keys = domainKeyword, nil, d.keys[:0]
	r := fields{rest: message}
	for f, ok := r.next(); ok; f, ok = r.next() {
		switch {
		case f.id == 1 && f.wire == wireVarint:
			d.kind = f.number
		case f.id == 2 && f.wire == wireBytes:
			d.value = f.bytes
		case f.id == 3 && f.wire == wireBytes:
			key, err := keyOf(f.bytes)
			if err != nil {
				return err
			}
			d.keys = append(d.keys, key)
		case f.id <= 3:
			return errKind
		}
	}
	return r.err
}

// keyOf is the key of an attribute. Its value does not matter, the family looks only at what is there.
func keyOf(message []byte) (key []byte, err error) {
	r := fields{rest: message}
	for f, ok := r.next(); ok; f, ok = r.next() {
		if f.id == 1 && f.wire == wireBytes {
			key = f.bytes
		}
	}
	return key, r.err
}

func (d *domain) has(key []byte) bool {
	for _, k := range d.keys {
		if bytes.EqualFold(k, key) {
			return true
		}
	}
	return false
}

func (d *domain) hasAll(wanted []attribute) bool {
	for _, a := range wanted {
		if d.has(a.key) == a.not {
			return false
		}
	}
	return true
}

// What the expressions of a list may take; once it has come to that, no more are tried.
const (
	maxRegex   = 1024    // bytes of one
	maxProgram = 1 << 19 // instructions of all
)

// siteBuilder builds the set of a list.
type siteBuilder struct {
	names   match.DomainsBuilder
	regexes match.RegexBudget
	skipped int
}

func (b *siteBuilder) add(d *domain) {
	ok := len(d.value) > 0 // an empty keyword or expression would be in every name
	if ok {
		switch d.kind {
		case domainKeyword:
			b.names.Keyword(strings.ToLower(string(d.value)))
		case domainRegex:
			ok = b.regex(string(d.value))
		case domainSuffix:
			ok = b.names.Suffix(strings.ToLower(string(d.value))) == nil
		case domainFull:
			ok = b.names.Exact(strings.ToLower(string(d.value))) == nil
		default:
			ok = false
		}
	}
	if !ok {
		b.skipped++
	}
}

// regex adds an expression if it is one, and a small one.
func (b *siteBuilder) regex(text string) bool {
	re, err := b.regexes.Compile(text)
	if err != nil {
		return false
	}
	b.names.Regex(re)
	return true
}
