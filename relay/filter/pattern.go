package filter

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2"
)

const (
	maxPattern   = 4 << 10                // bytes of one pattern
	maxRepeated  = 20_000                 // parts that RE2 may make of one, with all repetitions
	matchTime    = 100 * time.Millisecond // for one name
	listTime     = 2 * time.Second        // for all names of a list; then a pattern is given up
	maxMatchName = 1 << 10                // bytes of a name that is looked at
)

// pattern is one regular expression in the manner of .NET. What means the same to RE2 is left to it,
// whose time is bounded.
type pattern struct {
	text  string
	plain *regexp.Regexp
	rich  *regexp2.Regexp // where plain is nil
	spent atomic.Int64    // what rich has taken for the list, in nanoseconds
}

func newPattern(text string) (p *pattern, err error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a regular expression of more than %d bytes", maxPattern)
	}
	if !portable(text) {
		return newRich(text)
	}
	re, err := regexp.Compile(text)
	if err != nil { // what it does not know may be known to the other
		return newRich(text)
	}
	return &pattern{text: text, plain: re}, nil
}

// newRich compiles what RE2 does not take. A bug that some pattern finds there is an error of the pattern.
func newRich(text string) (p *pattern, err error) {
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, fmt.Errorf("a regular expression that cannot be compiled: %v", v)
		}
	}()
	re, err := regexp2.Compile(text, regexp2.None)
	if err != nil {
		return nil, err // it says what is wrong, and quotes the expression
	}
	re.MatchTimeout = matchTime
	return &pattern{text: text, rich: re}, nil
}

// portable says whether text means the same to RE2, and is small there. Letters behind a backslash may
// not: \d, \w, \s and \b are of ASCII in RE2 and of Unicode in .NET. Neither may classes in classes, what only
// one of the two has, nor counts that begin with 0.
func portable(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; i == len(text) || text[i] >= 0x80 || isWord(text[i]) {
			return false
		}
	}
	for _, s := range []string{"-[", "[:", "(?P", "(?U", "(?-U", "(?s", "(?m", "{0", ",0"} {
		if strings.Contains(text, s) {
			return false
		}
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	return err == nil && size(tree) <= maxRepeated
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

// size is about what a tree compiles to.
func size(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += size(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxRepeated+1)
}

// match says whether the pattern is found in name. With an error it is not known, and false.
func (p *pattern) match(name string) (found bool, err error) {
	name = name[:min(len(name), maxMatchName)]
	if p.plain != nil {
		return p.plain.MatchString(name), nil
	}
	if p.spent.Load() > int64(listTime) {
		return false, nil // which was reported
	}
	start := time.Now()
	defer func() {
		if v := recover(); v != nil {
			found, err = false, fmt.Errorf("a regular expression that cannot be matched: %v", v)
		}
		if spent := p.spent.Add(int64(time.Since(start))); err == nil && spent > int64(listTime) {
			err = fmt.Errorf("it takes more than %v for a list, and matches no more of it", listTime)
		}
	}()
	if found, err = p.rich.MatchString(name); err != nil {
		return false, fmt.Errorf("it takes more than %v", matchTime)
	}
	return found, nil
}
