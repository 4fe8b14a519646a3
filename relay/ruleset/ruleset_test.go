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

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// linesOf is what Lines finds, an entry a line as number:text.
func linesOf(data string, f Format) (string, error) {
	var got []string
	err := Lines([]byte(data), f, func(n int, text []byte) error {
		got = append(got, fmt.Sprintf("%d:%s", n, text))
		return nil
	})
	return strings.Join(got, "\n"), err
}

func patterns(d *match.Domains) []string { return slices.Sorted(d.Patterns()) }

func prefixes(p *match.Prefixes) []netip.Prefix { return slices.Collect(p.All()) }

func readDomains(t testing.TB, data []byte, f Format) *match.Domains {
	t.Helper()
	set, warnings, err := ReadDomains(data, f)
	if err != nil || warnings.Total != 0 {
		t.Fatalf("ReadDomains: %v, %v", warnings, err)
	}
	return set
}

func readPrefixes(t testing.TB, data []byte, f Format) *match.Prefixes {
	t.Helper()
	set, warnings, err := ReadPrefixes(data, f)
	if err != nil || warnings.Total != 0 {
		t.Fatalf("ReadPrefixes: %v, %v", warnings, err)
	}
	return set
}

func TestWords(t *testing.T) {
	for _, b := range []Behavior{Domain, IPCIDR, Classical} {
		if got, err := ParseBehavior(b.String()); got != b || err != nil {
			t.Errorf("ParseBehavior(%v) = %v, %v", b, got, err)
		}
	}
	for _, f := range []Format{YAML, Text, MRS} {
		if got, err := ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("ParseFormat(%v) = %v, %v", f, got, err)
		}
	}
	_, err := ParseBehavior("domains")
	if err == nil || err.Error() != `want domain, ipcidr or classical, got "domains"` {
		t.Error(err)
	}
	_, err = ParseFormat("")
	if err == nil || err.Error() != `want yaml, text or mrs, got ""` {
		t.Error(err)
	}
}

func TestTextLines(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		got, err := linesOf(data, Text)
		if got != want || err != nil {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
	}
	f("a\nb\n", "1:a\n2:b")
	// The last line needs no end, and an end may be that of DOS.
	f("a\r\nb", "1:a\n2:b")
	// What stands before and behind an entry is not of it.
	f("\ufeff  a \t\n\tb", "1:a\n2:b")
	// Comments and blank lines are no entries, but count.
	f("# x\n\n // y\n  #z\n \t \na", "6:a")
	// A slash alone is no comment, and nothing is one inside a line.
	f("/a\na # b\na//b", "1:/a\n2:a # b\n3:a//b")
}

func TestLinesRefuses(t *testing.T) {
	f := func(data string, format Format, want string) {
		t.Helper()
		if got, err := linesOf(data, format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Lines(%q) = %q, %v; want %q", data, got, err, want)
		}
	}
	for _, format := range []Format{Text, YAML} {
		f("", format, "empty")
		f("# nothing\n\n", format, "empty")
		f("\ufeff\n<!DOCTYPE html>\n<p>\nlogin\n", format, "HTML")
		f("<html>", format, "HTML")
	}
	f("a", MRS, "no lines")
	stop := errors.New("stop")
	n := 0
	err := Lines([]byte("a\nb\n"), Text, func(int, []byte) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("Lines = %v after %d lines", err, n)
	}
}

