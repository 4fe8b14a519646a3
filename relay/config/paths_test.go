package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpen opens what is inside the fence, also behind links that stay there.
func TestOpen(t *testing.T) {
	home, outside := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{filepath.Join(home, "in"): "ours", filepath.Join(home, "d", "in"): "ours", filepath.Join(outside, "out"): "theirs"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"link": "d/in", "out": filepath.Join(outside, "out"), "dir": outside} {
		if err := os.Symlink(to, filepath.Join(home, name)); err != nil {
			t.Skip(err)
		}
	}
	p := Paths{Home: home}
	for _, path := range []string{"in", "d/in", "link", filepath.Join(home, "in"), "d/../in"} {
		f, err := p.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(f); err != nil || string(b) != "ours" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
		_ = f.Close()
	}
	for path, want := range map[string]string{
		"out": "not subpath", "dir/out": "not subpath", "../x": "not subpath", filepath.Join(outside, "out"): "not subpath", "": "no path", "a\x00": "no path",
		strings.Repeat("a/", 3000): "too long", "d": "is a directory", ".": "is a directory", "none": "open " + filepath.Join(home, "none") + ": ",
	} {
		if f, err := p.Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, %v; want %s", path, f, err, want)
		}
	}
	free := Paths{Home: home, Unchecked: true}
	if f, err := free.Open("out"); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if root, name, err := free.Root("out"); root != nil || name != filepath.Join(home, "out") || err != nil {
		t.Errorf("%v %s %v", root, name, err)
	}
}
