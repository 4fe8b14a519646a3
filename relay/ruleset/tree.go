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

// parseLines is yamlLines for all that YAML knows. It passes over as many entries as skip says.
// Documents after the first go on with the list. An alias stands for what it names, once for every
// time it is written, so that nothing grows beyond what is written.
func parseLines(data []byte, skip int, line func(n int, text []byte) error) error {
	if len(data) > maxTreeBytes || marks(data) > maxTreeMarks {
		return errTooLarge
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	t := tree{line: line, skip: skip}
	for {
		var doc yaml.Node
		err := loader.Load(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return yamlError(data, err)
		}
		if err := t.document(&doc); err != nil {
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
		if t.n++; t.n <= t.skip {
			continue
		}
		t.buf = appendEntry(t.buf[:0], named(entry))
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

// yamlError names the line of an error, also where the parser knows only the byte.
func yamlError(data []byte, err error) error {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return fmt.Errorf("yaml: %w", err)
	}
	line := e.Mark.Line
	if line == 0 {
		before := data[:min(max(e.Mark.Index, 0), len(data))]
		line = 1 + bytes.Count(before, []byte("\n"))
	}
	return fmt.Errorf("yaml: line %d: %s", line, e.Message)
}
