package rt

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{
		"", "plain", `"\/`, "\x00\x1f\x7f\b\f\n\r\t", "Япония 🇯🇵", "\xff\xfe", "a\xc3",
		"\u2028\u2029", "<&>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("AppendString(%q) = %s: %v", s, got, err)
		}
		if want := strings.ToValidUTF8(s, "\x00"); !strings.Contains(want, "\x00") && back != s {
			t.Fatalf("AppendString(%q) reads back as %q", s, back)
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(b.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if back != want {
			t.Fatalf("AppendString(%q) reads back as %q, encoding/json's as %q", s, back, want)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{
		"", "a%2Fb", "a%2fb", "100%25", "%zz", "%", "%4", "%ff", "a+b", "%D0%AF", "..", "%2E%2e", "%2525",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Unescape(s)
		want, err := url.PathUnescape(s)
		if wantOK := err == nil && utf8.ValidString(want); ok != wantOK {
			t.Fatalf("Unescape(%q) = %q, %v; want %v", s, got, ok, wantOK)
		}
		if ok && got != want {
			t.Fatalf("Unescape(%q) = %q; want %q", s, got, want)
		}
	})
}

func TestAppendTime(t *testing.T) {
	f := func(tm time.Time) {
		t.Helper()
		want, err := tm.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendTime(nil, tm); !bytes.Equal(got, want) {
			t.Fatalf("AppendTime(%v) = %s; want %s", tm, got, want)
		}
	}
	// What the family writes for "never".
	f(time.Time{})
	// Nanoseconds and a zone.
	f(time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 3*3600)))
}

func TestObject(t *testing.T) {
	f := func(raw, member string, nullable bool, want string) {
		t.Helper()
		o, err := Members([]byte(raw))
		if err == nil {
			err = o.Require(member, nullable)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Fatalf("Require(%q) in %s = %q; want %q", member, raw, got, want)
		}
	}
	// Present, in any case.
	f(`{"name":"x"}`, "name", false, "")
	f(`{"NAME":"x"}`, "name", false, "")
	// Absent.
	f(`{}`, "name", false, "name: missing")
	f(`{}`, "name", true, "name: missing")
	// Null only where it may be.
	f(`{"name":null}`, "name", false, "name: missing")
	f(`{"name":null}`, "name", true, "")
	// Not an object.
	f(`[]`, "name", false, "cannot unmarshal")
}

func TestEach(t *testing.T) {
	fail := func(raw []byte) error {
		if string(raw) == "2" {
			return Invalid("x", "bad")
		}
		return nil
	}
	var e *InvalidError
	if err := EachElement([]byte(`[1,2]`), fail); !errors.As(err, &e) || e.Member != "[1].x" {
		t.Fatalf("EachElement = %v", err)
	}
	if err := EachMember([]byte(`{"a":1,"b":2}`), fail); !errors.As(err, &e) || e.Member != "b.x" {
		t.Fatalf("EachMember = %v", err)
	}
}

func TestParseInt(t *testing.T) {
	f := func(s string, want int64, wantOK bool) {
		t.Helper()
		if n, ok := ParseInt([]byte(s)); ok != wantOK || ok && n != want {
			t.Fatalf("ParseInt(%q) = %d, %v", s, n, ok)
		}
	}
	f("1000", 1000, true)
	f("-1", -1, true)
	f("+1", 0, false)
	f("1.0", 0, false)
	f("0x10", 0, false)
	f("99999999999999999999", 0, false)
	f("abc", 0, false)
}
