package ruleset

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// manyNames are n different names of 20 bytes with their ends of line, half of them with a sign.
func manyNames(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	tlds := []string{"com", "net", "org"}
	names := make([]string, n)
	for i := range names {
		label := fmt.Appendf(nil, "%c%06d", 'a'+r.IntN(26), i)
		for range 4 + r.IntN(4) {
			label = append(label, byte('a'+r.IntN(26)))
		}
		names[i] = string(label) + "." + tlds[r.IntN(len(tlds))]
		if i%2 == 0 {
			names[i] = "+." + names[i]
		}
	}
	return names
}

func textOf(names []string) []byte { return []byte(strings.Join(names, "\n") + "\n") }

func yamlOf(names []string) []byte {
	return []byte("payload:\n  - '" + strings.Join(names, "'\n  - '") + "'\n")
}

func mrsOf(tb testing.TB, b Behavior, text []byte) []byte {
	tb.Helper()
	out, warnings, err := Convert(b, Text, text)
	if err != nil || warnings.Total != 0 {
		tb.Fatal(warnings, err)
	}
	return out
}

const million = 1_000_000

func BenchmarkLines(b *testing.B) {
	names := manyNames(million)
	for f, data := range map[Format][]byte{Text: textOf(names), YAML: yamlOf(names)} {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Lines(data, f, func(int, []byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadDomains(b *testing.B) {
	names := manyNames(million)
	text := textOf(names)
	for f, data := range map[Format][]byte{Text: text, YAML: yamlOf(names), MRS: mrsOf(b, Domain, text)} {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				set, warnings, err := ReadDomains(data, f)
				if err != nil || set.Len() != million || warnings.Total != 0 {
					b.Fatal(set.Len(), warnings, err)
				}
			}
		})
	}
}

// manyPrefixes are n prefixes that do not touch, one of eight of them IPv6.
func manyPrefixes(n int) []byte {
	var text []byte
	for i := range n {
		if i%8 == 0 {
			text = fmt.Appendf(text, "2001:%x:%x::/48\n", i>>16, i&0xffff)
		} else {
			text = appendPrefix4(text, i)
		}
	}
	return text
}

func appendPrefix4(text []byte, i int) []byte {
	return fmt.Appendf(text, "%d.%d.%d.%d/31\n", 1+i>>22, i>>14&255, i>>6&255, i<<2&255)
}

func BenchmarkReadPrefixes(b *testing.B) {
	text := manyPrefixes(million)
	for f, data := range map[Format][]byte{Text: text, MRS: mrsOf(b, IPCIDR, text)} {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				set, warnings, err := ReadPrefixes(data, f)
				if err != nil || set.Len() != million || warnings.Total != 0 {
					b.Fatal(set.Len(), warnings, err)
				}
			}
		})
	}
}

func BenchmarkWriteDomains(b *testing.B) {
	set, _, err := ReadDomains(textOf(manyNames(million/10)), Text)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		if err := WriteDomains(&out, set, MRS); err != nil {
			b.Fatal(err)
		}
	}
}
