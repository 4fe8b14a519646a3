package ruleset

import "bytes"

// textLines calls line for the lines of a text that are neither blank nor comments.
func textLines(data []byte, line func(n int, text []byte) error) error {
	empty := true
	for n := 1; len(data) > 0; n++ {
		var text []byte
		text, data = cutLine(data)
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' || text[0] == '/' && bytes.HasPrefix(text, []byte("//")) {
			continue
		}
		empty = false
		if err := line(n, text); err != nil {
			return err
		}
	}
	if empty {
		return ErrEmpty
	}
	return nil
}

// cutLine parts data behind its first line; the line comes without its end.
func cutLine(data []byte) (line, rest []byte) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return data, nil
	}
	return data[:i], data[i+1:]
}
