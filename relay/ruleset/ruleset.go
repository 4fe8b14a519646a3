// Package ruleset reads and writes rule sets: lists of domains, prefixes or rules as text or YAML,
// and the binary form .mrs of the first two. The rules of a classical set are not its concern: it
// finds their lines and no more.
//
// All that is read may come from strangers. Every reader ends after time and memory that are in
// proportion to the file, where a small binary set may have some MiB in any case; and a file that is no
// rule set is an error and never an empty set.
package ruleset

import (
	"bytes"
	"errors"
	"fmt"
)

// Behavior is what the entries of a set are.
type Behavior uint8

// The behaviors. Their numbers are those of .mrs files.
const (
	Domain    Behavior = iota // domain patterns
	IPCIDR                    // prefixes
	Classical                 // rules without a target
)

var behaviorNames = [...]string{Domain: "domain", IPCIDR: "ipcidr", Classical: "classical"}

// ParseBehavior reads the word of the configuration.
func ParseBehavior(s string) (Behavior, error) {
	for b, name := range behaviorNames {
		if s == name {
			return Behavior(b), nil
		}
	}
	return 0, fmt.Errorf("want domain, ipcidr or classical, got %q", s)
}

// String returns the word of the configuration.
func (b Behavior) String() string {
	if int(b) < len(behaviorNames) {
		return behaviorNames[b]
	}
	return "unknown"
}

// Format is how a set is written.
type Format uint8

// The formats.
const (
	YAML Format = iota // a list under payload or rules
	Text               // an entry a line
	MRS                // binary
)

var formatNames = [...]string{YAML: "yaml", Text: "text", MRS: "mrs"}

// ParseFormat reads the word of the configuration.
func ParseFormat(s string) (Format, error) {
	for f, name := range formatNames {
		if s == name {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("want yaml, text or mrs, got %q", s)
}

// String returns the word of the configuration.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return "unknown"
}

// ErrEmpty means that a file holds no entry at all.
var ErrEmpty = errors.New("the rule set is empty")

var (
	errNoList = fmt.Errorf("%w: there is no payload and no rules in it", ErrEmpty)
	errMarkup = errors.New("this is a page of HTML or XML, not a rule set")
)

// Lines calls line for every entry of a list, in order, with the number of its line in the file.
// Comments and blank lines are no entries. The text is valid during the call only; an error that
// line returns ends the reading and is returned. When Lines returns an error, what it has handed
// out until then is not a set. A list without entries is ErrEmpty.
func Lines(data []byte, f Format, line func(n int, text []byte) error) error {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("<")) {
		return errMarkup
	}
	switch f {
	case YAML:
		return yamlLines(data, line)
	case Text:
		return textLines(data, line)
	}
	return fmt.Errorf("a file of format %v has no lines", f)
}
