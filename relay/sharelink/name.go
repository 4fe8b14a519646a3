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
		if unicode.IsControl(r) || r == '\ufeff' || hidden(r) {
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

// hidden says whether a character shows nothing and turns what stands around it: zero width spaces and the
// marks of writing directions. Joiners make some letters and emoji.
func hidden(r rune) bool {
	return r == '\u200b' || r == '\u200e' || r == '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
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
