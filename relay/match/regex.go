package match

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// RegexBudget bounds what the regular expressions of one list may take: a few bytes such as (a{99}){9}
// can compile to very much. The zero budget is spent.
type RegexBudget struct {
	Bytes        int // of one expression
	Instructions int // that all may compile to, from now on
}

var errRegexBudget = errors.New("the regular expressions of this list take too much")

// Compile compiles an expression that does not look at the case of letters. Its errors name no place.
func (b *RegexBudget) Compile(expr string) (*regexp.Regexp, error) {
	if len(expr) > b.Bytes {
		return nil, fmt.Errorf("a regular expression of more than %d bytes", b.Bytes)
	}
	if b.Instructions <= 0 {
		return nil, errRegexBudget
	}
	parsed, err := syntax.Parse(expr, syntax.Perl|syntax.FoldCase)
	if err != nil {
		return nil, fmt.Errorf("%w; RE2 has no lookaround and no backreferences", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if b.Instructions -= len(program.Inst); b.Instructions < 0 {
		return nil, errRegexBudget
	}
	return regexp.Compile("(?i)" + expr)
}
