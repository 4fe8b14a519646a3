package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// What the parser is given. It takes some 300 bytes for each mark, and up to 1.3 KiB where it has to
// look far ahead.
const (
	maxTreeBytes = 64 << 20
	maxTreeMarks = 1 << 19
)

// spare is what aliases may add to a file, in bytes.
const spare = 64 << 10

// parseLines is yamlLines for all that YAML knows. It passes over as many entries as skip says.
// Documents after the first go on with the list. An alias stands for what it names, once for every
// time it is written; when the entries become longer by that than the file and spare bytes more, the
// file is refused. A file that is no YAML is a syntaxError, and none of it has got to line.
func parseLines(data []byte, skip int, line func(n int, text []byte) error) error {
	if len(data) > maxTreeBytes || marks(data) > maxTreeMarks {
		return errTooLarge
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	var docs []*yaml.Node
	for {
		doc := new(yaml.Node)
		err := loader.Load(doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return yamlError(data, err)
		}
		docs = append(docs, doc)
	}
	t := tree{line: line, skip: skip, left: len(data) + spare}
	for _, doc := range docs {
		if err := t.document(doc); err != nil {
			return err
		}
	}
	switch {
	case !t.found:
		return errNoList
	case t.n == 0:
		return ErrEmpty
	}
	return nil
}

var errTooLarge = errors.New("the file is too large for YAML other than lists with an entry a line")

// marks counts what a node of YAML cannot do without.
func marks(data []byte) int {
	n := bytes.Count(data, []byte(":"))
	n += bytes.Count(data, []byte(",")) + bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{"))
	n += bytes.Count(data, []byte("- ")) + bytes.Count(data, []byte("-\t"))
	n += bytes.Count(data, []byte("-\n")) + bytes.Count(data, []byte("-\r"))
	n += 10_000 * bytes.Count(data, []byte("%TAG")) // the parser compares each with all others
	return n + bytes.Count(data, []byte("?"))
}

// tree gives the entries in the documents of a file to line.
type tree struct {
	line  func(n int, text []byte) error
	skip  int
	left  int  // bytes that entries may still have
	n     int  // entries so far
	found bool // a key whose value they are
	buf   []byte
}

func (t *tree) document(doc *yaml.Node) error {
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil
	}
	at := make(map[string]int, 2) // the lines of the keys
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], named(root.Content[i+1])
		if key.Kind != yaml.ScalarNode || key.Value != "payload" && key.Value != "rules" {
			continue
		}
		if first := at[key.Value]; first != 0 {
			return fmt.Errorf("line %d: %s stands in line %d already", key.Line, key.Value, first)
		}
		at[key.Value], t.found = key.Line, true
		switch {
		case value.Kind == yaml.SequenceNode:
			if err := t.entries(value); err != nil {
				return err
			}
		case value.Kind != yaml.ScalarNode || value.ShortTag() != "!!null":
			return fmt.Errorf("line %d: %s is not a list", key.Line, key.Value)
		}
	}
	return nil
}

func (t *tree) entries(list *yaml.Node) error {
	for _, entry := range list.Content {
		t.buf = appendEntry(t.buf[:0], named(entry))
		if err := checkEntry(entry.Line, t.buf); err != nil {
			return err
		}
		if t.left -= len(t.buf); t.left < 0 {
			return fmt.Errorf("line %d: aliases make the list larger than the file", entry.Line)
		}
		if t.n++; t.n <= t.skip {
			continue
		}
		if err := t.line(entry.Line, t.buf); err != nil {
			return err
		}
	}
	return nil
}

// named is the node an alias stands for.
func named(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// appendEntry appends the text of an entry. A mapping of one key becomes what was written: an
// address such as fe80:: is one. Others become a text that is no rule.
func appendEntry(buf []byte, n *yaml.Node) []byte {
	switch {
	case n.Kind == yaml.ScalarNode:
		return append(buf, n.Value...)
	case n.Kind == yaml.SequenceNode:
		return append(buf, "[…]"...)
	case len(n.Content) != 2:
		return append(buf, "{…}"...)
	}
	key, value := n.Content[0], n.Content[1]
	if key.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
		return append(buf, "{…}"...)
	}
	buf = append(append(buf, key.Value...), ':')
	if value.Value != "" {
		buf = append(append(buf, ' '), value.Value...)
	}
	return buf
}

// syntaxError is the error of a file that is no YAML.
type syntaxError struct{ text string }

func (e *syntaxError) Error() string { return e.text }

// yamlError names the line of an error, also where the parser knows only the byte.
func yamlError(data []byte, err error) error {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return &syntaxError{fmt.Sprintf("yaml: %v", err)}
	}
	line := e.Mark.Line
	if line == 0 {
		before := data[:min(max(e.Mark.Index, 0), len(data))]
		line = 1 + bytes.Count(before, []byte("\n"))
	}
	return &syntaxError{fmt.Sprintf("yaml: line %d: %s", line, e.Message)}
}
