package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
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