func TestReadDomains(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		set, _, err := ReadDomains([]byte(line), Text)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		} else if got := strings.Join(patterns(set), " "); got != want {
			t.Errorf("%q = %q; want %q", line, got, want)
		}
	}
	f("example.org", "example.org")
	f("+.example.org", "+.example.org")
	f(".example.org", ".example.org")
	f("*.example.org", "*.example.org")
	f("a.*.example.org", "a.*.example.org")
	f("*", "*")
	f("localhost", "localhost")
	// A name and all that is below it are one pattern.
	f("example.org\n.example.org", "+.example.org")
	// Spellings are made one.
	f("ExAmPlE.Org.", "example.org")
	f("+.EXAMPLE.ORG", "+.example.org")
	f("'+.example.org'", "+.example.org")
	f(`"example.org"`, "example.org")
	f("bücher.example", "xn--bcher-kva.example")
	f("+.Bücher.example.", "+.xn--bcher-kva.example")
	f("*.例え.jp", "*.xn--r8jz45g.jp")
	f(".例え.jp", ".xn--r8jz45g.jp")
	f("_dmarc.exa_mple.org", "_dmarc.exa_mple.org")
	f(strings.Repeat("a.", 127)+"b", strings.Repeat("a.", 127)+"b")

	bad := func(line string) {
		t.Helper()
		set, warnings, err := ReadDomains([]byte(line), Text)
		if set != nil || err == nil || errors.Is(err, ErrEmpty) || warnings.Total != 1 {
			t.Errorf("%q = %v, %v, %v", line, set, warnings, err)
		}
	}
	bad("a..b")
	bad(".")
	bad("+.")
	bad("''")
	bad("+.+.a")
	bad("a*.b")
	bad("a b")
	bad("DOMAIN-SUFFIX,example.org")
	bad("https://example.org/")
	bad("||example.org^")
	bad("@@||example.org^")
	bad("[Adblock Plus]")
	bad("a.b # why")
	bad("bü cher.example")
	bad("１.１.１.１")
	bad("a.\xff.b")
	bad("\x00")
	bad(strings.Repeat("a.", 128) + "b")
	bad(strings.Repeat("ä", 1000))
}

func TestReadPrefixes(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		set, _, err := ReadPrefixes([]byte(lines), Text)
		if err != nil {
			t.Errorf("%q: %v", lines, err)
		} else if got := fmt.Sprint(prefixes(set)); got != "["+want+"]" {
			t.Errorf("%q = %s; want %s", lines, got, want)
		}
	}
	f("192.0.2.0/24", "192.0.2.0/24")
	f("0.0.0.0/0\n::/0", "0.0.0.0/0 ::/0")
	f("2001:DB8::/32", "2001:db8::/32")
	// An address is a prefix of one.
	f("192.0.2.1\n2001:db8::1", "192.0.2.1/32 2001:db8::1/128")
	// The host's bits do not count, and IPv4 inside IPv6 is IPv4.
	f("192.0.2.77/24", "192.0.2.0/24")
	f("::ffff:192.0.2.0/120", "192.0.2.0/24")
	f("192.0.2.0/24,no-resolve\n2001:db8::/32 , NO-RESOLVE", "192.0.2.0/24 2001:db8::/32")
	f("'192.0.2.0/24'", "192.0.2.0/24")
	// Neighbours become one.
	f("192.0.2.128/25\n192.0.2.0/25", "192.0.2.0/24")

	bad := func(line string) {
		t.Helper()
		set, warnings, err := ReadPrefixes([]byte(line), Text)
		if set != nil || err == nil || errors.Is(err, ErrEmpty) || warnings.Total != 1 {
			t.Errorf("%q = %v, %v, %v", line, set, warnings, err)
		}
	}
	bad("192.0.2.0/33")
	bad("192.0.2.0/024")
	bad("192.0.02.0/24")
	bad("192.0.256.0/24")
	bad("192.0.2/24")
	bad("192.0.2.0/")
	bad("192.0.2.0/24/1")
	bad("192.0.2.0/24,DIRECT")
	bad("fe80::1%eth0")
	bad("fe80::%eth0/10")
	bad("example.org")
	bad(",no-resolve")
	bad(strings.Repeat("1", 1000))
}

func TestWarnings(t *testing.T) {
	good := "example.org\n"
	long := strings.Repeat("x y", 40)
	set, warnings, err := ReadDomains([]byte(good+long+"\n"+strings.Repeat("a..b\n", 500)), Text)
	if err != nil || set.Len() != 1 {
		t.Fatal(set.Len(), err)
	}
	if warnings.Total != 501 || len(warnings.First) != 100 {
		t.Fatalf("%d of %d warnings are kept", len(warnings.First), warnings.Total)
	}
	want := Warning{2, fmt.Sprintf("%q…: %v", long[:80], match.ErrPattern)}
	if warnings.First[0] != want {
		t.Errorf("got %+v, want %+v", warnings.First[0], want)
	}
	_, _, err = ReadPrefixes([]byte("# x\na\nb\n"), Text)
	if err == nil || !strings.HasPrefix(err.Error(), `none of the 2 entries can be used; line 2: "a": want a prefix`) {
		t.Error(err)
	}
	if _, _, err = ReadDomains(nil, Text); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
}

