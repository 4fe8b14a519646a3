package ruleset

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realLists are the rule sets in the folder that SWITCHYARD_DATA names, in which those of one name
// are the same set.
func realLists(tb testing.TB, pattern string) []string {
	tb.Helper()
	dir := os.Getenv("SWITCHYARD_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	files, err := filepath.Glob(filepath.Join(dir, "rulesets", filepath.FromSlash(pattern)))
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) == 0 {
		tb.Skipf("no rule sets in %s: SWITCHYARD_DATA names the folder with rulesets/%s", dir, pattern)
	}
	return files
}

// others are the same set as a list in other formats.
func others(t *testing.T, list string) map[Format][]byte {
	t.Helper()
	found := make(map[Format][]byte)
	for f, ext := range map[Format]string{YAML: ".yaml", MRS: ".mrs"} {
		data, err := os.ReadFile(strings.TrimSuffix(list, ".list") + ext)
		if err == nil {
			found[f] = data
		} else if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return found
}

// sameFile says whether ours and theirs differ in nothing but their compression.
func sameFile(t *testing.T, ours, theirs []byte) {
	t.Helper()
	a, err := decompress(ours, maxDecoded)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decompress(theirs, maxDecoded)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("our file differs from theirs: %d and %d bytes are in them", len(a), len(b))
	}
}

func TestRealDomains(t *testing.T) {
	for _, list := range realLists(t, "domain/*.list") {
		t.Run(filepath.Base(list), func(t *testing.T) {
			text, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			set := readDomains(t, text, Text)
			want := patterns(set)
			formats := others(t, list)
			if theirs := formats[MRS]; theirs != nil {
				sameFile(t, mrsOf(t, Domain, text), theirs)
			}
			for f, data := range formats {
				other := readDomains(t, data, f)
				if !slices.Equal(patterns(other), want) || other.Len() != set.Len() {
					t.Errorf("the set of %v differs: %d and %d names", f, other.Len(), set.Len())
				}
			}
		})
	}
}

func TestRealPrefixes(t *testing.T) {
	for _, list := range realLists(t, "ipcidr/*.list") {
		t.Run(filepath.Base(list), func(t *testing.T) {
			text, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			set := readPrefixes(t, text, Text)
			want := prefixes(set)
			formats := others(t, list)
			if theirs := formats[MRS]; theirs != nil {
				sameFile(t, mrsOf(t, IPCIDR, text), theirs)
			}
			for f, data := range formats {
				other := readPrefixes(t, data, f)
				if !slices.Equal(prefixes(other), want) || other.Len() != set.Len() {
					t.Errorf("the set of %v differs: %d and %d prefixes", f, other.Len(), set.Len())
				}
			}
		})
	}
}

// TestRealClassical compares the lines with those that a search for commas finds.
func TestRealClassical(t *testing.T) {
	for _, file := range realLists(t, "classical/*") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f := Text
		if filepath.Ext(file) == ".yaml" {
			f = YAML
		}
		n := 0
		err = Lines(data, f, func(_ int, text []byte) error {
			if n++; bytes.Count(text, []byte(",")) < 1 || bytes.ContainsAny(text, " '\"") {
				t.Errorf("%s: %q", file, text)
			}
			return nil
		})
		want := 0
		for l := range bytes.Lines(data) {
			if bytes.IndexByte(l, ',') >= 0 {
				want++
			}
		}
		if err != nil || n != want {
			t.Errorf("%s: %d of %d lines: %v", file, n, want, err)
		}
	}
}

func BenchmarkReal(b *testing.B) {
	for _, file := range realLists(b, "[di]*/[cg]*") {
		data, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		dir, name := filepath.Split(file)
		behavior := filepath.Base(dir)
		f := map[string]Format{".list": Text, ".yaml": YAML, ".mrs": MRS}[filepath.Ext(file)]
		b.Run(behavior+"/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if behavior == "domain" {
					_, _, err = ReadDomains(data, f)
				} else {
					_, _, err = ReadPrefixes(data, f)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
