package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// yamlLines calls line for the entries of the lists under payload and rules.
//
// Lists that look as nearly all do are scanned line by line, without a tree. At the first line the
// scanner is not sure of, the file is parsed instead, and the parser goes on with the entry that
// the scanner came to. What is no YAML is read line by line from there, if it has a list that can be.
func yamlLines(data []byte, line func(n int, text []byte) error) error {
	s := scanner{line: line}
	err := s.scan(data)
	switch {
	case errors.Is(err, errUnsure):
		err = parseLines(data, s.given, line)
		var bad *syntaxError
		switch {
		case (errors.As(err, &bad) || errors.Is(err, errTooLarge)) && hasList(data):
			return looseLines(data, s.last, line) // a line that is odd costs that line
		case errors.Is(err, errTooLarge):
			return fmt.Errorf("line %d: %w", s.n, err)
		}
		return err
	case err != nil:
		return err
	case !s.payload && !s.rules:
		return errNoList
	case s.given == 0:
		return ErrEmpty
	}
	return nil
}

// maxEntry is the longest entry of YAML, in bytes; no rule is as long by far.
const maxEntry = 64 << 10

// checkEntry refuses an entry that is too long.
func checkEntry(n int, text []byte) error {
	if len(text) > maxEntry {
		return fmt.Errorf("line %d: an entry of %d bytes, want at most %d", n, len(text), maxEntry)
	}
	return nil
}

// errUnsure means that a line may be YAML or not; the parser knows.
var errUnsure = errors.New("a line that only a parser can read")

// scanner reads the YAML of a mapping, all of whose values are scalars that stand on the line of
// their key, but for the block lists under payload and rules. Where it gives an entry to line, a
// parser would find the same one or an error in a later line.
type scanner struct {
	line   func(n int, text []byte) error
	given  int    // entries that line has got
	last   int    // the line of the last of them
	n      int    // the number of the line that is read
	begun  bool   // something was there that is no comment
	list   bool   // entries may stand here
	indent int    // of the entries of the list, or -1 before the first
	held   scalar // the last entry: until the next line is seen, its text may go on
	heldAt int    // its line, or 0 for none
	buf    []byte

	payload, rules bool // the keys that were there
}

// scalar is a text on one line.
type scalar struct {
	text   []byte // without its quotes, and with its escapes
	quote  byte   // ' or ", or 0
	escape bool   // there are escapes in it
}

func (s *scanner) scan(data []byte) error {
	for len(data) > 0 {
		var text []byte
		text, data = cutLine(data)
		s.n++
		if err := s.take(bytes.TrimSuffix(text, []byte("\r"))); err != nil {
			return err
		}
	}
	return s.flush()
}

func (s *scanner) take(text []byte) error {
	indent := 0
	for indent < len(text) && text[indent] == ' ' {
		indent++
	}
	text = text[indent:]
	switch {
	case len(text) == 0:
		return nil
	case !readable(text):
		return errUnsure
	case text[0] == '#':
		return nil
	case len(text) > 1 && text[0] == '-' && text[1] == ' ':
		return s.entry(indent, text[2:])
	case indent == 0:
		return s.key(text)
	}
	return errUnsure
}

// entry takes what follows the dash of an entry.
func (s *scanner) entry(indent int, text []byte) error {
	if !s.list || s.indent >= 0 && s.indent != indent {
		return errUnsure
	}
	if err := s.flush(); err != nil {
		return err
	}
	v, ok := scanScalar(text)
	if !ok || len(v.text) == 0 && v.quote == 0 {
		return errUnsure
	}
	s.indent, s.held, s.heldAt = indent, v, s.n
	return nil
}

