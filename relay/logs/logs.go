// Package logs writes what the daemon has to say: to a stream, in lines, and to those who watch
// /logs. Nothing is formatted for a level that neither of them wants.
package logs

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Silent is above every level: a stream or a watcher set to it gets nothing.
const Silent = slog.Level(64)

// Entry is one message for a watcher.
type Entry struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Fields  []Field
	Lost    int // messages this watcher was too slow for, just before this one

	with, facts Detail // what All adds to Fields: of the logger, and of the message; nil is nothing
}

// Field is a named fact of a message.
type Field struct{ Key, Value string }

// Text is the message with its fields behind it, as one line.
func (e *Entry) Text() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, f := range e.Fields {
		b.WriteByte(' ')
		b.WriteString(f.Key)
		b.WriteByte('=')
		if f.Value == "" || strings.ContainsAny(f.Value, " \"=\n") {
			b.WriteString(strconv.Quote(f.Value))
		} else {
			b.WriteString(f.Value)
		}
	}
	return b.String()
}

// Hub is a slog.Handler's core: one stream and any number of watchers.
type Hub struct {
	level atomic.Int64 // of the stream
	least atomic.Int64 // the lowest level that the stream or a watcher wants

	mu       sync.Mutex
	out      io.Writer
	line     []byte
	watchers map[*Watcher]struct{}
}

// NewHub writes to out what is at level or above.
func NewHub(out io.Writer, level slog.Level) *Hub {
	h := &Hub{out: out, watchers: make(map[*Watcher]struct{})}
	h.SetLevel(level)
	return h
}

// SetLevel changes what goes to the stream. Watchers have levels of their own.
func (h *Hub) SetLevel(level slog.Level) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.level.Store(int64(level))
	h.settle()
}

// Level is the stream's level.
func (h *Hub) Level() slog.Level { return slog.Level(h.level.Load()) }

// settle finds the lowest level anyone wants. h.mu is held.
func (h *Hub) settle() {
	least := h.level.Load()
	for w := range h.watchers {
		least = min(least, int64(w.level))
	}
	h.least.Store(least)
}

// Logger makes the logger that feeds h.
func (h *Hub) Logger() *slog.Logger { return slog.New(&handler{hub: h}) }

// backlog is how many messages a watcher may be behind.
const backlog = 1024

// Watcher receives messages from the moment it was made.
type Watcher struct {
	C     chan Entry
	hub   *Hub
	level slog.Level
	lost  int // guarded by hub.mu
}

// Watch begins to deliver messages at level or above. The caller ends it with Close.
func (h *Hub) Watch(level slog.Level) *Watcher {
	w := &Watcher{C: make(chan Entry, backlog), hub: h, level: level}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	h.settle()
	return w
}

// Missed is how many messages w was too slow for since the last one in C, once C is empty. It tells of them
// once: the next message does not.
func (w *Watcher) Missed() int {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if len(w.C) > 0 {
		return 0
	}
	n := w.lost
	w.lost = 0
	return n
}

// Close ends the delivery. C is left open and gets nothing more.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.hub.watchers, w)
	w.hub.settle()
}

func (h *Hub) emit(e Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if int64(e.Level) >= h.level.Load() {
		h.write(&e)
	}
	for w := range h.watchers {
		if e.Level < w.level {
			continue
		}
		e.Lost = w.lost
		select {
		case w.C <- e:
			w.lost = 0
		default:
			w.lost++
		}
	}
}

// write puts one line on the stream, in the family's form.
func (h *Hub) write(e *Entry) {
	b := append(h.line[:0], `time="`...)
	b = e.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `" level=`...)
	b = append(b, LevelName(e.Level)...)
	b = append(b, " msg="...)
	b = strconv.AppendQuote(b, e.Text())
	b = append(b, '\n')
	_, _ = h.out.Write(b) // nobody is left to tell
	h.line = b[:0]
}

// LevelName is the family's word for a level: debug, info, warning, error or silent.
func LevelName(l slog.Level) string {
	switch {
	case l >= Silent:
		return "silent"
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// handler turns slog's records into entries.
type handler struct {
	hub    *Hub
	fields []Field
	with   Detail
	group  string
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return int64(l) >= h.hub.least.Load()
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	e := Entry{Time: r.Time, Level: r.Level, Message: r.Message, Fields: h.fields, with: h.with}
	r.Attrs(func(a slog.Attr) bool {
		if d := detail(a); d != nil {
			e.facts = join(e.facts, d)
			return true
		}
		if len(e.Fields) == len(h.fields) { // what h has is shared
			e.Fields = append(make([]Field, 0, len(h.fields)+r.NumAttrs()), h.fields...)
		}
		e.Fields = h.field(e.Fields, a)
		return true
	})
	h.hub.emit(e)
	return nil
}

func (h *handler) field(dst []Field, a slog.Attr) []Field {
	if a.Equal(slog.Attr{}) {
		return dst
	}
	return append(dst, Field{Key: h.group + a.Key, Value: a.Value.Resolve().String()})
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.fields = append([]Field(nil), h.fields...)
	for _, a := range attrs {
		if d := detail(a); d != nil {
			n.with = join(n.with, d)
		} else {
			n.fields = h.field(n.fields, a)
		}
	}
	return &n
}

func (h *handler) WithGroup(name string) slog.Handler {
	n := *h
	n.group += name + "."
	return &n
}
