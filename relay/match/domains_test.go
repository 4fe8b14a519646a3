package match

import (
	"errors"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func nameOf(host string) *Name {
	n := new(Name)
	n.Set(host)
	return n
}

// split parts a pattern into its sign and its name.
func split(pattern string) (sign, name string) {
	for _, sign := range []string{"+.", "."} {
		if name, ok := strings.CutPrefix(pattern, sign); ok {
			return sign, name
		}
	}
	return "", pattern
}

// holds says what a pattern means, label by label.
func holds(pattern, host string) bool {
	sign, name := split(pattern)
	p, h := strings.Split(name, "."), strings.Split(host, ".")
	more := len(h) - len(p)
	if more < 0 || more == 0 && sign == "." || more > 0 && sign == "" {
		return false
	}
	return slices.EqualFunc(p, h[more:], func(p, h string) bool { return p == "*" || p == h })
}

// list is a set as its lines.
type list struct {
	patterns, keywords []string
	regexes            []*regexp.Regexp
}

func (l *list) has(host string) bool {
	return slices.ContainsFunc(l.patterns, func(p string) bool { return holds(p, host) }) ||
		slices.ContainsFunc(l.keywords, func(k string) bool { return strings.Contains(host, k) }) ||
		slices.ContainsFunc(l.regexes, func(re *regexp.Regexp) bool { return re.MatchString(host) })
}

// merged is what Patterns has to give, sorted: each name once, with all it stands for.
func (l *list) merged() []string {
	signs := make(map[string]string)
	for _, p := range l.patterns {
		sign, name := split(p)
		if old, ok := signs[name]; ok && old != sign {
			sign = "+."
		}
		signs[name] = sign
	}
	var all []string
	for name, sign := range signs {
		all = append(all, sign+name)
	}
	return slices.Sorted(slices.Values(all))
}

// add adds a pattern in one of the ways there are.
func add(r *rand.Rand, b *DomainsBuilder, pattern string) error {
	sign, name := split(pattern)
	switch r.IntN(3) {
	case 0:
		return b.Add(pattern)
	case 1:
		return b.AddBytes([]byte(pattern))
	}
	switch sign {
	case "":
		return b.Exact(name)
	case "+.":
		return b.Suffix(name)
	}
	return b.Add(pattern) // names below one have no other way
}

func (l *list) build(t *testing.T, r *rand.Rand) *Domains {
	t.Helper()
	var b DomainsBuilder
	for _, p := range l.patterns {
		if err := add(r, &b, p); err != nil {
			t.Fatalf("%q: %v", p, err)
		}
	}
	for _, k := range l.keywords {
		b.Keyword(k)
	}
	for _, re := range l.regexes {
		b.Regex(re)
	}
	d, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// randomName makes a name out of few labels.
func randomName(r *rand.Rand, labels int, from ...string) string {
	all := make([]string, 1+r.IntN(labels))
	for i := range all {
		all[i] = pick(r, from...)
	}
	return strings.Join(all, ".")
}

// randomList has at most 31 names with a * below them that are above one host, which is within
// maxStarWalks.
func randomList(r *rand.Rand) *list {
	l := new(list)
	for range r.IntN(12) {
		l.patterns = append(l.patterns, pick(r, "", "", "+.", ".")+randomName(r, 5, "a", "b", "ab", "*"))
	}
	if r.IntN(4) == 0 {
		l.keywords = append(l.keywords, pick(r, "b.a", "bb", "ab.b", ".ab."))
	}
	if r.IntN(4) == 0 {
		l.regexes = append(l.regexes, regexp.MustCompile(pick(r, `^b\.b$`, `b.b`, `(ab|b)\.b\.`)))
	}
	return l
}

func TestDomains(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var n Name // one for all: what it was does not matter
	for range 6000 {
		l := randomList(r)
		d := l.build(t, r)
		if got, want := d.Len(), len(l.patterns)+len(l.keywords)+len(l.regexes); got != want {
			t.Fatalf("%+v: Len is %d, want %d", l, got, want)
		}
		if got, want := slices.Sorted(d.Patterns()), l.merged(); !slices.Equal(got, want) {
			t.Fatalf("%q: Patterns are %q, want %q", l.patterns, got, want)
		}
		for range 40 {
			host := randomName(r, 6, "a", "b", "ab", pick(r, "b", "c", "*"))
			n.Set(host)
			if got, want := d.Has(&n), l.has(host); got != want {
				t.Fatalf("%+v: Has(%q) = %v", l, host, got)
			}
		}
	}
}

// TestManyDomains has names enough for more than one word of the filter, and many of them twice.
func TestManyDomains(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		b := make([]byte, 1+r.IntN(5))
		for i := range b {
			b[i] = "abcd"[r.IntN(4)]
		}
		return string(b)
	}
	signs := make(map[string]map[string]bool) // of each name
	var b DomainsBuilder
	for range 20_000 {
		sign, name := pick(r, "", "+.", "."), randomName(r, 2, word(), word())
		if signs[name] == nil {
			signs[name] = make(map[string]bool)
		}
		signs[name][sign] = true
		if err := b.Add(sign + name); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.t.filter) < 2 || d.t.n != len(signs) {
		t.Fatalf("%d words of filter, %d records for %d names", len(d.t.filter), d.t.n, len(signs))
	}
	has := func(host string) bool {
		if s := signs[host]; s[""] || s["+."] {
			return true
		}
		for {
			_, rest, ok := strings.Cut(host, ".")
			if !ok {
				return false
			}
			if s := signs[rest]; s["."] || s["+."] {
				return true
			}
			host = rest
		}
	}
	check := func(host string) {
		if got := d.Has(nameOf(host)); got != has(host) {
			t.Fatalf("Has(%q) = %v", host, got)
		}
	}
	for name := range maps.Keys(signs) {
		check(name)
		check("x." + name)
	}
	for range 50_000 {
		check(randomName(r, 3, word(), word()))
	}
}

// dots is a name of n labels.
func dots(n int) string { return strings.Repeat("a.", n-1) + "a" }

func TestLongNames(t *testing.T) {
	f := func(pattern, host string, want bool) {
		t.Helper()
		d := (&list{patterns: []string{pattern}}).build(t, rand.New(rand.NewPCG(1, 1)))
		if got := d.Has(nameOf(host)); got != want {
			t.Errorf("%q: Has(%q) = %v", pattern, host, got)
		}
	}
	word := strings.Repeat("a", 255)
	// 127 labels, and 128, which are 255 bytes; one label of 255 bytes.
	f(dots(127), dots(127), true)
	f(dots(128), dots(128), true)
	f(word, word, true)
	f("+."+word, word, true)
	f("."+word, word, false)
	f(dots(127), dots(128), false)
	// Above the longest name: near and far.
	f("+."+dots(127), dots(128), true)
	f("."+dots(127), dots(128), true)
	f("."+dots(128), dots(128), false)
	f("+.a", dots(128), true)
	f(".b", dots(128), false)
	// Stars at both ends of it.
	f("*."+dots(127), dots(128), true)
	f(dots(127)+".*", dots(128), true)
	f("+.*", dots(128), true)
	f("+."+strings.Repeat("*.", maxStars-1)+"*", dots(128), true)
	f("*."+dots(126), dots(128), false)
	// One byte more is no name.
	f("+.a", "a"+dots(128), false)
	f("+.*", word+"a", false)
	f("*", word+"a", false)
}

func TestNoName(t *testing.T) {
	l := list{
		patterns: []string{"+.*"}, keywords: []string{"", "a"},
		regexes: []*regexp.Regexp{regexp.MustCompile("")},
	}
	d := l.build(t, rand.New(rand.NewPCG(1, 1)))
	n := nameOf("a.test")
	if !d.Has(n) || n.String() != "a.test" {
		t.Errorf("%q is not in the set of all names", n)
	}
	for _, host := range []string{"", strings.Repeat("a", 256)} {
		if n.Set(host); d.Has(n) || n.String() != "" {
			t.Errorf("%d bytes are the name %q, which the set has: %v", len(host), n, d.Has(n))
		}
	}
	if new(Domains).Has(nameOf("a")) || (*Domains)(nil).Len() != 0 {
		t.Error("the empty set has something")
	}
}

func TestPatternErrors(t *testing.T) {
	f := func(pattern string) {
		t.Helper()
		var b DomainsBuilder
		for i, err := range []error{b.Add(pattern), b.AddBytes([]byte(pattern))} {
			if !errors.Is(err, ErrPattern) {
				t.Errorf("%q: error %d is %v", pattern, i, err)
			}
		}
		if d, err := b.Build(); err != nil || d.Len() != 0 || len(slices.Collect(d.Patterns())) != 0 {
			t.Errorf("%q was refused and is in the set: %v", pattern, err)
		}
	}
	// Nothing, or labels of nothing.
	for _, p := range []string{"", ".", "+", "+.", "..", "..a", "a.", "a..b", "+..a", "*.", "*..a"} {
		f(p)
	}
	// A sign or a star where none can be.
	for _, p := range []string{"+a", "+.+.a", ".+.a", "a.+.b", "a+", "*a", "a*", "**", "a.*b", "*b.c", "a.**.b"} {
		f(p)
	}
	// Bytes of no host name.
	for _, c := range "\x00\t\n /<>:,\"\\#\x7f\u00e9AZ" {
		f("a" + string(c))
		f(string(c) + ".a")
		f("a." + string(c) + "b.c")
	}
	// Too long, and with too many stars.
	f(strings.Repeat("a", 256))
	f("+." + strings.Repeat("a", 256))
	f(strings.Repeat("*.", maxStars) + "*")
	if err := new(DomainsBuilder).Add("aBc"); err == nil || !strings.Contains(err.Error(), "lower case") {
		t.Errorf("upper case: %v", err)
	}
}

// TestGrow grows before, between and after the names, which stay.
func TestGrow(t *testing.T) {
	var b DomainsBuilder
	for _, name := range []string{"a.test", "b.test", "c.test"} {
		b.Grow(1, len(name))
		if err := b.Add(name); err != nil {
			t.Fatal(err)
		}
	}
	b.Grow(100, 1000)
	if b.Len() != 3 {
		t.Errorf("Len is %d", b.Len())
	}
	b.SetLen(7)
	d, err := b.Build()
	if err != nil || d.Len() != 7 {
		t.Fatalf("Len is %d, %v", d.Len(), err)
	}
	if got := slices.Collect(d.Patterns()); !slices.Equal(got, []string{"a.test", "b.test", "c.test"}) {
		t.Errorf("got %q", got)
	}
	for range d.Patterns() {
		break // must be heard
	}
}

// TestStarWalks asks a set whose every name has a * below it for a name that all of them fit.
func TestStarWalks(t *testing.T) {
	var l list
	for bits := range 1 << 12 {
		labels := make([]string, 12)
		for i := range labels {
			labels[i] = [...]string{"a", "*"}[bits>>i&1]
		}
		l.patterns = append(l.patterns, "b."+strings.Join(labels, "."))
	}
	d := l.build(t, rand.New(rand.NewPCG(1, 1)))
	host := "c." + dots(12)
	budget := maxStarWalks
	if d.walkStar(host, len(host)+1, seed, &budget) || d.Has(nameOf(host)) {
		t.Errorf("%q is in the set", host)
	}
	if budget >= 0 || -budget > maxStarWalks*maxLabels {
		t.Errorf("the budget of walks was %d, and is %d", maxStarWalks, budget)
	}
	// A pattern with as many stars as there may be takes so many walks and no more.
	host = dots(maxStars)
	d = (&list{patterns: []string{strings.Repeat("*.", maxStars-1) + "*"}}).build(t, rand.New(rand.NewPCG(1, 1)))
	for budget := maxStars - 1; budget <= maxStars; budget++ {
		left := budget
		if got := d.walkStar(host, len(host)+1, seed, &left); got != (budget == maxStars) {
			t.Errorf("with %d walks: %v", budget, got)
		}
	}
}

func TestMatchLabels(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50_000 {
		pattern, name := randomName(r, 4, "a", "b", "ab", "*"), randomName(r, 4, "a", "b", "ab", "aba")
		if got := matchLabels([]byte(pattern), name); got != holds(pattern, name) {
			t.Fatalf("matchLabels(%q, %q) = %v", pattern, name, got)
		}
	}
}

func TestHasSuffix(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		name, suffix := randomName(r, 4, "a", "b", "ab"), randomName(r, 3, "a", "b", "ab")
		if got, want := HasSuffix(name, suffix), strings.HasSuffix("."+name, "."+suffix); got != want {
			t.Fatalf("HasSuffix(%q, %q) = %v", name, suffix, got)
		}
	}
}
