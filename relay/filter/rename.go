package filter

import (
	"fmt"

	"github.com/dlclark/regexp2"
)

// Rename writes names anew: what a pattern finds in them becomes something else.
type Rename struct {
	re   *regexp2.Regexp
	into string
	slow int
}

// NewRename reads a regular expression and what its finds become, where $1 and ${name} are its groups. An
// empty pattern is an error.
func NewRename(pattern, into string) (*Rename, error) {
	switch {
	case pattern == "":
		return nil, fmt.Errorf("want a pattern")
	case max(len(pattern), len(into)) > maxPattern:
		return nil, fmt.Errorf("a regular expression of more than %d bytes", maxPattern)
	}
	p, err := newRich(pattern)
	if err != nil {
		return nil, err
	}
	return &Rename{re: p.rich, into: into}, nil
}

// Apply returns name as it is from now on. Where the pattern takes too long it is name itself; after some of
// these the pattern is not tried again. It is for one goroutine.
func (r *Rename) Apply(name string) (now string) {
	if r.slow >= maxTimeouts || len(name) > maxMatchName {
		return name
	}
	defer func() {
		if v := recover(); v != nil {
			r.slow++
			now = name
		}
	}()
	now, err := r.re.Replace(name, r.into, -1, -1)
	if err != nil {
		r.slow++
		return name
	}
	return now
}
