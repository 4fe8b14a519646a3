package match

import (
	"errors"
	"strings"
	"testing"
)

func TestRegexBudget(t *testing.T) {
	b := RegexBudget{Bytes: 20, Instructions: 100}
	f := func(expr, want string) {
		t.Helper()
		if _, err := b.Compile(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q): %v; want %q", expr, err, want)
		}
	}
	re, err := b.Compile(`^A\.b$`)
	if err != nil || !re.MatchString("a.B") || re.MatchString("axb") {
		t.Fatalf("%v, %v", re, err)
	}
	// Too long by a byte, or no expression at all: neither takes of the budget.
	left := b.Instructions
	f(strings.Repeat("a", 21), "more than 20 bytes")
	f("(?=a)", "no lookaround")
	if left != b.Instructions {
		t.Errorf("%d instructions became %d", left, b.Instructions)
	}
	if _, err := b.Compile(strings.Repeat("a", 20)); err != nil || b.Instructions != left-22 {
		t.Errorf("20 letters took %d of %d instructions: %v", left-b.Instructions, left, err)
	}
	// Short, and compiles to more than is left; then nothing is.
	f("(a{99}){9}", "take too much")
	if _, err := b.Compile("a"); !errors.Is(err, errRegexBudget) {
		t.Errorf("of a spent budget: %v", err)
	}
	if _, err := new(RegexBudget).Compile(""); !errors.Is(err, errRegexBudget) {
		t.Errorf("of the zero budget: %v", err)
	}
	// All that is left is enough.
	b.Instructions = 3
	if _, err := b.Compile("a"); err != nil || b.Instructions != 0 {
		t.Errorf("%v, and %d left", err, b.Instructions)
	}
}
