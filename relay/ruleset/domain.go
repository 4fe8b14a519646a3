package ruleset

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// ReadDomains reads a set of domain patterns, such as match.DomainsBuilder takes. Names may also be
// in upper case, in Unicode, in quotes or end in a dot. A set none of whose lines is a pattern is an
// error.
func ReadDomains(data []byte, f Format) (*match.Domains, Warnings, error) {
	var r domainReader
	if err := r.read(data, f); err != nil {
		return nil, r.warnings, err
	}
	if r.set.Len() == 0 {
		return nil, r.warnings, r.warnings.Err()
	}
	set, err := r.set.Build()
	return set, r.warnings, err
}

type domainReader struct {
	set      match.DomainsBuilder
	warnings Warnings
	buf      []byte
}

func (r *domainReader) read(data []byte, f Format) error {
	if f == MRS {
		return r.readMRS(data)
	}
	// An entry of text has an end of line that is not kept, one of YAML also a dash and a blank.
	spare := 1
	if f == YAML {
		spare = 3
	}
	lines := min(bytes.Count(data, []byte("\n"))+1, len(data)/(spare+1))
	r.set.Grow(lines, len(data)-lines*spare)
	return Lines(data, f, func(n int, text []byte) error {
		r.add(n, text)
		return nil
	})
}

func (r *domainReader) add(n int, text []byte) {
	if err := r.addPattern(trim(text)); err != nil {
		r.warnings.Add(n, text, err)
	}
}

func (r *domainReader) addPattern(text []byte) error {
	text = bytes.TrimSuffix(text, []byte("."))
	if len(text) > maxKey {
		return match.ErrPattern
	}
	var kinds byte
	for _, c := range text {
		kinds |= kindOf[c]
	}
	switch {
	case kinds&strange != 0:
		return match.ErrPattern
	case kinds&wide != 0:
		return r.addWide(string(text))
	case kinds&upper != 0:
		r.buf = append(r.buf[:0], text...)
		for i, c := range r.buf {
			if 'A' <= c && c <= 'Z' {
				r.buf[i] = c | 0x20
			}
		}
		text = r.buf
	}
	return r.set.AddBytes(text)
}

// trim takes blanks and quotes off both ends.
func trim(text []byte) []byte {
	for len(text) > 0 && isPadding(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && isPadding(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

func isPadding(c byte) bool { return c <= ' ' || c == '\'' || c == '"' }

// addWide adds a pattern of labels that are not ASCII; its first label may be a sign.
func (r *domainReader) addWide(pattern string) error {
	sign := ""
	for _, s := range [...]string{"+.", "*.", "."} {
		if strings.HasPrefix(pattern, s) {
			sign = s
			break
		}
	}
	name, _, err := flow.ParseHost(pattern[len(sign):])
	if err != nil || name == "" || !utf8.ValidString(pattern) {
		return match.ErrPattern
	}
	return r.set.Add(sign + name)
}

// The kinds of the bytes that a pattern is made of. Strange bytes are in no host name, but in lists
// made for other programs.
const (
	upper byte = 1 << iota
	wide
	strange
)

var kindOf = func() (kinds [256]byte) {
	for i := range kinds {
		switch c := byte(i); {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-_.*+", c) >= 0:
		case 'A' <= c && c <= 'Z':
			kinds[i] = upper
		case c >= 0x80:
			kinds[i] = wide
		default:
			kinds[i] = strange
		}
	}
	return kinds
}()