// key takes a line of the mapping, or the beginning of the document.
func (s *scanner) key(text []byte) error {
	if string(text) == "---" && !s.begun {
		s.begun = true
		return nil
	}
	name, rest, ok := bytes.Cut(text, []byte(":"))
	if !ok || !isWord(name) || len(rest) > 0 && rest[0] != ' ' {
		return errUnsure
	}
	if err := s.flush(); err != nil {
		return err
	}
	v, ok := scanScalar(rest)
	if !ok {
		return errUnsure
	}
	isPayload, isRules := string(name) == "payload", string(name) == "rules"
	isList, isEmpty := isPayload || isRules, len(v.text) == 0 && v.quote == 0
	if isPayload && s.payload || isRules && s.rules || isList != isEmpty {
		return errUnsure
	}
	s.begun, s.list, s.indent = true, isList, -1
	s.payload, s.rules = s.payload || isPayload, s.rules || isRules
	return nil
}

// flush gives the entry that was held back to line.
func (s *scanner) flush() error {
	if s.heldAt == 0 {
		return nil
	}
	text, n := s.held.text, s.heldAt
	s.heldAt = 0
	if s.held.escape {
		s.buf = s.held.unescape(s.buf[:0])
		text = s.buf
	}
	if err := checkEntry(n, text); err != nil {
		return err
	}
	s.given, s.last = s.given+1, n
	return s.line(n, text)
}

// unescape appends the text to buf as it is meant.
func (v *scalar) unescape(buf []byte) []byte {
	escape := byte('\\')
	if v.quote == '\'' {
		escape = '\''
	}
	for i := 0; i < len(v.text); i++ {
		if v.text[i] == escape { // stands before a character that means itself
			i++
		}
		buf = append(buf, v.text[i])
	}
	return buf
}

// scanScalar reads what stands behind a dash or a colon. The scalar is empty where only a comment
// or nothing is there; ok is false for all that is not surely a text or goes on in the next line.
func scanScalar(text []byte) (v scalar, ok bool) {
	text = bytes.TrimLeft(text, " ")
	if len(text) == 0 || text[0] == '#' {
		return scalar{}, true
	}
	switch text[0] {
	case '\'', '"':
		return scanQuoted(text)
	case ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '%', '@', '`':
		return scalar{}, false
	case '-', '?':
		if len(text) == 1 || text[1] == ' ' {
			return scalar{}, false
		}
	}
	return scanPlain(text)
}

func scanPlain(text []byte) (v scalar, ok bool) {
	for i, c := range text {
		switch {
		case c == ':' && (i+1 == len(text) || text[i+1] == ' '), c == '\t':
			return scalar{}, false
		case c == '#' && text[i-1] == ' ':
			return scalar{text: bytes.TrimRight(text[:i], " ")}, true
		}
	}
	return scalar{text: bytes.TrimRight(text, " ")}, true
}

func scanQuoted(text []byte) (v scalar, ok bool) {
	v.quote = text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case isEscape(text[i:], v.quote):
			v.escape = true
			i++
		case text[i] == v.quote:
			v.text = text[1:i]
			return v, isBlank(text[i+1:])
		case text[i] == '\t', text[i] == '\\' && v.quote == '"':
			return scalar{}, false
		}
	}
	return scalar{}, false
}

// isEscape says whether text begins with two bytes that stand for the second of them. In double
// quotes there are other escapes, which are for the parser.
func isEscape(text []byte, quote byte) bool {
	if len(text) < 2 {
		return false
	}
	if quote == '\'' {
		return text[0] == '\'' && text[1] == '\''
	}
	return text[0] == '\\' && (text[1] == '\\' || text[1] == '"' || text[1] == '/')
}

// isBlank says whether nothing but a comment follows.
func isBlank(text []byte) bool {
	after := bytes.TrimLeft(text, " ")
	return len(after) == 0 || after[0] == '#' && len(after) < len(text)
}

// isWord says whether a key is a plain word.
func isWord(s []byte) bool {
	for _, c := range s {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(s) > 0 && s[0] > '9' // a letter, or _
}

// readable says whether a line has no character that ends a line in YAML, or is refused there.
func readable(text []byte) bool {
	wide := false
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		wide = wide || c >= utf8.RuneSelf
	}
	return !wide || readableWide(text)
}

func readableWide(text []byte) bool {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1, r >= 0x80 && r < 0xa0:
			return false
		case r == '\u2028', r == '\u2029', r == '\ufeff', r == '\ufffe', r == '\uffff':
			return false
		}
		text = text[size:]
	}
	return true
}
