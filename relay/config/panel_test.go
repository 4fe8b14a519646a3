package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPanel(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	home, other, safe := filepath.Join(top, "home"), filepath.Join(top, "other"), filepath.Join(top, "safe")
	for _, dir := range []string{home, other, safe, filepath.Join(safe, "etc")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(safe, "etc", "config.yaml")
	for name, to := range map[string]string{"out": other, "self": home, "in": "real", "back": file} {
		if err := os.Symlink(to, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(home, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	panel := func(ui string) (Panel, error) {
		c := Default()
		c.File, c.Paths = file, Paths{Home: home, Safe: []string{safe}}
		c.Controller.UI, c.Controller.UIName = ui, "/a/b/"
		return c.Panel()
	}
	good := func(ui, want string) {
		t.Helper()
		if p, err := panel(ui); err != nil || p.Dir != want || p.Name != "a/b" {
			t.Errorf("%q: %+v, %v", ui, p, err)
		}
	}
	good("", filepath.Join(home, "ui"))
	good("./x/y", filepath.Join(home, "x", "y"))
	good("in/x", filepath.Join(home, "real", "x"))
	good(filepath.Join(safe, "panel"), filepath.Join(safe, "panel"))
	bad := func(ui, want string) {
		t.Helper()
		p, err := panel(ui)
		if _, ok := errors.AsType[*PathError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v", ui, p, err)
		}
	}
	for _, ui := range []string{"..", "../other", other, "/", "out", "out/x", "ui\x00"} {
		bad(ui, "path is ")
	}
	// What is served and replaced must not hold what the daemon lives of.
	for _, ui := range []string{".", "./", "x/..", home, "self", safe, filepath.Join(safe, "etc")} {
		bad(ui, "want a directory of its own")
	}
}

func TestPanelName(t *testing.T) {
	f := func(name string, ok bool) {
		t.Helper()
		_, diags := Parse("c.yaml", []byte("external-ui: ui\nexternal-ui-name: '"+name+"'\n"))
		if err := diags.Err(); (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), "c.yaml:2:1: error: external-ui-name: want the name of a directory") {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "xd", "a/b", "xd/", "/xd", "Панель 1"} {
		f(name, true)
	}
	for _, name := range []string{"..", "../x", "a/../b", ".git", "a/.b", "a//b", `a\b`, "C:x"} {
		f(name, false)
	}
}
