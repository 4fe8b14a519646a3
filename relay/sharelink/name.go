package sharelink

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds a name in bytes. The number of an equal name comes on top.
const maxName = 256

// CleanName makes a name fit to be shown: valid UTF-8, no control characters, 256 bytes at most.
func CleanName(s string) string {
	s = strings.Map(func(r rune) rune { // which yields U+FFFD for each invalid byte
		if unicode.IsControl(r) || r == '\ufeff' {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxName {
		return s
	}
	end := maxName
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimSpace(s[:end])
}

// names holds the names in use, each with the last number that was added to it.
type names map[string]int

// unique returns name, or name-01, name-02 and so on where it is in use.
func (n names) unique(name string) string {
	free := name
	for {
		if _, used := n[free]; !used {
			n[free] = 0
			return free
		}
		n[name]++
		free = fmt.Sprintf("%s-%02d", name, n[name])
	}
}
