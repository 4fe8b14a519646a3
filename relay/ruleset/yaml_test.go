package ruleset

import (
	"errors"
	"strings"
	"testing"
)

func TestYAMLLines(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		got, err := linesOf(data, YAML)
		if got != want || err != nil {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
		s := scanner{line: func(int, []byte) error { return nil }}
		if err := s.scan([]byte(strings.TrimPrefix(data, "\ufeff"))); err != nil {
			t.Errorf("%q is not scanned, but parsed: %v", data, err)
		}
	}
	f("payload:\n- a\n- b\n", "2:a\n3:b")
	f("rules:\n    - a\n    - b", "2:a\n3:b")
	f("\ufeffpayload:\r\n  - a\r\n\r\n  - b\r\n", "2:a\n4:b")
	f("---\npayload:\n  - a\n", "3:a")
	// Quotes, and what they are for.
	f("payload:\n  - 'a'\n  - \"b\"\n  - '+.c'\n  - '*'\n", "2:a\n3:b\n4:+.c\n5:*")
	f(`rules:
  - 'it''s'
  - "a\\.b\"c\/d"
  - ''''
  - ''
`, "2:it's\n3:a\\.b\"c/d\n4:'\n5:")
	// Comments and blank lines, anywhere and at any depth.
	f("# 一\n\npayload: # two\n# three\n  - a # four\n      # five\n\n  -   'b#c'   # six\n  - d#e\n#\tseven", "5:a\n8:b#c\n9:d#e")
	// Other keys may stand around the list.
	f("name: my list\nversion: '1'\npayload:\n- a\nupdated: 2026-01-01 # yes\n", "4:a")
	// Both keys count.
	f("payload:\n- a\nrules:\n  - b\n", "2:a\n4:b")
	// What only looks like YAML's signs.
	f("payload:\n- -a\n- ?b\n- ::/127\n- a:b\n- DOMAIN-REGEX,^a{1,2}[b]$\n- a, b\n",
		"2:-a\n3:?b\n4:::/127\n5:a:b\n6:DOMAIN-REGEX,^a{1,2}[b]$\n7:a, b")
	f("payload:\n- 例え.jp\n- 'é'\n", "2:例え.jp\n3:é")
}

func TestYAMLTree(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		got, err := linesOf(data, YAML)
		if got != want || err != nil {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
		s := scanner{line: func(int, []byte) error { return nil }}
		if err := s.scan([]byte(data)); !errors.Is(err, errUnsure) {
			t.Errorf("the scanner is sure of %q: %v", data, err)
		}
	}
	f(`payload: [a, "b", 'c']`, "1:a\n1:b\n1:c")
	f("payload: [\n  a,\n  b\n]\n", "2:a\n3:b")
	f(`{"payload": ["a"]}`, "1:a")
	f("payload:\n\n  [ a ]\n", "3:a")
	f("\"payload\":\n- a\n", "2:a")
	f("payload :\n- a\n", "2:a")
	f("  payload:\n  - a\n", "2:a")
	// A text may go on.
	f("payload:\n- a\n- b\n  c\n- d\n", "2:a\n3:b c\n5:d")
	f("payload:\n- a\n  - b\n", "2:a - b")
	f("payload:\n- \"a\\\n  b\"\n- 'c\n  d'\n", "2:ab\n4:c d")
	f("payload:\n- a\n- |\n  b\n- >-\n  c\n", "2:a\n3:b\n\n5:c")
	f("payload:\n- \"\\x41\\u00e9\"\n", "2:Aé")
	// Anchors, aliases and tags.
	f("payload:\n- &x a\n- *x\n- !!str b\n", "2:a\n3:a\n4:b")
	f("base: &x\n- a\npayload: *x\n", "2:a")
	f("base: &x {k: [v]}\npayload:\n- a\nother: *x\n", "3:a")
	// Documents.
	f("%YAML 1.1\n---\npayload:\n- a\n", "4:a")
	f("payload:\n- a\n---\nx: 1\n---\nrules:\n- b\n...\n", "2:a\n7:b")
	f("--- # first\npayload:\n- a\n", "3:a")
	// Tabs where YAML has room for them.
	f("payload:\t# x\n- a\t# y\n", "2:a")
	f("payload:\n-\ta\n", "2:a")
	// Entries that are no text are for the reader to refuse, but an address is one.
	f("payload:\n-\n- ~\n- [a, b]\n- {a: b, c: d}\n- a: b\n- fe80::\n", "2:\n3:~\n4:[…]\n5:{…}\n6:a: b\n7:fe80::")
	f("name:\n  long: 1\npayload:\n- a\n", "4:a")
	f("name: |\n  x\n\npayload:\n- a\n", "5:a")
}

