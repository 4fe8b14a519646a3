package match

import (
	"regexp"
	"strings"
	"testing"
)

// regexpOf is a pattern of Glob as a regular expression, in which a rune stands for a byte.
func regexpOf(pattern string) *regexp.Regexp {
	p := regexp.QuoteMeta(runes(pattern))
	p = strings.ReplaceAll(strings.ReplaceAll(p, `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(`(?s)^` + p + `$`)
}

// runes makes every byte a rune.
func runes(s string) string {
	all := make([]rune, len(s))
	for i := range len(s) {
		all[i] = rune(s[i])
	}
	return string(all)
}

// words are all texts of up to n of the letters.
func words(n int, letters string) []string {
	all := []string{""}
	for last := all; n > 0; n-- {
		var next []string
		for _, w := range last {
			for _, c := range letters {
				next = append(next, w+string(c))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func TestGlob(t *testing.T) {
	texts := words(5, "ab")
	for _, pattern := range words(5, "ab*?") {
		re := regexpOf(pattern)
		for _, s := range texts {
			if got, want := Glob(pattern, s), re.MatchString(s); got != want {
				t.Fatalf("Glob(%q, %q) = %v", pattern, s, got)
			}
		}
	}
	f := func(pattern, s string, want bool) {
		t.Helper()
		if got := Glob(pattern, s); got != want {
			t.Errorf("Glob(%q, %q) = %v", pattern, s, got)
		}
	}
	// The signs themselves, and bytes that are none.
	f("*", "*?", true)
	f("a?", "a*", true)
	f("a", "*", false)
	f("*.test", "a\nb.test", true)
	f(`\*`, "*", false)
	f(`[a]`, "a", false)
	// A sign is for a byte, not for a letter.
	f("?", "\u00e9", false)
	f("??", "\u00e9", true)
	f("*a", "\xff\x00a", true)
}

func FuzzGlob(f *testing.F) {
	f.Add("*.te?t", "a.test")
	f.Add("a*b*c", "aabbc")
	f.Add("\u00e9?*", "\u00e9\n")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 64 || len(s) > 256 {
			return // a regular expression takes its time
		}
		if got, want := Glob(pattern, s), regexpOf(pattern).MatchString(runes(s)); got != want {
			t.Errorf("Glob(%q, %q) = %v", pattern, s, got)
		}
	})
}
