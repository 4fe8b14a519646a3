package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says what a Diagnostic means for the configuration.
type Severity uint8

// A configuration with an Error cannot be used. A Warning is probably a mistake, and is ignored. A
// Note says that something was read and changes nothing here.
const (
	Error Severity = iota
	Warning
	Note
)

// String returns "error", "warning" or "note".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Note:
		return "note"
	}
	return "Severity(" + strconv.Itoa(int(s)) + ")"
}

// Pos is a place in a file, both counted from 1. The zero Pos is unknown.
type Pos struct{ Line, Column int }

// Diagnostic is one thing that is to be said of a configuration. It never holds a secret, nor
// anything of the value of a key that may hold one.
type Diagnostic struct {
	Severity Severity
	File     string
	Line     int    // 0 where the place is unknown
	Column   int    // 0 where the place is unknown
	Path     string // proxies[3].port
	Message  string // want 1-65535, got 0
	Hint     string // did you mean "DOMAIN-SUFFIX"?
}

// String returns the diagnostic as one line: file, place, severity, path, message and hint.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File)
		if d.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(d.Severity.String())
	b.WriteString(": ")
	if d.Path != "" {
		b.WriteString(d.Path)
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	if d.Hint != "" {
		b.WriteString(" (" + d.Hint + ")")
	}
	return b.String()
}

// Diagnostics is all that is to be said of one configuration, sorted by place.
type Diagnostics []Diagnostic

// Err returns an *Invalid that holds d if any of d is an Error, else nil.
func (d Diagnostics) Err() error {
	for i := range d {
		if d[i].Severity == Error {
			return &Invalid{Diagnostics: d}
		}
	}
	return nil
}

// Merge appends what of more is not said yet: neither word for word, nor as an error of the same
// path at the same place.
func (d Diagnostics) Merge(more Diagnostics) Diagnostics {
	type subject struct {
		line, column int
		path         string
	}
	said, wrong := make(map[Diagnostic]bool, len(d)), make(map[subject]bool)
	for _, m := range d {
		said[m] = true
		if m.Severity == Error && m.Line > 0 {
			wrong[subject{m.Line, m.Column, m.Path}] = true
		}
	}
	for _, m := range more {
		if !said[m] && !wrong[subject{m.Line, m.Column, m.Path}] {
			d = append(d, m)
		}
	}
	d.sort()
	return d
}

func (d Diagnostics) sort() {
	slices.SortStableFunc(d, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// maxDiagnostics bounds what is kept of one configuration.
const maxDiagnostics = 1000

// Invalid says that a configuration cannot be used: every error in it.
type Invalid struct{ Diagnostics Diagnostics }

// Error gives every error a line of its own.
func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Diagnostics))
	for _, d := range e.Diagnostics {
		if d.Severity == Error {
			lines = append(lines, d.String())
		}
	}
	return strings.Join(lines, "\n")
}
