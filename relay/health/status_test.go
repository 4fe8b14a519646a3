package health

import (
	"strings"
	"testing"
)

func TestParseStatus(t *testing.T) {
	f := func(text, want string, has, hasNot int) {
		t.Helper()
		s, err := ParseStatus(text)
		if err != nil || s.String() != want {
			t.Errorf("ParseStatus(%q) = %s, %v; want %s", text, s, err, want)
		}
		if !s.Has(has) || s.Has(hasNot) && want != "*" {
			t.Errorf("%q: %d %v, %d %v", text, has, s.Has(has), hasNot, s.Has(hasNot))
		}
	}
	f("", "*", 0, 0)
	f("*", "*", 599, 0)
	f("  * ", "*", 200, 0)
	f("/,/", "*", 200, 0)
	f("204", "204", 204, 203)
	f("200-299/404", "200-299/404", 299, 300)
	f("200,204, [301-302] /", "200/204/301-302", 302, 201)
	f("299-200", "200-299", 250, 199)
	f("[200]-[299]", "200-299", 200, 300)
	f("200 - 299", "200-299", 200, 300)
	f("0-65535", "0-65535", 65535, -1)
	f(strings.Repeat("204/", 28), strings.Repeat("204/", 27)+"204", 204, 205)

	bad := func(text, want string) {
		t.Helper()
		if s, err := ParseStatus(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseStatus(%q) = %s, %v; want %s", text, s, err, want)
		}
	}
	bad("200-299-300", "want a code up to")
	bad("-", "want a code up to")
	bad("200-", "want a code up to")
	bad("-200", "want a code up to")
	bad("2xx", `"2xx"`)
	bad("+200", "want a code up to")
	bad("200 204", "want a code up to")
	bad("**", "want a code up to")
	bad("*/200", "want a code up to")
	bad("65740", "65535") // and not 204
	bad("99999999999999999999999", "65535")
	bad(strings.Repeat("204/", 29), "at most 28")
	bad(strings.Repeat("/", 2000), "at most 1024 bytes")
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{"", "*", "200-299/404", "[ 204 ],301", "9-1", "a", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatus(text)
		if err != nil {
			return
		}
		again, err := ParseStatus(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is %s, and that is %s, %v", text, s, again, err)
		}
		for code := range 1000 {
			if s.Has(code) != again.Has(code) {
				t.Fatalf("%q and %s disagree about %d", text, s, code)
			}
		}
	})
}