func TestYAMLRefuses(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		if got, err := linesOf(data, YAML); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
	}
	// Broken YAML names its line, where no list can be read line by line.
	f("payload: [\n", "line 2: ")
	f("payload: [a,\n- b\n", "line 2: ")
	f("payload:\n", "empty")
	f("payload:\n  @a\n", "line 2: ")
	f("@a\n- b\n", "line 1: ")
	f("other:\n- @a\n", "line 2: ")
	f("  payload:\n  - @a\n", "line 2: ")
	f("payload: [a]\nrules:\n- @a\n", "line 3: ")
	f("payload:\n- a\n- @b\npayload:\n- c\n", "line 3: ")
	f("payload:\n- a\nx: 1\n- b\n", "line 4: ")
	f("payload:\n- a\n---\n- [\n", "line 5: ")
	f("payload: ["+strings.Repeat("[", 100_000), "exceeded max depth")
	f("payload:\n- a\npayload:\n- b\n", "line 3: payload stands in line 1 already")
	// A list is what is wanted.
	f("payload: a\n", "line 1: payload is not a list")
	f("rules:\n  a: b\n", "line 1: rules is not a list")
	f("payload: |\n  - a\n", "line 1: payload is not a list")
	empty := func(data string) {
		t.Helper()
		if got, err := linesOf(data, YAML); !errors.Is(err, ErrEmpty) {
			t.Errorf("Lines(%q) = %q, %v; want ErrEmpty", data, got, err)
		}
	}
	empty("payload:\n")
	empty("payload: []\n")
	empty("payload: ~\nrules:\n")
	empty("name: x\n")
	empty("name: [x]\n")
	empty("- a\n- b\n")
	empty("404: Not Found")
	empty("just words\n")
	empty("{}")
	empty("---\n---\n")
}

// TestYAMLLoose reads lists of which some lines are no YAML.
func TestYAMLLoose(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		got, err := linesOf(data, YAML)
		if got != want || err != nil {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
		var bad *syntaxError
		if err := parseLines([]byte(data), 0, func(int, []byte) error { return nil }); !errors.As(err, &bad) {
			t.Errorf("%q is YAML: %v", data, err)
		}
	}
	// The bad line is one entry, and so are those around it.
	f("payload:\n- a\n- @b\n- c\n", "2:a\n3:@b\n4:c")
	f("payload:\n- a\n- *.b\n- +.c\n", "2:a\n3:*.b\n4:+.c")
	f("rules:\n  - a\n  - 'b\n  - c\n", "2:a\n3:'b\n4:c")
	f("payload:\n- a\n- [x\n- b\n", "2:a\n3:[x\n4:b")
	f("payload:\n- a\n- b: c: d\n- e\n", "2:a\n3:b: c: d\n4:e")
	f("payload:\n- a\n- b\x01\n", "2:a\n3:b\x01")
	f("payload:\n- a\n# \xb0\xa1\n- b\n", "2:a\n4:b")
	f("payload:\n- "+strings.Repeat("[", 20_000), "2:"+strings.Repeat("[", 20_000))
	// Quotes and comments are taken off.
	f("payload: # x\r\n- *.a # y\r\n- 'b' # z\r\n- \"c\"\r\n\r\n# -\r\n- 'it''s'\r\n- 'd' e'\r\n- #\r\n-\r\n",
		"2:*.a\n3:b\n4:c\n7:it's\n8:d' e\n9:\n10:")
	f("payload:\n- @a#b\t# c\n- 'd # e\n- \"\\x41\"\n", "2:@a#b\n3:'d\n4:\\x41")
	// Tabs, and entries that are not where the others are.
	f("payload:\n\t- a\n\t-\tb\n", "2:a\n3:b")
	f("payload:\n  - a\n\t- b\n - c\n- d\n  - e\n", "2:a\n3:- b\n4:- c\n5:- d\n6:e")
	// Lines that are no items are for the reader to refuse, but a key ends the list.
	f("payload:\n- a\nnonsense\n- b\n", "2:a\n3:nonsense\n4:b")
	f("payload:\n- a\n  b: c\n d\n- @\n", "2:a\n3:b: c\n4:d\n5:@")
	f("payload:\n- @a\nname: x\n  - b\nother: # y\n- c\n'rules' :\n  - d\n", "2:@a\n8:d")
	f("other:\n- @a\npayload:\n- b\n", "4:b")
	f("x: [\npayload:\n- b\n", "3:b")
	// Documents go on with the list.
	f("%YAML 1.2\n---\npayload:\n- |\n  a\n--- # x\npayload:\n- @b\n...\n", "4:|\n5:a\n8:@b")

	set, warnings, err := ReadDomains([]byte("payload:\n- a.test\n- @b.test\n- *.c.test\n"), YAML)
	if err != nil || strings.Join(patterns(set), " ") != "*.c.test a.test" {
		t.Fatal(set, err)
	}
	if warnings.Total != 1 || warnings.First[0].Line != 3 {
		t.Error(warnings)
	}
	_, _, err = ReadDomains([]byte("payload:\n- @a\n- [b\n"), YAML)
	if err == nil || !strings.Contains(err.Error(), "none of the 2 entries can be used; line 2: ") {
		t.Error(err)
	}
}

