package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSelections(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path)
	if got, err := s.Selections(); err != nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("reading has written a file")
	}
	if err := s.Select("日本/组 1", "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := New(path).Selections()
	if err != nil || got["日本/组 1"] != "a/b" {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path)
	if err := s.Select("g", "m"); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := New(path).Select("g", "n"); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatal(err)
	}
}

func TestAFileThatIsNoStoreIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(path)
	defer s.Close()
	if err := s.Select("g", "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}
