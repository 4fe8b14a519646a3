package flow

import (
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	f := func(in, name, ip string) {
		t.Helper()
		gotName, gotIP, err := ParseHost(in)
		text := ""
		if gotIP.IsValid() {
			text = gotIP.String()
		}
		if err != nil || gotName != name || text != ip {
			t.Errorf("ParseHost(%q) = %q, %q, %v; want %q, %q", in, gotName, text, err, name, ip)
		}
	}
	f("Example.COM.", "example.com", "")
	f("bücher.example", "xn--bcher-kva.example", "")
	f("under_score.test", "under_score.test", "")
	f("1.1.1.1", "", "1.1.1.1")
	f("１.１.１.１", "", "1.1.1.1") // full-width digits
	f("1.1.1.1.", "", "1.1.1.1")
	f("2001:DB8::1", "", "2001:db8::1")
	f("[2001:db8::1]", "", "2001:db8::1")
	f("::ffff:1.2.3.4", "", "1.2.3.4")
	f("1.2.3", "1.2.3", "") // no address, and not ours to guess
	f(strings.Repeat("a.", 127)+"b", strings.Repeat("a.", 127)+"b", "")
	bad := func(in string) {
		t.Helper()
		if name, ip, err := ParseHost(in); err == nil {
			t.Errorf("ParseHost(%q) = %q, %v; want an error", in, name, ip)
		}
	}
	bad("")
	bad(".")
	bad("a..b")
	bad(".a")
	bad("a b")
	bad("a/b")
	bad("a:80")
	bad("fe80::1%eth0")
	bad("[1.2.3.4]")
	bad("a\x00b")
	bad(strings.Repeat("a", 256))
}

func FuzzParseHost(f *testing.F) {
	f.Add("Example.COM.")
	f.Add("[::1]")
	f.Add("bücher.example")
	f.Fuzz(func(t *testing.T, s string) {
		name, ip, err := ParseHost(s)
		if err != nil {
			return
		}
		if (name == "") != ip.IsValid() || len(name) > MaxHost {
			t.Fatalf("ParseHost(%q) = %q, %v", s, name, ip)
		}
		again, ip2, err := ParseHost(name)
		if name != "" && (err != nil || again != name || ip2.IsValid()) {
			t.Fatalf("ParseHost(%q) = %q, then %q, %v", s, name, again, err)
		}
	})
}
