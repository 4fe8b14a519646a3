//go:build unix

package webui

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOpenLinks opens links that stay inside, and nothing else that is no file.
func TestOpenLinks(t *testing.T) {
	s := newSite(t)
	put(t, filepath.Join(s.Dir(), "index.html"), "index")
	put(t, filepath.Join(filepath.Dir(s.Dir()), "config.yaml"), "secret")
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(s.Dir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	link("index.html", "same")
	link("../config.yaml", "file")
	link("..", "up")
	link("/", "root")
	link("loop", "loop")
	if err := syscall.Mkfifo(filepath.Join(s.Dir(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, "same"); got != "index" {
		t.Error(got)
	}
	for _, name := range []string{"file", "up/config.yaml", "root/etc/passwd", "loop", "pipe"} {
		if _, err := s.Open(name); err == nil {
			t.Errorf("%s is open", name)
		}
	}
}

// TestInTheWay shows that a symbolic link in the panel's place is replaced and not followed, and that
// a file there stays.
func TestInTheWay(t *testing.T) {
	s := newSite(t)
	put(t, s.Dir(), "a file")
	archive := makeZip(t, pages("index.html")...)
	if err := s.Replace(archive); err == nil || !strings.Contains(err.Error(), "is no directory") {
		t.Error(err)
	}
	if b, err := os.ReadFile(s.Dir()); err != nil || string(b) != "a file" {
		t.Error(err)
	}
	precious := t.TempDir()
	put(t, filepath.Join(precious, "x"), "precious")
	f := func(s *Site) {
		t.Helper()
		for range 2 {
			if err := s.Replace(archive); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Forget(0); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(precious, "x")); err != nil || string(b) != "precious" {
			t.Fatal(err)
		}
		if st, err := os.Lstat(s.Dir()); err != nil || !st.IsDir() {
			t.Error(st, err)
		}
	}
	_ = os.Remove(s.Dir())
	if err := os.Symlink(precious, s.Dir()); err != nil {
		t.Fatal(err)
	}
	f(s)
	below := New(newSite(t).Dir(), "xd")
	_ = os.MkdirAll(filepath.Dir(below.Dir()), 0o700)
	if err := os.Symlink(precious, below.Dir()); err != nil {
		t.Fatal(err)
	}
	f(below)
	// A link above it leads nowhere else.
	out := New(newSite(t).Dir(), "link/xd")
	_ = os.MkdirAll(filepath.Dir(filepath.Dir(out.Dir())), 0o700)
	if err := os.Symlink(precious, filepath.Dir(out.Dir())); err != nil {
		t.Fatal(err)
	}
	if err := out.Replace(archive); err == nil {
		t.Error("a link was followed")
	}
	if list, _ := os.ReadDir(precious); len(list) != 1 {
		t.Error(list)
	}
}
