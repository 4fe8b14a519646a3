package webui

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func read(t *testing.T, s *Site, name string) string {
	t.Helper()
	f, err := s.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	if f.IsDir() {
		return "directory"
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != f.Size || f.Modified.IsZero() || f.Tag == "" {
		t.Errorf("%s: %v, %+v", name, err, f)
	}
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	s := newSite(t)
	if got := read(t, s, "index.html"); got != "none" {
		t.Error(got)
	}
	put(t, filepath.Join(s.Dir(), "index.html"), "index")
	put(t, filepath.Join(s.Dir(), "assets/app.js"), "app")
	put(t, filepath.Join(s.Dir(), ".git/config"), "hidden")
	put(t, filepath.Join(s.Dir(), "a/.env"), "hidden")
	put(t, filepath.Join(filepath.Dir(s.Dir()), "config.yaml"), "secret")
	f := func(name, want string) {
		t.Helper()
		if got := read(t, s, name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	f("index.html", "index")
	f("assets/app.js", "app")
	f("assets", "directory")
	f(".", "directory")
	for _, name := range []string{
		"", "..", "../config.yaml", "assets/../index.html", "/etc/passwd", ".git/config", "a/.env", "none", `assets\app.js`, "a\x00b",
		"assets/", "assets//app.js", ".ui.old/index.html",
	} {
		f(name, "none")
	}
}

// TestBelow keeps the panel in a directory below the one that is served.
func TestBelow(t *testing.T) {
	dir := newSite(t).Dir()
	put(t, filepath.Join(dir, "other/index.html"), "other")
	s := New(dir, "panels/xd")
	if empty, err := s.Empty(); err != nil || !empty {
		t.Fatal(empty, err)
	}
	for _, text := range []string{"1", "2"} {
		if err := s.Replace(makeZip(t, entry{name: "index.html", body: text}, entry{name: "app-" + text, body: text})); err != nil {
			t.Fatal(err)
		}
	}
	f := func(name, want string) {
		t.Helper()
		if got := read(t, s, name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	f("panels/xd/index.html", "2")
	f("panels/xd/app-2", "2")
	f("panels/xd/app-1", "1") // of the version before
	f("app-1", "none")
	f("panels/app-1", "none")
	f("other/index.html", "other")
	if empty, err := s.Empty(); err != nil || empty {
		t.Fatal(empty, err)
	}
}

// TestOld shows what is found of the version before, and for how long.
func TestOld(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{"1", "2"} {
		err := s.Replace(makeZip(t, entry{name: "index.html", body: text}, entry{name: "same.js", body: text},
			entry{name: text + "/index.html", body: text}, entry{name: text + "/app.js", body: text}))
		if err != nil {
			t.Fatal(err)
		}
	}
	f := func(name, want string) {
		t.Helper()
		if got := read(t, s, name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	f("index.html", "2")
	f("same.js", "2")
	f("2/app.js", "2")
	f("1/app.js", "1")
	f("1/index.html", "none") // no page of it is begun with
	f("1", "none")
	if left, err := s.Forget(time.Hour); err != nil || left <= 0 || left > time.Hour {
		t.Fatal(left, err)
	}
	if err := s.Mend(); err != nil { // it is no rest of another process
		t.Fatal(err)
	}
	f("1/app.js", "1")
	if left, err := s.Forget(0); err != nil || left != 0 {
		t.Fatal(left, err)
	}
	f("1/app.js", "none")
	if list, _ := os.ReadDir(filepath.Dir(s.Dir())); len(list) != 1 {
		t.Error(list)
	}
	if left, err := s.Forget(time.Hour); err != nil || left != 0 {
		t.Fatal(left, err)
	}
}

// TestMend mends what is left by a process that ended at any moment.
func TestMend(t *testing.T) {
	f := func(left ...string) {
		t.Helper()
		s := newSite(t)
		for _, dir := range left {
			put(t, filepath.Join(filepath.Dir(s.Dir()), dir, "index.html"), dir)
		}
		if err := s.Mend(); err != nil {
			t.Error(err)
		}
		list, err := os.ReadDir(filepath.Dir(s.Dir()))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			if len(list) != 0 {
				t.Error(list)
			}
			return
		}
		if got := read(t, s, "index.html"); len(list) != 1 || got != left[0] {
			t.Errorf("%v: %v, %s", left, list, got)
		}
	}
	f()
	f("ui")
	f("ui", ".ui.new")
	f("ui", ".ui.old", ".ui.new")
	f(".ui.old", ".ui.new") // between two renames
	f(".ui.old")
	f("ui", ".ui.old")
	if err := New(filepath.Join(t.TempDir(), "none", "ui"), "a/b").Mend(); err != nil {
		t.Error(err)
	}
	// Replace mends too.
	s := newSite(t)
	put(t, filepath.Join(filepath.Dir(s.Dir()), ".ui.old/index.html"), "old")
	put(t, filepath.Join(filepath.Dir(s.Dir()), ".ui.new/rest"), "rest")
	if err := s.Replace([]byte("PK\x03\x04")); err == nil {
		t.Error("taken")
	}
	if got := read(t, s, "index.html"); got != "old" {
		t.Error(got)
	}
}

// TestReplaceWhileRead replaces the panel again and again while its files are read: they are always
// there, whole, and the file that a page names is that of the page.
func TestReplaceWhileRead(t *testing.T) {
	s := newSite(t)
	version := func(v string) []byte {
		return makeZip(t, entry{name: "p/index.html", body: v}, entry{name: "p/app-" + v + ".js", body: v})
	}
	if err := s.Replace(version("0")); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	stop := make(chan struct{})
	rounds := []chan struct{}{make(chan struct{}), make(chan struct{})}
	for _, round := range rounds {
		readers.Go(func() {
			for {
				v := read(t, s, "index.html")
				if got := read(t, s, "app-"+v+".js"); v == "none" || got != v {
					t.Errorf("version %s has %s", v, got)
				}
				select {
				case <-stop:
					return
				case round <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range 10 {
		if err := s.Replace(version(string(rune('a' + i)))); err != nil {
			t.Error(err)
		}
		for range 2 { // each reader has begun and ended a round since
			<-rounds[0]
			<-rounds[1]
		}
	}
	close(stop)
	readers.Wait()
}
