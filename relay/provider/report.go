package provider

import (
	"fmt"
	"log/slog"
	"slices"
)

// told is what the structured log has as fields beside the text of a message: see logs.Detail.
type told struct{ name, err string }

// LogValue and Detail implement logs.Detail.
func (t told) LogValue() slog.Value {
	return slog.GroupValue(slog.String("provider", t.name), slog.String("error", t.err))
}
func (told) Detail() {}

// maxWarned is how many different things are said of one run of failures.
const maxWarned = 16

// report logs what is new in an outcome: a new value, another error, the end of errors.
func (s *Source[T]) report(o outcome) {
	if o.changed {
		s.c.Log.Info(fmt.Sprintf("provider %q updated", s.c.Name), slog.Any("", told{s.c.Name, ""}))
	}
	if o.err != nil {
		s.warn(o.err.Error(), o.stack)
		return
	}
	if len(s.warned) > 0 && !o.changed {
		s.c.Log.Info(fmt.Sprintf("provider %q works again", s.c.Name), slog.Any("", told{s.c.Name, ""}))
	}
	s.warned = nil
}

// warn says each thing once until there is a success.
func (s *Source[T]) warn(text string, stack []byte) {
	if len(s.warned) == maxWarned || slices.Contains(s.warned, text) {
		return
	}
	s.warned = append(s.warned, text)
	attrs := []any{slog.Any("", told{s.c.Name, text})}
	if stack != nil {
		attrs = append(attrs, slog.String("stack", string(stack)))
	}
	s.c.Log.Warn(fmt.Sprintf("provider %q: %s", s.c.Name, text), attrs...)
}
