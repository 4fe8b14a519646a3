package geo

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func testSites() string {
	return list("TEST",
		site(2, "suffix.test"), site(3, "Full.Test"), site(0, "keyWord"), site(1, `^re\d+\.test$`),
	) + str(9, "unknown") + num(8, 7) + list("ATTR",
		site(2, "both.test", "ads", "CN"), site(2, "ads.test", "ads"), site(2, "plain.test"),
	) + list("literal", site(2, "cn.test", "cn"), site(2, "notcn.test", "!cn")) + list("test", site(3, "merged.test"))
}

func TestList(t *testing.T) {
	s, err := OpenSites([]byte(testSites()))
	if err != nil {
		t.Fatal(err)
	}
	f := func(list, in, out string) {
		t.Helper()
		set, err := s.List(list)
		if err != nil {
			t.Errorf("List(%q): %v", list, err)
			return
		}
		for _, host := range strings.Fields(in) {
			if !set.Has(name(host)) {
				t.Errorf("List(%q) has not %s", list, host)
			}
		}
		for _, host := range append(strings.Fields(out), "") {
			if set.Has(name(host)) {
				t.Errorf("List(%q) has %q", list, host)
			}
		}
	}
	// The four types, and both entries of one name.
	f("test", "suffix.test a.suffix.test full.test a-keyword-b.test re12.test merged.test", "xsuffix.test a.full.test re.test re12.test.x a.merged.test")
	f(" Test ", "suffix.test", "other.test")
	f("!test", "other.test", "suffix.test")
	f("attr", "both.test ads.test plain.test", "other.test")
	f("attr@ads", "both.test ads.test", "plain.test")
	f("attr@ADS@cn", "both.test", "ads.test plain.test")
	f("attr@", "both.test ads.test plain.test", "")
	f("!attr@ads", "plain.test other.test", "both.test ads.test")
	f("attr@none", "", "both.test ads.test plain.test")
	// No entry has an attribute "!ads": those without "ads" are meant.
	f("attr@!ads", "plain.test", "both.test ads.test")
	f("attr@ads@!cn", "ads.test", "both.test plain.test")
	// One has "!cn" itself.
	f("literal@!cn", "notcn.test", "cn.test other.test")
	f("literal@!CN", "notcn.test", "cn.test other.test")
	f("literal@!x", "cn.test notcn.test", "")

	for _, list := range []string{"none", "!none", "", "@ads", "!"} {
		if _, err := s.List(list); !errors.Is(err, ErrNoList) {
			t.Errorf("List(%q) = %v; want ErrNoList", list, err)
		}
	}
}

func TestListSkips(t *testing.T) {
	s, err := OpenSites([]byte(list("X",
		site(2, "good.test", "a"),
		site(7, "type.test"), site(2, ""), site(0, ""), site(1, ""), site(3, "a b"), site(3, "bücher.test"),
		site(1, `(?=lookahead)`), site(1, strings.Repeat("x", maxRegex+1)), site(1, `((a{99}){9}b{900}){9}`),
		str(2),                                               // all zero: an empty keyword
		num(40, 1), str(50, "x"), "\x65abcd", "\x61abcdefgh", // unknown fields, of each wire type
	)))
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.List("x")
	if err != nil || set.Skipped != 10 || set.Domains.Len() != 1 || !set.Has(name("good.test")) || set.Has(name("other.test")) {
		t.Fatalf("List = %d names, %d skipped, %v; want 1, 10", set.Domains.Len(), set.Skipped, err)
	}
}

// TestRegexBudget: many expressions that are small to write and large to compile take bounded memory.
func TestRegexBudget(t *testing.T) {
	var entries []string
	for range 5000 {
		entries = append(entries, site(1, strings.Repeat(`\pL{900}`, 10)))
	}
	s, err := OpenSites([]byte(list("x", entries...)))
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.List("x")
	if err != nil || set.Domains.Len() == 0 || set.Skipped < 4000 {
		t.Fatalf("List = %d names, %d skipped, %v", set.Domains.Len(), set.Skipped, err)
	}
}

