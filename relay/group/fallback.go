package group

// Fallback is a group that takes the first member that is alive.
type Fallback struct{ deciding }

// NewFallback makes the group.
func NewFallback(c Config) *Fallback {
	g := new(Fallback)
	g.choose = g.first
	g.start(c, "Fallback")
	return g
}

// first is the pinned member, whose pin goes when it is found dead, else the first that is alive, else
// the first. A pin that is no member now waits for it.
func (g *Fallback) first(s *set) int {
	if i, ok := s.byName[g.pin]; ok && g.pin != "" {
		if g.alive(&s.all[i]) {
			return i
		}
		g.pin, g.lost = "", true
	}
	for i := range s.all {
		if g.alive(&s.all[i]) {
			return i
		}
	}
	return 0
}
