package filter_test

import (
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/filter"
)

func TestRename(t *testing.T) {
	f := func(pattern, into, name, want string) {
		t.Helper()
		r, err := filter.NewRename(pattern, into)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Apply(name); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
	f("IPLC-(.*?)x", "iplc $1 times ", "IPLC-12x4", "iplc 12 times 4")
	f("(?<n>US)(?! free)", "[${n}]", "US 1, US free", "[US] 1, US free")
	f("a", "b", "aaa", "bbb")
	f("z", "", "aaa", "aaa")
	f("^(?!b)(a+)+$", "", strings.Repeat("a", 60)+"!", strings.Repeat("a", 60)+"!") // for ever
}

func TestRenameErrors(t *testing.T) {
	for _, pattern := range []string{"", "(a", strings.Repeat("a", 5000)} {
		if _, err := filter.NewRename(pattern, ""); err == nil {
			t.Errorf("%.10q is taken", pattern)
		}
	}
}