// TestYAMLAliases repeats a text many times.
func TestYAMLAliases(t *testing.T) {
	f := func(size, times int, want string) {
		t.Helper()
		data := []byte("x: &a " + strings.Repeat("x", size) + "\npayload:\n" + strings.Repeat("- *a\n", times))
		got := 0
		err := Lines(data, YAML, func(_ int, text []byte) error {
			got += len(text)
			return nil
		})
		if got > len(data)+spare || (err == nil) != (want == "") {
			t.Errorf("%d bytes become %d: %v", len(data), got, err)
		}
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	f(10, 5000, "")
	f(maxEntry, 1, "")
	f(maxEntry, 3, "line 5: aliases make the list larger than the file")
	f(1000, 20_000, "aliases make the list larger than the file")
	f(maxEntry+1, 1, "line 3: an entry of 65537 bytes")
	f(1<<20, 20_000, "line 3: an entry of 1048576 bytes")
	// An entry is as long in every way to read it.
	long := strings.Repeat("x", maxEntry+1)
	for _, data := range []string{"- a\n- " + long, "- [b]\n- " + long, "- @b\n- " + long} {
		if _, err := linesOf("payload:\n"+data, YAML); err == nil || !strings.Contains(err.Error(), "line 3: an entry of") {
			t.Error(err)
		}
	}
}

func TestYAMLBounds(t *testing.T) {
	f := func(data string) {
		t.Helper()
		if _, err := linesOf(data, YAML); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	}
	f("payload: [" + strings.Repeat("a,", maxTreeMarks+1) + "]")
	f("payload: {" + strings.Repeat("? ", maxTreeMarks+1) + "}")
	f("payload: [a]\n" + strings.Repeat("#", maxTreeBytes))
	f(strings.Repeat("%TAG !a! b\n", 1000) + "---\npayload: [a]\n")
	// A long list with an odd line is read line by line.
	d, bad, err := ReadDomains([]byte("payload:\n"+strings.Repeat("- a.test\n", maxTreeMarks)+"- [b]\n- !!str c.test\n- d.test\n"), YAML)
	if err != nil || d.Len() != maxTreeMarks+1 || bad.Total != 2 || bad.First[0].Line != maxTreeMarks+2 {
		t.Error(d.Len(), bad.Total, err)
	}
	// References to references do not multiply.
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += strings.ReplaceAll("C: &C [*P,*P,*P,*P,*P,*P,*P,*P,*P]\n", "C", string(c))
		bomb = strings.ReplaceAll(bomb, "P", string(c-1))
	}
	got, err := linesOf(bomb+"payload: *i\n", YAML)
	if want := strings.TrimSuffix(strings.Repeat("9:[…]\n", 9), "\n"); got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
