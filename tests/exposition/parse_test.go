package exposition

import (
	"strings"
	"testing"
)

const head = "# HELP a_total Text.\n# TYPE a_total counter\n"

func TestParse(t *testing.T) {
	m, err := Parse(head + "a_total 1\na_total{x=\"1\\\\\\n\\\"\",y=\"é\"} 2.5\n# HELP b Text.\n# TYPE b gauge\nb -1e+06\n# HELP c None.\n# TYPE c gauge\n")
	if err != nil {
		t.Fatal(err)
	}
	f := func(got, want float64) {
		t.Helper()
		if got != want {
			t.Errorf("%v; want %v", got, want)
		}
	}
	f(m.Value("a_total"), 3.5)
	f(m.Value("a_total", "x", "1\\\n\"", "y", "é"), 2.5)
	f(m.Value("a_total", "x", "2"), 0)
	f(m.Value("b"), -1e6)
	f(m.Value("nothing"), 0)
	f(float64(len(m)), 3)
}

func TestParseRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
	f("", "no newline")
	f(head+"a_total 1", "no newline")
	f("\xff\n", "not UTF-8")
	f(head+"\n", "not behind HELP")
	f("# a comment\n", "neither HELP nor TYPE")
	f("# HELP 1 x\n", "no name")
	f("# HELP a_total\n", "no text")
	f("# HELP a_total \\t\n", "wrong escape")
	f("# TYPE a_total counter\n", "no HELP")
	f(head+"# TYPE a_total counter\n", "no HELP")
	f("# HELP a x\n# HELP b x\n", "has no TYPE")
	f("# HELP a x\n# TYPE a sum\n", "neither counter")
	f("# HELP a x\n# TYPE a counter\n", "end of the name")
	f("# HELP a_total x\n# TYPE a_total gauge\n", "end of the name")
	f("a 1\n", "not behind HELP")
	f(head+"b 1\n", "not behind HELP")
	f(head+"# HELP b x\n# TYPE b gauge\na_total 1\n", "not behind HELP")
	f(head+head, "there already")
	f(head+"a_total 1\na_total 1\n", "there already")
	f(head+"a_total{x=\"1\",y=\"2\"} 1\na_total{y=\"2\",x=\"1\"} 1\n", "there already")
	f(head+"a_total{x=\"1\",x=\"1\"} 1\n", "there twice")
	f(head+"a_total{} 1\n", "no name of a label")
	f(head+"a_total{x=\"1\",} 1\n", "no name of a label")
	f(head+"a_total{__x=\"1\"} 1\n", "no name of a label")
	f(head+"a_total{x=\"1\"y=\"2\"} 1\n", "neither comma")
	f(head+"a_total{x=\"1} 1\n", "without an end")
	f(head+"a_total{x=\"\\t\"} 1\n", "wrong escape")
	f(head+"a_total{x=\"1\"}1\n", "no space")
	f(head+"a_total x\n", "invalid syntax")
	f(head+"a_total 1 2\n", "invalid syntax")
	f(head+"a_total -1\n", "below 0")
	f(head+"a_total NaN\n", "below 0")
}
