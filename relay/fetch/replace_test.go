package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	for _, text := range []string{"old", "new and longer", ""} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Fatalf("%q, %v", b, err)
		}
	}
	mode := func(path string, want os.FileMode) {
		t.Helper()
		if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	mode(path, 0o600)
	mode(filepath.Join(dir, "a"), 0o700)
	only(t, filepath.Dir(path), "file")
}

func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Replace(path, []byte("x"))
	text := fmt.Sprint(err)
	if !strings.HasPrefix(text, "write "+path+": ") || strings.Contains(text, ".tmp") {
		t.Error(err)
	}
	only(t, dir, "taken")

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(file, "below"), nil); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestReplaceInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Replace("file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	only(t, ".", "file")
}

// only checks that a directory holds one entry, and so nothing that was left beside it.
func only(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestReplaceIn shows that no link leads out of the root, neither in place of a directory nor of the file.
func TestReplaceIn(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"file", "a/b/file"} {
		for _, text := range []string{"old", "new"} {
			if err := ReplaceIn(root, name, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != text {
				t.Fatalf("%q, %v", b, err)
			}
		}
	}
	only(t, filepath.Join(dir, "a", "b"), "file")
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "kept"), filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link/file", "link/c/file", "link/kept", "../file"} {
		if err := ReplaceIn(root, name, []byte("x")); err == nil {
			t.Errorf("%s is written", name)
		}
	}
	if err := ReplaceIn(root, "a/link", []byte("x")); err != nil { // the link is replaced
		t.Error(err)
	}
	only(t, outside, "kept")
	if b, err := os.ReadFile(filepath.Join(outside, "kept")); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}