// randomPatterns are patterns of few letters, so that they touch each other in many ways.
func randomPatterns(r *rand.Rand) []string {
	labels := []string{"a", "b", "ab", "ba", "a-b", "*", "0", "xn--a"}
	signs := []string{"", "", "+.", ".", "*."}
	var all []string
	for range 1 + r.IntN(60) {
		name := labels[r.IntN(len(labels))]
		for range r.IntN(4) {
			name += "." + labels[r.IntN(len(labels))]
		}
		all = append(all, signs[r.IntN(len(signs))]+name)
	}
	return all
}

func TestDomainsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 25 { // a writer of zstd takes its time to set up
		all := randomPatterns(r)
		text := readDomains(t, textOf(all), Text)
		want := patterns(text)
		if got := patterns(readDomains(t, yamlOf(all), YAML)); !slices.Equal(got, want) {
			t.Fatalf("yaml of %q: got %q, want %q", all, got, want)
		}
		var mrs, again bytes.Buffer
		if err := WriteDomains(&mrs, text, MRS); err != nil {
			t.Fatal(err)
		}
		set := readDomains(t, mrs.Bytes(), MRS)
		if got := patterns(set); !slices.Equal(got, want) || set.Len() != len(all) {
			t.Fatalf("mrs of %q: got %d: %q, want %q", all, set.Len(), got, want)
		}
		back, _, err := Convert(Domain, MRS, mrs.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := patterns(readDomains(t, back, Text)); !slices.Equal(got, want) {
			t.Fatalf("text of mrs of %q: got %q, want %q", all, got, want)
		}
		if err := WriteDomains(&again, set, MRS); err != nil || !bytes.Equal(again.Bytes(), mrs.Bytes()) {
			t.Fatalf("mrs of %q is not the same when written again: %v", all, err)
		}
	}
}

func randomPrefixes(r *rand.Rand) []string {
	var all []string
	for range 1 + r.IntN(60) {
		var b [16]byte
		for i := range b {
			b[i] = byte(1<<r.IntN(8)) * byte(r.IntN(2)) // few bits, so that prefixes meet
		}
		a := netip.AddrFrom16(b)
		switch r.IntN(4) {
		case 0, 1:
			a = netip.AddrFrom4([4]byte(b[:]))
		case 2:
			a = netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: b[0], 13: b[1]})
		}
		all = append(all, netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).String())
	}
	return all
}

// asked are the addresses in a set that somebody may ask for: IPv4 inside IPv6 is asked for as IPv4.
func asked(p *match.Prefixes) string {
	var all []string
	for first, last := range p.Ranges() {
		if last.Is4In6() {
			last = lastUnmapped
		}
		all = append(all, fmt.Sprint(first, "-", last))
	}
	return strings.Join(all, " ")
}

func TestPrefixesRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 25 { // a writer of zstd takes its time to set up
		all := randomPrefixes(r)
		text := readPrefixes(t, textOf(all), Text)
		if got := prefixes(readPrefixes(t, yamlOf(all), YAML)); !slices.Equal(got, prefixes(text)) {
			t.Fatalf("yaml of %q: got %v", all, got)
		}
		var mrs bytes.Buffer
		if err := WritePrefixes(&mrs, text, MRS); err != nil {
			t.Fatal(err)
		}
		set := readPrefixes(t, mrs.Bytes(), MRS)
		if got := asked(set); got != asked(text) || set.Len() != len(all) {
			t.Fatalf("mrs of %q: got %s, want %s", all, got, asked(text))
		}
		back, _, err := Convert(IPCIDR, MRS, mrs.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := asked(readPrefixes(t, back, Text)); got != asked(text) {
			t.Fatalf("text of mrs of %q: got %s, want %s", all, got, asked(text))
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	_, _, err := Convert(Classical, Text, []byte("MATCH"))
	if err == nil || !strings.Contains(err.Error(), "classical") {
		t.Error(err)
	}
	if _, _, err := Convert(Domain, Text, []byte("a..b")); err == nil {
		t.Error("a set without a name was converted")
	}
	set := readDomains(t, []byte("a.test"), Text)
	if err := WriteDomains(&bytes.Buffer{}, set, YAML); err == nil {
		t.Error("yaml was written")
	}
}
