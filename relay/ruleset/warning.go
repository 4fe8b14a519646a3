package ruleset

import "fmt"

const (
	maxWarnings = 100 // that are kept
	maxQuote    = 80  // bytes of a line
)

// Warning is a line that was left out. In a binary set Line counts the entries instead.
type Warning struct {
	Line int
	Text string // the line, or the first 80 bytes of it, and what is wrong with it
}

// Warnings are the lines of a set that were left out.
type Warnings struct {
	First []Warning // the first 100
	Total int
}

// Add notes that a line was left out, and why.
func (w *Warnings) Add(line int, text []byte, why error) {
	w.Total++
	if len(w.First) >= maxWarnings {
		return
	}
	more := ""
	if len(text) > maxQuote {
		text, more = text[:maxQuote], "…"
	}
	w.First = append(w.First, Warning{line, fmt.Sprintf("%q%s: %v", text, more, why)})
}

// Err is the error of a set when nothing of it could be used.
func (w *Warnings) Err() error {
	if w.Total == 0 {
		return ErrEmpty
	}
	first := w.First[0]
	return fmt.Errorf("none of the %d entries can be used; line %d: %s", w.Total, first.Line, first.Text)
}
