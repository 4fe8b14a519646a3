package sharelink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const two = "ss://YWVzLTEyOC1nY206cHc=@a.example:8388#A\r\n" +
	"trojan://pw@b.example:443#B\r\n"

func TestBodies(t *testing.T) {
	f := func(body string, wantLines ...int) {
		t.Helper()
		nodes, problems, err := Parse([]byte(body))
		if err != nil || len(problems) > 0 {
			t.Fatalf("Parse(%q): %v, %v", body, problems, err)
		}
		var lines []int
		for _, n := range nodes {
			lines = append(lines, n.Line)
		}
		if fmt.Sprint(lines) != fmt.Sprint(wantLines) {
			t.Fatalf("Parse(%q): lines %v, want %v", body, lines, wantLines)
		}
	}
	f(two, 1, 2)
	// Blank lines, comments and byte order marks are skipped, but counted.
	f("\ufeff# a comment\n\n// another\n  "+two+"\ufeffsocks://c.example:1080\n\n", 4, 5, 6)
	f(strings.ToUpper("ss")+two[2:], 1, 2)

	// All forms of base64; >> and ?? make the alphabets differ.
	text := two + "# >>>???>>>~~~\n"
	f(base64.StdEncoding.EncodeToString([]byte(text)), 1, 2)
	f(base64.RawStdEncoding.EncodeToString([]byte(text)), 1, 2)
	f(base64.URLEncoding.EncodeToString([]byte(text)), 1, 2)
	f(base64.RawURLEncoding.EncodeToString([]byte(text)), 1, 2)
	f("\ufeff"+base64.StdEncoding.EncodeToString([]byte("\ufeff\n"+text))+"\n", 2, 3)
	std := base64.StdEncoding.EncodeToString([]byte(text))
	f("# to be imported\n"+std[:64]+"\r\n"+std[64:]+"\r\n", 1, 2)
}

func TestNoList(t *testing.T) {
	f := func(body string) {
		t.Helper()
		if nodes, problems, err := Parse([]byte(body)); !errors.Is(err, ErrFormat) || nodes != nil || problems != nil {
			t.Fatalf("Parse(%q) = %v, %v, %v; want ErrFormat", body, nodes, problems, err)
		}
	}
	f("")
	f("\n# nothing\n")
	f("<!doctype html>\n<a href=\"https://a.example/\">here</a>")
	f("proxies:\n- {name: a, type: ss}\ntest: http://a.example\n")
	f("://a.example:443")
	f("1a://a.example:443")
	f(base64.StdEncoding.EncodeToString([]byte("proxies: []\n")))
	f(base64.StdEncoding.EncodeToString([]byte(two)) + "=AAAA") // after the padding
	f("#\n#")
	f(strings.Repeat("# x\n", 10) + "AAAA")
}

func TestProblems(t *testing.T) {
	nodes, problems, err := Parse([]byte(strings.Join([]string{
		"STATUS=3 GB left",
		"juicity://s3cret@a.example:443#J",
		"trojan://s3cret@a.example:443#good",
		"trojan://s3cret@a.example:0#T%20%F0%9F%98%80",
		"ss://" + strings.Repeat("A", maxLine) + "#long",
		"trojan://s3#cret@a.example:443#name",
	}, "\n")))
	if err != nil || len(nodes) != 1 || nodes[0].Line != 3 {
		t.Fatal(nodes, err)
	}
	want := []string{
		`1 "" not a link`,
		`2 "J" juicity: unknown scheme`,
		`4 "T 😀" trojan: want a port of 1-65535`,
		`5 "" longer than 16384 bytes`,
		`6 "" trojan: want password@host:port`,
	}
	if len(problems) != len(want) {
		t.Fatal(problems)
	}
	for i, p := range problems {
		if got := fmt.Sprintf("%d %q %v", p.Line, p.Name, p.Err); got != want[i] {
			t.Errorf("problem %d: %s; want %s", i, got, want[i])
		}
	}
}

// TestBounds has more of all than is kept.
func TestBounds(t *testing.T) {
	f := func(body string, wantNodes, wantProblems int, wantLast Problem) {
		t.Helper()
		nodes, problems, err := Parse([]byte(body))
		if err != nil || len(nodes) != wantNodes || len(problems) != wantProblems {
			t.Fatalf("%d nodes, %d problems, %v; want %d, %d", len(nodes), len(problems), err, wantNodes, wantProblems)
		}
		last := problems[len(problems)-1]
		if last.Line != wantLast.Line || last.Err.Error() != wantLast.Err.Error() {
			t.Fatalf("the last problem is %v; want %v", last, wantLast)
		}
	}
	bad := strings.Repeat("x\n", maxProblems)
	f(two+bad, 2, maxProblems, Problem{Line: maxProblems + 2, Err: errors.New("not a link")})
	f(two+bad+"x\nx\nx\n", 2, maxProblems+1, Problem{Err: Left(3)})
	many := strings.Repeat("http://a:1\n\n#\n", maxLinks)
	f(many+"http://a:1", maxLinks, 1, Problem{Line: 3*maxLinks + 1, Err: errors.New("more than 10000 links")})
}

func TestNames(t *testing.T) {
	f := func(fragments []string, want ...string) {
		t.Helper()
		nodes, problems, err := Parse([]byte("http://a.example:80#" + strings.Join(fragments, "\nhttp://a.example:80#")))
		if err != nil || len(problems) > 0 || len(nodes) != len(want) {
			t.Fatal(nodes, problems, err)
		}
		for i, n := range nodes {
			if n.Keys["name"] != want[i] {
				t.Errorf("%q is named %q; want %q", fragments[i], n.Keys["name"], want[i])
			}
		}
	}
	f([]string{"%F0%9F%87%AF%F0%9F%87%B5%20Tokyo%2F1", "a+b 100% #2", "%zz%4"}, "🇯🇵 Tokyo/1", "a+b 100% #2", "%zz%4")
	// A name that is empty, or holds nothing that can be shown, is the address.
	f([]string{"", "%00%0A%20"}, "a.example:80", "a.example:80-01")
	f([]string{"a%FFb", "a%1Bb%C2%85c"}, "a\ufffdb", "abc")
	// Equal names are numbered; the number may be in use.
	f([]string{"x", "x", "x-02", "x", "x-01", "x-01"}, "x", "x-01", "x-02", "x-03", "x-01-01", "x-01-02")
	long := strings.Repeat("ö", 200)
	f([]string{"x" + long, "x" + long}, "x"+long[:254], "x"+long[:254]+"-01")
}

func TestManyEqualNames(t *testing.T) {
	nodes, _, err := Parse([]byte(strings.Repeat("http://a:1#x\nhttp://a:1#x-01\n", maxLinks/2)))
	if err != nil || len(nodes) != maxLinks {
		t.Fatal(len(nodes), err)
	}
	seen := make(map[any]bool)
	for _, n := range nodes {
		seen[n.Keys["name"]] = true
	}
	if len(seen) != maxLinks {
		t.Fatalf("%d different names", len(seen))
	}
}
