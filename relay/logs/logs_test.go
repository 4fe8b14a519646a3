package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStreamAndWatchers(t *testing.T) {
	var out bytes.Buffer
	h := NewHub(&out, Silent)
	log := h.Logger()
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Error("enabled for nobody")
	}
	w := h.Watch(slog.LevelInfo)
	log.Debug("not wanted")
	log.With("id", "x").Warn("a text", "err", "of two words", "n", 3)
	e := <-w.C
	if e.Text() != `a text id=x err="of two words" n=3` || LevelName(e.Level) != "warning" || len(w.C) != 0 {
		t.Errorf("%+v", e)
	}
	if out.Len() > 0 {
		t.Errorf("a silent stream got %q", &out)
	}
	h.SetLevel(slog.LevelDebug)
	log.Debug(`quo"ted`)
	if !strings.HasSuffix(out.String(), ` level=debug msg="quo\"ted"`+"\n") || !strings.HasPrefix(out.String(), `time="2`) {
		t.Errorf("%q", &out)
	}
	w.Close()
	h.SetLevel(Silent)
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Error("enabled for a watcher that is gone")
	}
}

func TestASlowWatcherLearnsOfItsGap(t *testing.T) {
	h := NewHub(new(bytes.Buffer), Silent)
	w := h.Watch(slog.LevelInfo)
	defer w.Close()
	for range backlog + 7 {
		h.Logger().Info("x")
	}
	for range backlog {
		if e := <-w.C; e.Lost != 0 {
			t.Fatal("a gap where there is none")
		}
	}
	h.Logger().Info("y")
	if e := <-w.C; e.Lost != 7 || e.Message != "y" {
		t.Errorf("%+v; want a gap of 7", e)
	}
}

// TestMissedIsToldOnce drains a watcher that nothing follows.
func TestMissedIsToldOnce(t *testing.T) {
	h := NewHub(new(bytes.Buffer), Silent)
	w := h.Watch(slog.LevelInfo)
	defer w.Close()
	for range backlog + 7 {
		h.Logger().Info("x")
	}
	if n := w.Missed(); n != 0 {
		t.Errorf("%d before the messages in front of them are read", n)
	}
	for range backlog {
		<-w.C
	}
	if n, again := w.Missed(), w.Missed(); n != 7 || again != 0 {
		t.Errorf("%d and then %d; want 7 and 0", n, again)
	}
	h.Logger().Info("y")
	if e := <-w.C; e.Lost != 0 {
		t.Errorf("%d are told twice", e.Lost)
	}
}

// TestDetails shows facts in the structured form alone, and in groups where another handler writes.
func TestDetails(t *testing.T) {
	f := func(log func(*slog.Logger), text, all string) {
		t.Helper()
		var out bytes.Buffer
		h := NewHub(&out, slog.LevelInfo)
		w := h.Watch(slog.LevelInfo)
		defer w.Close()
		log(h.Logger())
		e := <-w.C
		if e.Text() != text || !strings.HasSuffix(out.String(), " msg="+strconv.Quote(text)+"\n") {
			t.Errorf("%q, line %q; want %q", e.Text(), &out, text)
		}
		if got := fmt.Sprint(e.All()); got != all {
			t.Errorf("%s; want %s", got, all)
		}
	}
	id := Details(slog.String("id", "7"), slog.String("none", ""), slog.Time("at", time.Unix(0, 0).UTC()))
	f(func(l *slog.Logger) { l.Info("x", id) }, "x", "[{id 7} {at 1970-01-01T00:00:00Z}]")
	f(func(l *slog.Logger) { l.Info("x", "n", 3, id, Details(slog.Int("m", 4))) }, "x n=3", "[{n 3} {id 7} {at 1970-01-01T00:00:00Z} {m 4}]")
	f(func(l *slog.Logger) { l.With(id).Info("x", "id", 8) }, "x id=8", "[{id 8} {at 1970-01-01T00:00:00Z}]")
	f(func(l *slog.Logger) { l.With("a", 1, Details(slog.Int("b", 2))).Info("x", Details(slog.Int("c", 3))) }, "x a=1", "[{a 1} {b 2} {c 3}]")
	f(func(l *slog.Logger) { l.With("a", 1).Info("x") }, "x a=1", "[{a 1}]")

	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", Details(slog.String("id", "7")))
	if !strings.HasSuffix(out.String(), "msg=x id=7\n") {
		t.Errorf("another handler writes %q", &out)
	}
}

func TestGap(t *testing.T) {
	f := func(n int, text string) {
		t.Helper()
		e := Gap(n, time.Now())
		if e.Text() != text || fmt.Sprint(e.All()) != fmt.Sprintf("[{lost %d}]", n) {
			t.Errorf("%q, %v", e.Text(), e.All())
		}
	}
	f(1, "1 message was lost: the reader is too slow")
	f(2, "2 messages were lost: the reader is too slow")
}
