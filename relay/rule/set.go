package rule

import (
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Set is a set that rules refer to: a rule provider, a country, a list of sites. Its content may be
// replaced while programs that refer to it run. The zero Set holds nothing.
type Set struct{ now atomic.Pointer[Content] }

// Content is what a set holds: one of the three, or nothing. It is not changed any more.
type Content struct {
	Domains  *match.Domains
	Prefixes *match.Prefixes
	Rules    *Program // holds where any of its rules does
	Not      bool     // everything but that
	Count    int      // entries
}

// Content returns what the set holds now; nil is nothing.
func (s *Set) Content() *Content { return s.now.Load() }

// Replace gives the set another content; nil is none.
func (s *Set) Replace(c *Content) { s.now.Store(c) }

// Len is the number of entries.
func (s *Set) Len() int {
	if c := s.now.Load(); c != nil {
		return c.Count
	}
	return 0
}

// loaded says whether there is anything to ask.
func (s *Set) loaded() bool {
	c := s.now.Load()
	return c != nil && (c.Domains != nil || c.Prefixes != nil || c.Rules != nil)
}
