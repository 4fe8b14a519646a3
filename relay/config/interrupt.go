package config

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Interrupt says what becomes of the live connections of a group when its choice changes. The zero Interrupt
// keeps them.
type Interrupt struct {
	Close bool          // those through another member end
	After time.Duration // this long after the change; 0 is at once
}

// The bounds of a drain.
const (
	leastDrain = time.Second
	mostDrain  = 24 * time.Hour
)

const wantInterrupt = "want keep, close or a time such as drain 30s"

// decode reads keep, close or "drain 30s"; false and true are keep and close.
func (i *Interrupt) decode(v value) {
	if v.n.Kind != yaml.ScalarNode {
		v.fail("%s, got %s", wantInterrupt, v.got())
		return
	}
	if v.n.Tag == "!!bool" {
		*i = Interrupt{Close: strings.EqualFold(v.n.Value, "true")}
		return
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(v.n.Value), " ")
	rest = strings.TrimSpace(rest)
	switch word = strings.ToLower(word); {
	case word == "keep" && rest == "":
		*i = Interrupt{}
	case word == "close" && rest == "":
		*i = Interrupt{Close: true}
	case word == "drain" && rest == "":
		v.fail("drain needs a time, such as drain 30s")
	case word == "drain":
		i.drain(v, rest)
	default:
		v.d.report(Error, v.pos(), v.path, wantInterrupt+", got "+v.got(),
			v.d.nearest(word, []string{"keep", "close", "drain"}))
	}
}

// drain reads the time of a drain: seconds, or with units.
func (i *Interrupt) drain(v value, text string) {
	after, err := time.ParseDuration(text)
	if _, nerr := strconv.ParseUint(text, 10, 64); nerr == nil {
		after, err = time.ParseDuration(text + "s")
	}
	switch {
	case err != nil:
		v.fail("want a time such as drain 30s or drain 5m, got %s", v.got())
	case after < leastDrain || after > mostDrain:
		v.fail("want a drain of 1s to 24h, got %s", v.got())
	default:
		*i = Interrupt{Close: true, After: after}
	}
}

// checkInterrupt warns of a policy that nothing can come of.
func (g *Group) checkInterrupt(d *decoder, path string) {
	if g.Interrupt.Close && (g.Type == "load-balance" || g.Type == "relay") {
		d.report(Warning, g.Pos, path+".interrupt-exist-connections", "changes nothing: a group of type "+g.Type+" has no choice that could change", "")
	}
}
