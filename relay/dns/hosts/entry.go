// Package hosts is the table of names whose addresses are known without asking a name server: those of
// the configuration, and those of the system's hosts file.
package hosts

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Entry is what is known of a name: its addresses, or another name that it stands for. One without
// either has no address now.
type Entry struct {
	Addrs []netip.Addr // not to be changed
	Alias string       // in lower case, without a trailing dot
}

// Listed is an entry as it is written: a pattern such as match.Patterns takes, whose name may also be in
// upper case or Unicode, and its addresses, or one name, or lan for the addresses of this machine.
type Listed struct {
	Pattern string
	Values  []string
}

var errValues = errors.New("want addresses, or one name")

// Check says what is wrong with an entry.
func Check(pattern string, values []string) error {
	_, err := read(Listed{pattern, values})
	return err
}

// Cycle returns the patterns of entries whose names lead in a circle, as they are written and the first
// of them also at the end, or nil. Entries that Check refuses lead nowhere.
func Cycle(entries []Listed) []string {
	var l list
	for _, e := range entries {
		_ = l.add(e)
	}
	return l.cycle()
}

// own is an entry that was read.
type own struct {
	Entry
	pattern string
	written string // the pattern as it was listed
	lan     bool   // the addresses are those of the machine
}

func read(e Listed) (own, error) {
	pattern, err := spell(e.Pattern)
	if err != nil {
		return own{}, err
	}
	if err := judge(pattern); err != nil {
		return own{}, err
	}
	o := own{pattern: pattern, written: e.Pattern}
	for _, v := range e.Values {
		name, ip, err := flow.ParseHost(v)
		switch {
		case err != nil, name != "" && (len(e.Values) > 1 || !isName(name)):
			return own{}, fmt.Errorf("%w; got %q", errValues, e.Values)
		case name == "lan":
			o.lan = true
		case name != "":
			o.Alias = name
		case !slices.Contains(o.Addrs, ip):
			o.Addrs = append(o.Addrs, ip)
		}
	}
	if len(e.Values) == 0 {
		return own{}, errValues
	}
	return o, nil
}

// isName refuses what flow.ParseHost takes for a name and is a pattern, or an address with a mistake: the
// last label of a name is no number.
func isName(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	return !strings.ContainsAny(name, "*+") && strings.Trim(last, "0123456789") != "" && judge(name) == nil
}

// judge says what is wrong with a pattern in lower case and punycode.
func judge(pattern string) error { return new(match.Patterns[bool]).Add(pattern, true) }

// spell turns a pattern as somebody wrote it into one in lower case and punycode.
func spell(pattern string) (string, error) {
	sign := ""
	for _, s := range [...]string{"+.", "*.", "."} {
		if strings.HasPrefix(pattern, s) {
			sign = s
			break
		}
	}
	name, ip, err := flow.ParseHost(pattern[len(sign):])
	if err != nil || ip.IsValid() {
		return "", match.ErrPattern
	}
	return sign + name, nil
}

// list is entries in their order, and how they are found.
type list struct {
	entries []own
	find    match.Patterns[int] // an index of entries
}

func (l *list) add(e Listed) error {
	o, err := read(e)
	if err != nil {
		return err
	}
	if err := l.find.Add(o.pattern, len(l.entries)); err != nil {
		return err
	}
	l.entries = append(l.entries, o)
	return nil
}

// next is the entry that the name of entry i leads to, or -1.
func (l *list) next(i int) int {
	if l.entries[i].Alias == "" {
		return -1
	}
	if n, ok := l.find.Find(l.entries[i].Alias); ok {
		return n
	}
	return -1
}

func (l *list) cycle() []string {
	seen := make([]int, len(l.entries)) // by which walk, from 1
	for from := range l.entries {
		i := from
		for ; i >= 0 && seen[i] == 0; i = l.next(i) {
			seen[i] = from + 1
		}
		if i < 0 || seen[i] != from+1 {
			continue // it ends, or comes to where another walk has been
		}
		way := []string{l.entries[i].written}
		for n := l.next(i); n != i; n = l.next(n) {
			way = append(way, l.entries[n].written)
		}
		return append(way, way[0])
	}
	return nil
}