func TestOpenSitesBad(t *testing.T) {
	good := testSites()
	f := func(what, data string) {
		t.Helper()
		if _, err := OpenSites([]byte(data)); err == nil {
			t.Errorf("%s: want an error", what)
		}
	}
	f("nothing", "")
	f("cut short", good[:len(good)-1])
	f("cut in the first list", good[:10])
	f("text", "just some text")
	f("JSON", `{"a": 1}`)
	f("a page", "<!doctype html><html></html>")
	f("no list", str(2, "x"))
	f("only nameless lists", list(""))
	f("a group", string([]byte{1<<3 | 3}))
	f("field 0", str(0, "x"))
	f("a huge length", string([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}))
	f("a varint without end", strings.Repeat("\xff", 20))
	f("too many lists", strings.Repeat("\x0a\x00", maxLists+1))

	open := func(entry string) error {
		s, err := OpenSites([]byte(list("X", site(2, "a.test"), entry)))
		if err != nil {
			return err
		}
		_, err = s.List("x@!b")
		return err
	}
	for what, entry := range map[string]string{
		"addresses":         cidr("10.0.0.0/8"),
		"a number":          num(2, 1),
		"a domain cut":      str(2, "\x12\x05abc"),
		"an attribute cut":  str(2, str(3, "\x0a\x05abc")),
		"a number as value": str(2, num(2, 1)),
	} {
		if err := open(entry); err == nil {
			t.Errorf("%s as domain: want an error", what)
		}
	}
}

// naive is what a list has, found the slow way.
func naive(t testing.TB, s *Sites, list string) func(host string) bool {
	entries, err := s.lists.find(list)
	if err != nil {
		t.Fatal(err)
	}
	var tests []func(string) bool
	err = eachDomain(entries, func(d *domain) {
		v := strings.ToLower(string(d.value))
		switch d.kind {
		case domainKeyword:
			tests = append(tests, func(h string) bool { return strings.Contains(h, v) })
		case domainRegex:
			re := regexp.MustCompile("(?i)" + string(d.value))
			tests = append(tests, re.MatchString)
		case domainSuffix:
			tests = append(tests, func(h string) bool { return h == v || strings.HasSuffix(h, "."+v) })
		case domainFull:
			tests = append(tests, func(h string) bool { return h == v })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(host string) bool {
		for _, f := range tests {
			if f(host) {
				return true
			}
		}
		return false
	}
}

func TestRealSites(t *testing.T) {
	data := real(t, "geosite-lite.dat")
	if err := Check(GeoSiteDat, data); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSites(data)
	if err != nil {
		t.Fatal(err)
	}
	// Hosts to ask for: every name of the file, and some made of it.
	var hosts []string
	for list := range s.lists {
		set, err := s.List(list)
		if err != nil || set.Skipped > 0 {
			t.Errorf("%s: %d skipped, %v", list, set.Skipped, err)
		}
		i := 0
		for p := range set.Domains.Patterns() {
			if i++; i%40 == 0 {
				host := strings.TrimPrefix(p, "+.")
				hosts = append(hosts, host, "www."+host, "x"+host, host+".x")
			}
		}
	}
	for _, list := range []string{"cn", "google", "category-ads-all", "geolocation-!cn"} {
		set, err := s.List(list)
		if errors.Is(err, ErrNoList) {
			t.Logf("the file has no %s", list)
			continue
		}
		want := naive(t, s, list)
		hits := 0
		for _, host := range hosts {
			got := set.Has(name(host))
			if got != want(host) {
				t.Errorf("%s: Has(%s) = %v", list, host, got)
			}
			if got {
				hits++
			}
		}
		t.Logf("%s: %d names, %d of %d hosts", list, set.Domains.Len(), hits, len(hosts))
	}
}

func FuzzSites(f *testing.F) {
	f.Add([]byte(testSites()), "test")
	f.Add([]byte(testSites()), "!attr@ads@!cn")
	f.Add([]byte(list("x", site(1, "(a|b)*"))), "x")
	f.Add([]byte(list("x", cidr("10.0.0.0/8"))), "x")
	f.Fuzz(func(t *testing.T, data []byte, list string) {
		checked := Check(GeoSiteDat, data)
		s, err := OpenSites(data)
		if err != nil {
			if checked == nil {
				t.Fatalf("Check took what OpenSites did not: %v", err)
			}
			return
		}
		for name := range s.lists {
			set, err := s.List(name)
			if err != nil && checked == nil && !strings.Contains(name, "@") && !errors.Is(err, ErrNoList) {
				t.Fatalf("Check took what List(%q) did not: %v", name, err)
			}
			_ = err == nil && set.Has(nameOfHost)
		}
		if set, err := s.List(list); err == nil {
			set.Has(nameOfHost)
		}
	})
}

var nameOfHost = name("www.example.test")

func BenchmarkSites(b *testing.B) {
	data := real(b, "geosite-lite.dat")
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := OpenSites(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, list := range []string{"cn", "google"} {
		b.Run("open and list "+list, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := OpenSites(data)
				if err != nil {
					b.Fatal(err)
				}
				set, err := s.List(list)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(set.Domains.Len()), "names")
			}
		})
	}
}
