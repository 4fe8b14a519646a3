package geo

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoList means that a file has no list of the name that was asked for.
var ErrNoList = errors.New("no such list")

// maxLists bounds the index of a file; real ones have less than two thousand.
const maxLists = 100_000

// lists are the entries of a .dat file by their name in lower case. Both kinds of file are alike down
// to the name: a message of entries, and in each the name is field 1 and the contents are field 2.
type lists map[string][][]byte

// openLists indexes data without a look at what the entries contain.
func openLists(data []byte) (lists, error) {
	l := make(lists)
	n := 0
	r := fields{rest: data}
	for f, ok := r.next(); ok; f, ok = r.next() {
		if f.id != 1 || f.wire != wireBytes {
			continue
		}
		if n++; n > maxLists {
			return nil, fmt.Errorf("more than %d lists", maxLists)
		}
		name, err := nameOf(f.bytes)
		if err != nil {
			return nil, err
		}
		if name != "" {
			l[name] = append(l[name], f.bytes)
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if len(l) == 0 {
		return nil, errors.New("it has no lists")
	}
	return l, nil
}

// nameOf is the name of an entry, which stands at its beginning in all files we know.
func nameOf(entry []byte) (string, error) {
	r := fields{rest: entry}
	for f, ok := r.next(); ok; f, ok = r.next() {
		if f.id == 1 && f.wire == wireBytes {
			return strings.ToLower(string(f.bytes)), nil
		}
	}
	return "", r.err
}

func (l lists) find(name string) ([][]byte, error) {
	entries, ok := l[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, ErrNoList)
	}
	return entries, nil
}
