package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var listSeeds = []string{
	"payload:\n  - '+.a.test'\n  - b.test # c\n",
	"# c\nname: x\nrules:\n- DOMAIN-REGEX,^a{1,2}$\n- \"a\\\\b\"\n\n- c\n",
	"payload: [a, 'b']\n",
	"payload:\n- a\n  b\n- &x c\n- *x\n---\nrules:\n- d\n",
	"payload:\n  - '+.a.test'\n  - *.b\n  - @c # d\n\t- \"e\n- f\n  - 'g' # h\n",
	"rules:\n- a\n- [b\nname: c\npayload: # d\n    - 'e' f'\n",
	"x: &a abcdefgh\npayload: [*a, *a, *a]\n",
	"---\npayload:\n- ''''\n- fe80::\n- ::1/128\n",
	"+.a.test\r\n*.b.test\n//c\n.BÜCHER.test.\n",
	"192.0.2.0/24\n2001:db8::/32,no-resolve\n::ffff:1.2.3.4\n",
}

// compareYAML reads data with the scanner and with the parser. Both must find the same entries, the
// scanner up to the line it is not sure of.
func compareYAML(t *testing.T, data []byte) {
	t.Helper()
	var scanned, parsed []string
	collect := func(to *[]string) func(int, []byte) error {
		return func(n int, text []byte) error {
			*to = append(*to, fmt.Sprintf("%d:%s", n, text))
			return nil
		}
	}
	s := scanner{line: collect(&scanned)}
	scanErr := s.scan(data)
	err := parseLines(data, 0, collect(&parsed))
	compareLines(t, data, err)
	if scanErr != nil && strings.Contains(scanErr.Error(), "want at most") {
		return
	}
	switch {
	case scanErr != nil && !errors.Is(scanErr, errUnsure):
		t.Fatalf("%q: %v", data, scanErr)
	case scanErr == nil && err != nil && (!errors.Is(err, ErrEmpty) || len(scanned) > 0):
		t.Fatalf("%q: the parser refuses what was scanned: %v", data, err)
	case scanErr == nil && !slices.Equal(scanned, parsed):
		t.Fatalf("%q: scanned %q, parsed %q", data, scanned, parsed)
	case scanErr != nil && err == nil && !slices.Equal(scanned, parsed[:min(len(scanned), len(parsed))]):
		t.Fatalf("%q: scanned %q until unsure, parsed %q", data, scanned, parsed)
	}
	if err == nil || errors.Is(err, ErrEmpty) || strings.Contains(err.Error(), "too large") {
		return
	}
	if !strings.Contains(err.Error(), "line ") {
		t.Fatalf("%q: %v names no line", data, err)
	}
}

// compareLines reads data with Lines, which must hand out no more than there is, a line once, in order,
// where the parser finds no YAML, and has no error when the parser has none.
func compareLines(t *testing.T, data []byte, parseErr error) {
	t.Helper()
	size, last := 0, 0
	err := yamlLines(data, func(n int, text []byte) error {
		var bad *syntaxError
		if errors.As(parseErr, &bad) && n <= last {
			t.Fatalf("%q: line %d is handed out behind %d", data, n, last)
		}
		last, size = n, size+len(text)
		return nil
	})
	if size > len(data)+spare {
		t.Fatalf("%d bytes become %d", len(data), size)
	}
	if parseErr == nil && err != nil {
		t.Fatalf("%q: %v, but the parser has no error", data, err)
	}
	if err != nil && !errors.Is(err, ErrEmpty) && !strings.Contains(err.Error(), "line ") {
		t.Fatalf("%q: %v names no line", data, err)
	}
}

