package logs

import (
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// Detail is the value of an attribute that only the structured form shows: the text of its message says the
// same in words already, and stays as it is. LogValue returns a group. It is called by who reads the structured
// form alone, later and on another goroutine: what it says must not change.
type Detail interface {
	slog.LogValuer
	Detail()
}

// Details are facts for the structured form alone.
func Details(facts ...slog.Attr) slog.Attr { return slog.Any("", details(facts)) }

type details []slog.Attr

// LogValue and Detail implement Detail.
func (d details) LogValue() slog.Value { return slog.GroupValue(d...) }
func (d details) Detail()              {}

// both are the facts of two.
type both struct{ one, other Detail }

// LogValue and Detail implement Detail.
func (b both) LogValue() slog.Value {
	return slog.GroupValue(append(slices.Clip(b.one.LogValue().Group()), b.other.LogValue().Group()...)...)
}
func (b both) Detail() {}

// join is what both say; either may be nil.
func join(one, other Detail) Detail {
	switch {
	case one == nil:
		return other
	case other == nil:
		return one
	}
	return both{one, other}
}

// detail is what an attribute says in the structured form alone; nil is that the text shows it.
func detail(a slog.Attr) Detail {
	if a.Value.Kind() != slog.KindLogValuer {
		return nil
	}
	d, _ := a.Value.Any().(Detail)
	return d
}

// All are the fields of the structured form: those of the text, and behind them the facts that none of those
// tells. A fact without a value is left out.
func (e *Entry) All() []Field {
	facts := join(e.with, e.facts)
	if facts == nil {
		return e.Fields
	}
	shown := len(e.Fields)
	all := slices.Clip(e.Fields)
	for _, a := range facts.LogValue().Group() {
		value := text(a.Value.Resolve())
		if value != "" && !slices.ContainsFunc(all[:shown], func(f Field) bool { return f.Key == a.Key }) {
			all = append(all, Field{a.Key, value})
		}
	}
	return all
}

// text is a value as a field shows it.
func text(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String()
}

// Gap is what stands for n messages that a watcher was too slow for, at a time.
func Gap(n int, at time.Time) Entry {
	what := " messages were lost: the reader is too slow"
	if n == 1 {
		what = " message was lost: the reader is too slow"
	}
	return Entry{
		Time: at, Level: slog.LevelWarn, Message: strconv.Itoa(n) + what,
		facts: details{slog.Int("lost", n)},
	}
}
