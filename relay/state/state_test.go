package state

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestSelections(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
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
	got, err := New(path, slog.New(slog.DiscardHandler)).Selections()
	if err != nil || got["日本/组 1"] != "a/b" {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
	if err := s.Select("g", "m"); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := New(path, slog.New(slog.DiscardHandler)).Select("g", "n"); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatal(err)
	}
}

func TestAFileThatIsNoStoreIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(path, slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Select("g", "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}

// TestDamage cuts and overwrites a store at every page: what is left of it is kept aside, and the
// daemon goes on.
func TestDamage(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	whole := filepath.Join(t.TempDir(), FileName)
	s := New(whole, quiet)
	for i := range 500 {
		if err := s.Select(strings.Repeat("group", 20)+strconv.Itoa(i), strings.Repeat("member", 20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	f := func(damaged []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s := New(path, quiet)
		defer s.Close()
		if _, err := s.Selections(); err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
		if err := s.Select("g", "m"); err != nil {
			t.Error(err)
		}
		if got, err := s.Selections(); err != nil || got["g"] != "m" {
			t.Errorf("%d choices, %v", len(got), err)
		}
	}
	const page = 4096
	for at := page; at < len(good); at += 3 * page {
		f(good[:at])
		f(slices.Concat(good[:at], make([]byte, 6*page), good[min(at+6*page, len(good)):]))
	}
}

// TestManyChoose has choices stored by several at a time: of each group the last one is what stays.
func TestManyChoose(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
	const groups, times = 8, 10
	var all sync.WaitGroup
	for g := range groups {
		all.Go(func() {
			for i := range times {
				if err := s.Select(strconv.Itoa(g), strconv.Itoa(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if h := s.Health(); h != (Health{}) {
		t.Errorf("%+v", h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := stored(t, path)
	for g := range groups {
		if got[strconv.Itoa(g)] != strconv.Itoa(times-1) {
			t.Errorf("%d: %q", g, got[strconv.Itoa(g)])
		}
	}
}
