package filter_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/switchyard-proxy/switchyard/relay/filter"
)

type node struct{ kind, name string }

func subject(n node) (name, kind string) { return n.name, n.kind }

// typed makes a node for each of "type:name", separated by commas.
func typed(list string) (nodes []node) {
	for word := range strings.SplitSeq(list, ",") {
		kind, name, _ := strings.Cut(word, ":")
		nodes = append(nodes, node{kind, name})
	}
	return nodes
}

func TestFilter(t *testing.T) {
	const all = "Vmess:US 1,Trojan:HK 1,Shadowsocks:🇺🇸 US 2 expired,Http:HK 2 x10,Direct:other"
	f := func(keep, exclude, types, want string) {
		t.Helper()
		x, err := filter.New(keep, exclude, types)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range filter.Apply(x, typed(all), subject) {
			got = append(got, m.name)
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%q, %q, %q: %q; want %q", keep, exclude, types, got, want)
		}
	}
	f("", "", "", "US 1,HK 1,🇺🇸 US 2 expired,HK 2 x10,other")
	f("US", "", "", "US 1,🇺🇸 US 2 expired")
	f("HK`US", "", "", "HK 1,HK 2 x10,US 1,🇺🇸 US 2 expired") // in the order of the patterns
	f("2`HK", "", "", "🇺🇸 US 2 expired,HK 2 x10,HK 1")       // each once, where it matches first
	f("other`", "", "", "other,US 1,HK 1,🇺🇸 US 2 expired,HK 2 x10")
	f("(?i)us", "", "", "US 1,🇺🇸 US 2 expired")
	f("us", "", "", "")
	f("", "expired`x10", "", "US 1,HK 1,other")
	f("", "`", "", "US 1,HK 1,🇺🇸 US 2 expired,HK 2 x10,other") // nobody means to exclude all
	f("", "", "vmess|SHADOWSOCKS | nothing|", "HK 1,HK 2 x10,other")
	f("US", "expired", "Vmess", "")
	f("^(?!.*(expired|x10))", "", "", "US 1,HK 1,other") // lookaround
	f(`(?<=\bx)\d+$`, "", "", "HK 2 x10")
	f(`^(?=.*HK)(?!.*x\d).*$`, "", "", "HK 1")
	f(`^(\S)\1`, "", "", "") // a reference backwards
	f(`(\w)\1`, "", "", "")
	f(`^\W+ US`, "", "", "🇺🇸 US 2 expired")
}

// TestExclude leaves what the file names one by one to filter, and takes out what is excluded.
func TestExclude(t *testing.T) {
	x, err := filter.New("nothing", "HK", "Direct")
	if err != nil {
		t.Fatal(err)
	}
	got := filter.Exclude(x, typed("Vmess:US,Vmess:HK,Direct:d,Trojan:US"), subject)
	if len(got) != 2 || got[0] != (node{"Vmess", "US"}) || got[1] != (node{"Trojan", "US"}) {
		t.Error(got)
	}
}

// TestPatternsAreOfDotNet where the two kinds differ: letters and digits are those of Unicode.
func TestPatternsAreOfDotNet(t *testing.T) {
	f := func(pattern, name string, want bool) {
		t.Helper()
		x, err := filter.New(pattern, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := len(filter.Apply(x, typed("x:"+name), subject)) == 1; got != want {
			t.Errorf("%s in %q: %v", pattern, name, got)
		}
	}
	f(`^\w+$`, "香港", true)
	f(`\bUS\b`, "美国US", false)
	f(`^\d$`, "٣", true)
	f(`^[a-z-[aeiou]]+$`, "xyz", true)
	f(`^[a-z-[aeiou]]+$`, "a", false)
	f(`香港|台湾`, "🇭🇰 香港 01", true)
	f(`^(?:.{1000}){1000}$`, "short", false) // too much for the one, nothing to the other
	f(`\.`, "a.b", true)
	f(`[\[\]]`, "a[b", true)
}

func TestFilterErrors(t *testing.T) {
	f := func(keep, exclude, types, want string) {
		t.Helper()
		if _, err := filter.New(keep, exclude, types); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	f("(a", "", "", "filter: ")
	f("(a", "", "", "(a")
	f("a`b`c)", "", "", "filter: pattern 3: ")
	f("", "a`[", "", "exclude-filter: pattern 2: ")
	f(`\p{Nonsense}`, "", "", "filter: ")
	f(strings.Repeat("a", 5000), "", "", "filter: a regular expression of more than 4096 bytes")
	f(strings.Repeat("a`", 70), "", "", "filter: more than 64 patterns")
	f(strings.Repeat("a", 20000), "", "", "filter: more than 16384 bytes")
	f("", "", strings.Repeat("a", 20000), "exclude-type: more than 16384 bytes")
}

// TestSlowPatterns end, match nothing, and are told of once.
func TestSlowPatterns(t *testing.T) {
	x, err := filter.New(`^(?!b)(a+)+$`, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	x.Slow = func(err error) { told = append(told, err) }
	list := typed(strings.TrimSuffix(strings.Repeat("x:"+strings.Repeat("a", 60)+"!,", 100), ",") + ",x:aaa")
	start := time.Now()
	if got := filter.Apply(x, list, subject); len(got) != 0 {
		t.Errorf("%d match; a pattern that is given up matches nothing", len(got))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "takes more than 100ms") {
		t.Errorf("told of %v", told)
	}
	if got := filter.Apply(x, typed("x:aaa"), subject); len(got) != 1 {
		t.Error("given up for ever")
	}
}

// FuzzFilter looks for patterns that break something, and compares both kinds of expressions where one is
// taken for the other.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"HK`US", "(?i)us", "^(?!a)", `(\w)\1`, `[a-z-[aeiou]]`, "a{2,3}?", `\p{L}`, "(?<n>a)", "[[:alpha:]]", "(a{9}){9}"} {
		f.Add(s, "HK a", "vmess|direct")
	}
	f.Fuzz(func(t *testing.T, pattern, name, types string) {
		x, err := filter.New(pattern, pattern, types)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "filter: ") && !strings.HasPrefix(err.Error(), "exclude-") {
				t.Errorf("%v: which key?", err)
			}
			return
		}
		if len(name) > 100 || len(pattern) > 200 {
			return
		}
		slow := false
		x.Slow = func(error) { slow = true }
		one := []node{{"x", name}}
		left := filter.Exclude(x, one, subject)
		if strings.Contains(pattern, "`") || pattern == "" || slow || strings.Contains(pattern, "(?") {
			return
		}
		if _, err := regexp.Compile(pattern); err != nil {
			return
		}
		re, err := regexp2.Compile(pattern, regexp2.None)
		if err != nil {
			return // such as {0}, which RE2 takes for what it looks like
		}
		re.MatchTimeout = time.Second
		if found, err := re.MatchString(name); err == nil && found != (len(left) == 0) {
			t.Errorf("%q in %q: %v", pattern, name, found)
		}
	})
}
