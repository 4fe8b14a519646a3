package filter

import (
	"fmt"
	"time"

	"github.com/dlclark/regexp2"
)

// Rename writes names anew: what a pattern finds in them becomes something else.
type Rename struct {
	re    *regexp2.Regexp
	into  string
	spent time.Duration
	slow  bool
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

// GaveUp says whether some names were left as they were because the pattern takes too long.
func (r *Rename) GaveUp() bool { return r.slow || r.spent > listTime }

// Apply returns name as it is from now on. Where the pattern takes too long it is name itself, and when it has
// taken too long for all names together it is not tried again. It is for one list and one goroutine.
func (r *Rename) Apply(name string) (now string) {
	if r.spent > listTime || len(name) > maxMatchName {
		return name
	}
	start := time.Now()
	defer func() {
		if v := recover(); v != nil {
			now = name
		}
		r.spent += time.Since(start)
	}()
	now, err := r.re.Replace(name, r.into, -1, -1)
	if err != nil {
		r.slow = true
		return name
	}
	return now
}
