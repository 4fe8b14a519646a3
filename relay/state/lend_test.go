package state

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
)

// TestLend: while a store is lent another may use the file; afterwards it is ours again, or not.
func TestLend(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	ours, other := New(path, slog.New(slog.DiscardHandler)), New(path, slog.New(slog.DiscardHandler))
	if err := ours.Select("G", "one"); err != nil {
		t.Fatal(err)
	}
	done := ours.Lend()
	if err := other.Select("G", "two"); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	waits := make(chan map[string]string)
	go func() {
		got, _ := ours.Selections()
		waits <- got
	}()
	select {
	case <-waits:
		t.Error("a lent store was used")
	default:
	}
	done(false)
	if got := <-waits; got["G"] != "two" {
		t.Errorf("%v", got)
	}
	ours.Lend()(true)
	if err := ours.Select("G", "three"); !errors.Is(err, errGone) {
		t.Error(err)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
	got, err := other.Selections()
	if err != nil || got["G"] != "two" {
		t.Errorf("%v, %v", got, err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}
