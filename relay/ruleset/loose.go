package ruleset

import "bytes"

// hasList says whether a file that is no YAML has lists to read line by line: an entry, each list under
// its key, and no key twice.
func hasList(data []byte) bool {
	l := loose{}
	_ = l.read(data)
	return l.items > 0 && !l.other
}

// looseLines is yamlLines for a file that is no YAML, from behind the line after: in a block list under
// a key that is not indented, every line that is neither blank nor a comment is an entry. Those that
// are no items of the list are handed out with all their signs, so that the reader sees them.
func looseLines(data []byte, after int, line func(n int, text []byte) error) error {
	l := loose{line: line, after: after}
	return l.read(data)
}

// loose reads lists line by line.
type loose struct {
	line  func(n int, text []byte) error // nil for none
	after int                            // the line of the last entry that line has
	n     int                            // the number of the line that is read
	items int                            // so far
	other bool                           // there is a list, or an item of one, that is not read

	payload, rules bool   // the keys of this document so far
	list           bool   // entries may stand here
	skipped        bool   // entries of a list that is no concern of ours may stand here
	indent         []byte // the blanks before the entries of the list, or nil before the first
	buf            []byte
}

func (l *loose) read(data []byte) error {
	for len(data) > 0 {
		var text []byte
		text, data = cutLine(data)
		l.n++
		if err := l.take(trimBlanks(bytes.TrimSuffix(text, []byte("\r")))); err != nil {
			return err
		}
	}
	return nil
}

// trimBlanks takes the blanks off the end.
func trimBlanks(text []byte) []byte { return bytes.TrimRight(text, " \t") }

func (l *loose) take(text []byte) error {
	inner := bytes.TrimLeft(text, " \t")
	indent := text[:len(text)-len(inner)]
	if len(inner) == 0 || inner[0] == '#' {
		return nil
	}
	if len(indent) == 0 {
		switch name, value, ok := topKey(text); {
		case ok:
			l.key(name, value)
			return nil
		case isMarker(text): // another document
			l.payload, l.rules, l.list, l.skipped = false, false, false, false
			return nil
		}
	}
	isItem := inner[0] == '-' && (len(inner) == 1 || inner[1] == ' ' || inner[1] == '\t')
	if !l.list {
		l.other = l.other || isItem && len(indent) == 0 && !l.skipped
		return nil
	}
	if isItem && (l.indent == nil || bytes.Equal(l.indent, indent)) {
		l.indent = indent
		l.items++
		return l.give(l.entry(inner[1:]))
	}
	return l.give(inner)
}

// key takes a key of the mapping.
func (l *loose) key(name, value []byte) {
	l.list, l.indent = false, nil
	seen := &l.payload
	switch string(name) {
	case "payload":
	case "rules":
		seen = &l.rules
	default:
		l.skipped = len(value) == 0 || bytes.IndexByte([]byte("#&!"), value[0]) >= 0
		return
	}
	l.list = len(value) == 0 || value[0] == '#'
	l.other = l.other || *seen || !l.list
	*seen = true
}

func (l *loose) give(text []byte) error {
	if l.line == nil || l.n <= l.after {
		return nil
	}
	if err := checkEntry(l.n, text); err != nil {
		return err
	}
	return l.line(l.n, text)
}

// entry is the text of an entry that stands behind its dash: without the quotes around it and a comment
// behind it, and else as it is written.
func (l *loose) entry(text []byte) []byte {
	text = bytes.TrimLeft(text, " \t")
	if len(text) > 0 && (text[0] == '\'' || text[0] == '"') {
		if v, ok := scanQuoted(text); ok {
			l.buf = v.unescape(l.buf[:0])
			return l.buf
		}
	}
	for i, c := range text {
		if c == '#' && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t') {
			text = trimBlanks(text[:i])
			break
		}
	}
	return unquote(text)
}

// unquote takes a pair of quotes off.
func unquote(text []byte) []byte {
	if n := len(text); n > 1 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}

// topKey parts a line that looks like a key with or without a value.
func topKey(text []byte) (name, value []byte, ok bool) {
	for i, c := range text {
		if c == ':' && (i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\t') {
			name, value = trimBlanks(text[:i]), bytes.TrimLeft(text[i+1:], " \t")
			return unquote(name), value, len(name) > 0 && (name[0] != '-' || len(name) > 1 && name[1] > ' ')
		}
	}
	return nil, nil, false
}

// isMarker says whether a document begins or ends here.
func isMarker(text []byte) bool {
	if len(text) < 3 || len(text) > 3 && text[3] != ' ' && text[3] != '\t' {
		return false
	}
	return string(text[:3]) == "---" || string(text[:3]) == "..."
}
