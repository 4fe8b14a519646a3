package provider

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// patience bounds the wait for what must happen.
const patience = 30 * time.Second

// watcher makes one that is quick.
func watcher(t *testing.T) *Watcher {
	t.Helper()
	leak.Check(t)
	w, err := newWatcher(nil, 20*time.Millisecond, 20*time.Millisecond)
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

// watched runs a source of a file, and hands out its values.
func watched(t *testing.T, w *Watcher, path string) (next func(want string), s *Source[string]) {
	t.Helper()
	values := make(chan string, 16)
	s = New(Config[string]{
		Kind: File, Path: path, Parse: parse,
		Use: func(v string) { values <- v },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, w) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return func(want string) {
		t.Helper()
		select {
		case got := <-values:
			if got != "list "+want {
				t.Fatalf("%q; want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%q is not seen", want)
		}
		eventually(t, "the error stays", func() bool { return s.State().Err == nil })
	}, s
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	overwrite(t, path, "a")
	next, s := watched(t, watcher(t), path)
	next("a")

	overwrite(t, path, "in place")
	next("in place")

	other := filepath.Join(dir, "other")
	overwrite(t, other, "renamed over")
	must(t, os.Rename(other, path))
	next("renamed over")

	must(t, os.Remove(path))
	eventually(t, "the removal is not seen", func() bool { return s.State().Err != nil })
	wantValue(t, s, "list renamed over")
	overwrite(t, path, "made anew")
	next("made anew")

	must(t, os.Rename(path, other))
	eventually(t, "the move is not seen", func() bool { return s.State().Err != nil })
	must(t, os.Rename(other, path))
	eventually(t, "the way back is not seen", func() bool { return s.State().Err == nil })
}

func TestWatchSeveral(t *testing.T) {
	w := watcher(t)
	dir, elsewhere := t.TempDir(), t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(elsewhere, "a")
	link := filepath.Join(elsewhere, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	for _, path := range []string{a, b, c} {
		overwrite(t, path, "1")
	}
	nextA, _ := watched(t, w, a)
	nextB, _ := watched(t, w, b)
	nextC, _ := watched(t, w, c)
	nextLink, _ := watched(t, w, filepath.Join(link, "a")) // a by another name
	all := func(text string) {
		nextA(text + " of a")
		nextB(text + " of b")
		nextC(text + " of c")
		nextLink(text + " of a")
	}
	for _, next := range []func(string){nextA, nextB, nextC, nextLink} {
		next("1")
	}
	for _, text := range []string{"2", "3"} {
		overwrite(t, a, text+" of a")
		overwrite(t, b, text+" of b")
		overwrite(t, c, text+" of c")
		all(text)
	}
}

// TestWatchMissingDirectory begins without the directory, and has it come, go and come back.
func TestWatchMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "y")
	path := filepath.Join(dir, "list")
	next, s := watched(t, watcher(t), path)
	eventually(t, "no error", func() bool { return s.State().Err != nil })

	write(t, path, "a")
	next("a")
	overwrite(t, path, "b")
	next("b")

	must(t, os.RemoveAll(filepath.Dir(dir)))
	eventually(t, "the removal is not seen", func() bool { return s.State().Err != nil })
	write(t, path, "c")
	next("c")

	must(t, os.Rename(dir, dir+"2"))
	eventually(t, "the move is not seen", func() bool { return s.State().Err != nil })
	write(t, path, "d")
	next("d")
	overwrite(t, path, "e")
	next("e")
}

// TestWatchQuiet checks that a file which is being written is left alone.
func TestWatchQuiet(t *testing.T) {
	leak.Check(t)
	w, err := newWatcher(nil, time.Hour, time.Hour)
	must(t, err)
	defer w.Close()
	path := filepath.Join(t.TempDir(), "list")
	defer w.Watch(path, func() { t.Error("called before an hour is over") })()
	eventually(t, "the directory is not watched", func() bool { return len(w.notify.WatchList()) == 1 })
	for range 100 {
		overwrite(t, path, "a")
	}
}

func TestWatchStops(t *testing.T) {
	w := watcher(t)
	path := filepath.Join(t.TempDir(), "list")
	called := make(chan struct{}, 100)
	stop := w.Watch(path, func() { called <- struct{}{} })
	<-called
	stop()
	stop() // does no harm
	eventually(t, "the directory is still watched", func() bool { return len(w.notify.WatchList()) == 0 })
	again := make(chan struct{}, 100)
	defer w.Watch(path, func() { again <- struct{}{} })()
	<-again
	overwrite(t, path, "a")
	<-again
	if len(called) > 0 {
		t.Error("called after stop")
	}
}

// TestLostEvents has the system say that it could not report everything: all files are looked at.
func TestLostEvents(t *testing.T) {
	w := watcher(t)
	called := make(chan struct{})
	for range 2 {
		defer w.Watch(filepath.Join(t.TempDir(), "list"), func() { called <- struct{}{} })()
	}
	<-called
	<-called
	w.notify.Errors <- fsnotify.ErrEventOverflow
	<-called
	<-called
}

func TestNewWatcher(t *testing.T) {
	leak.Check(t)
	w, err := NewWatcher(slog.New(slog.DiscardHandler))
	must(t, err)
	w.Close()
}

func TestNoWatcher(t *testing.T) {
	var w *Watcher
	w.Watch("x", func() {})()
	w.Close()
}