// TestYAMLScannerAndParser compares them over files of lines that may stand together, or not.
func TestYAMLScannerAndParser(t *testing.T) {
	lines := []string{
		"payload:", "rules:", "payload: # c", "payload:\t# c", "payload: []", "payload :", "payload:x", "payload: a", "payload: |",
		`"payload":`, "name: x", "name:", "name: a: b", "x: 'y' # c", "? a", ": b", "a", "  b", "---", "--- ", "---\t", "...", "%",
		"- a", "- b", "  - a", "  - b", "    - c", " - a", "-  a  ", "- a # c", "- a #", "- a#b", "- #", "-", "- ", "-\t", "- - a",
		"- 'q'", "- 'it''s' # c", "- ''", "- '' ", "- ' a '", "- 'd", "- 'a'b", "- 'a' b", "- 'a': b", "- 'a'\t# c",
		`- "d\\" # c`, `- "\""`, `- "\x41"`, `- "d`, `- "a"#`, `- "\/ "`, "- \"\t\"",
		"- a: b", "- a:", "- a:b", "- -a", "- ?", "- ?a", "- :", "- :a", "- ::1", "- a, b", "- [a]", "- {a: b}", "- [a", "- }",
		"- *a", "- &a b", "- !x a", "- |", "- >-", "- %a", "- @a", "- `a", "- ~", "- null", "- <<", "- =",
		"- \ta", "- a\t", "-\ta", "- a\tb", "- a\t# c", "\t", "\t# c", "#\tc", "# c", "  # c", "#", "", " ", "- a\r", "- a\rb",
		"- é", "- a\u2028b", "- a\u0085b", "- \ufeffa", "- a\x00", "# \xff", "# \u2029- a", "- a\x7f", "- \U0001f600",
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 20_000 {
		var data []byte
		if r.IntN(4) > 0 {
			data = append(data, "payload:\n"...)
		}
		for range 1 + r.IntN(6) {
			data = append(append(data, lines[r.IntN(len(lines))]...), '\n')
		}
		compareYAML(t, data[:len(data)-r.IntN(2)])
	}
}

func FuzzYAML(f *testing.F) {
	for _, s := range listSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(compareYAML)
}

// FuzzDomains reads a list, and what is written of it again.
func FuzzDomains(f *testing.F) {
	for _, s := range listSeeds {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, text bool) {
		format := YAML
		if text {
			format = Text
		}
		set, warnings, err := ReadDomains(data, format)
		if err != nil {
			if set != nil {
				t.Fatal("a set and an error")
			}
			return
		}
		if set.Len() == 0 || len(warnings.First) > maxWarnings || warnings.Total < len(warnings.First) {
			t.Fatal(set.Len(), warnings)
		}
		var out bytes.Buffer
		if err := WriteDomains(&out, set, Text); err != nil {
			t.Fatal(err)
		}
		again := readDomains(t, out.Bytes(), Text)
		if !slices.Equal(patterns(again), patterns(set)) {
			t.Fatalf("%q, then %q", patterns(set), patterns(again))
		}
	})
}

// FuzzPrefixes compares what we make of a line with what netip does.
func FuzzPrefixes(f *testing.F) {
	for _, s := range listSeeds {
		f.Add([]byte(s))
	}
	f.Add([]byte("192.0.2.0/024"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = Lines(data, Text, func(_ int, text []byte) error {
			got, ok := parse4(text)
			want, err := netip.ParsePrefix(string(text))
			if ok && (err != nil || got != want) {
				t.Fatalf("parse4(%q) = %v; netip: %v, %v", text, got, want, err)
			}
			if got, ok := parsePrefix(text); err == nil && (!ok || got != want) {
				t.Fatalf("parsePrefix(%q) = %v, %v; netip: %v", text, got, ok, want)
			}
			return nil
		})
		set, _, err := ReadPrefixes(data, Text)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WritePrefixes(&out, set, Text); err != nil {
			t.Fatal(err)
		}
		if again := readPrefixes(t, out.Bytes(), Text); !slices.Equal(prefixes(again), prefixes(set)) {
			t.Fatalf("%v, then %v", prefixes(set), prefixes(again))
		}
	})
}

// FuzzTrie reads the body of a set of domains, which zstd would hide from the fuzzer.
func FuzzTrie(f *testing.F) {
	for _, all := range [][]string{{"a.test"}, {"+.a.test", "b.a.test"}, {"*.a", ".b", "+.c.*"}} {
		var w trieWriter
		w.build(keysOf(readDomains(f, textOf(all), Text)))
		f.Add(w.body())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r domainReader
		if err := r.readTrie(&fields{rest: data}, 1, minNames); err != nil || r.set.Len() == 0 {
			return
		}
		set, err := r.set.Build()
		if err != nil {
			t.Fatal(err)
		}
		var w trieWriter
		w.build(keysOf(set))
		var again domainReader
		if err := again.readTrie(&fields{rest: w.body()}, 1, minNames); err != nil || again.warnings.Total != 0 {
			t.Fatal(err, again.warnings)
		}
		second, err := again.set.Build()
		if err != nil || !slices.Equal(patterns(second), patterns(set)) {
			t.Fatalf("%q, then %q, %v", patterns(set), patterns(second), err)
		}
	})
}

// FuzzRanges reads the body of a set of prefixes.
func FuzzRanges(f *testing.F) {
	f.Add(append(make([]byte, 7), "\x01................0123456789abcdef"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r prefixReader
		if err := r.readRanges(&fields{rest: data}, 1); err != nil {
			return
		}
		body := rangesBody(r.set.Build())
		var again prefixReader
		if body == nil {
			return
		}
		if err := again.readRanges(&fields{rest: body}, 1); err != nil || again.warnings.Total != 0 {
			t.Fatal(err, again.warnings)
		}
	})
}

// FuzzMRS reads whole files.
func FuzzMRS(f *testing.F) {
	f.Add(mrsOf(f, Domain, []byte("+.a.test\nb.test")))
	f.Add(mrsOf(f, IPCIDR, []byte("192.0.2.0/24\n2001:db8::/32")))
	f.Add(fileOf(f, "MRS\x01\x00", 1, 0, "\x01", 1, 2, 1, 6, 1, "a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if set, _, err := ReadDomains(data, MRS); (err == nil) != (set.Len() > 0) {
			t.Fatal(set.Len(), err)
		}
		if set, _, err := ReadPrefixes(data, MRS); (err == nil) != (set.Len() > 0) {
			t.Fatal(set.Len(), err)
		}
	})
}
