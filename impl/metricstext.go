package impl

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// metricsText writes Prometheus' text format, version 0.0.4.
type metricsText struct {
	b    []byte
	name string // of the family that is being written
}

// The types of families.
const (
	counter = "counter" // never falls; its name ends in _total
	gauge   = "gauge"
)

// family begins a family of samples.
func (x *metricsText) family(name, kind, help string) {
	x.name = "switchyard_" + name
	x.b = append(x.b, "# HELP "+x.name+" "+help+"\n# TYPE "+x.name+" "+kind+"\n"...)
}

// sample adds a sample to the family, with labels as names and values in turn.
func (x *metricsText) sample(value float64, labels ...string) {
	x.b = append(x.b, x.name...)
	for i := 0; i < len(labels); i += 2 {
		if i == 0 {
			x.b = append(x.b, '{')
		} else {
			x.b = append(x.b, ',')
		}
		x.b = append(append(x.b, labels[i]...), `="`...)
		x.b = append(append(x.b, labelEscapes.Replace(labels[i+1])...), '"')
	}
	if len(labels) > 0 {
		x.b = append(x.b, '}')
	}
	x.b = append(strconv.AppendFloat(append(x.b, ' '), value, 'f', -1, 64), '\n')
}

// one writes a family that is one sample.
func (x *metricsText) one(name, kind, help string, value float64) {
	x.family(name, kind, help)
	x.sample(value)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// maxLabel bounds a label's value that somebody else chooses, in runes.
const maxLabel = 100

// label makes a label's value of a name: UTF-8 without control characters, and not too long.
func label(name string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > maxLabel {
			return -1
		}
		if unicode.IsControl(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
}

// seconds is a moment in Unix time; the zero time is 0.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// truth is 1 for what is so.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
