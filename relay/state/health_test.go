package state

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// hold opens a store as another process would, which finds it locked.
func hold(t *testing.T, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// stored is what another process finds in the file.
func stored(t *testing.T, path string) map[string]string {
	t.Helper()
	s := New(path, slog.New(slog.DiscardHandler))
	defer s.Close()
	got, err := s.Selections()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestLocked has another process hold the file from the start: what is chosen meanwhile is stored
// when the file is free, what is in it can be read then, and the log says each once.
func TestLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), FileName)
		var log bytes.Buffer
		s := New(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err := errors.Join(s.Select("old", "a"), s.Select("both", "a"), s.Close()); err != nil {
			t.Fatal(err)
		}
		other := hold(t, path)
		s = New(path, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, end := context.WithCancel(t.Context())
		var back atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Serve(ctx, func() { back.Add(1) })
		}()
		since := time.Now().Add(lockWait)
		if got, err := s.Selections(); err == nil || len(got) != 0 {
			t.Errorf("%v, %v", got, err)
		}
		begun := time.Now()
		for _, member := range []string{"a", "b"} {
			if err := s.Select("both", member); err == nil || !strings.Contains(err.Error(), "in use by another process") {
				t.Error(err)
			}
		}
		if _, _, err := s.Stored("k"); err == nil {
			t.Error("read from a locked store")
		}
		if waited := time.Since(begun); waited > lockWait/10 {
			t.Errorf("waited %v for a file that is known to be held", waited)
		}
		if got, _ := s.Selections(); got["both"] != "b" {
			t.Errorf("the choice is forgotten: %v", got)
		}
		h := s.Health()
		if h.Err == nil || h.Unsaved != 1 || h.Since.Sub(since).Abs() > lockWait || h.PutAside != "" {
			t.Errorf("%+v", h)
		}
		time.Sleep(time.Minute) // on the bubble's clock
		if back.Load() != 0 || strings.Count(log.String(), "in use by another process") != 1 {
			t.Errorf("%d\n%s", back.Load(), &log)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lastRetry + time.Second)
		if h := s.Health(); h != (Health{}) || back.Load() != 1 {
			t.Errorf("%+v, %d", h, back.Load())
		}
		if got, err := s.Selections(); err != nil || got["old"] != "a" || got["both"] != "b" {
			t.Errorf("%v, %v", got, err)
		}
		time.Sleep(time.Minute)
		if back.Load() != 1 || strings.Count(log.String(), "is stored again") != 1 || strings.Count(log.String(), "\n") != 2 {
			t.Errorf("%d\n%s", back.Load(), &log)
		}
		end()
		<-ended
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := stored(t, path); got["old"] != "a" || got["both"] != "b" {
			t.Errorf("%v", got)
		}
	})
}

// TestLockedAtTheEnd frees the file so late that only Close can store what waits.
func TestLockedAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	var log bytes.Buffer
	s := New(path, slog.New(slog.NewTextHandler(&log, nil)))
	other := hold(t, path)
	if err := s.Select("g", "m"); err == nil {
		t.Error("stored in a locked store")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "groups=[g]") {
		t.Errorf("nothing is said of the choice that is lost:\n%s", &log)
	}
	if err := errors.Join(other.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if got := stored(t, path); got["g"] != "m" {
		t.Errorf("%v", got)
	}
}

// TestPutAside finds a file damaged that was good before: what is known of it is stored anew, and the
// rest is told to be lost.
func TestPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := New(path, slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := errors.Join(s.Select("g", "m"), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Selections(); err != nil || got["g"] != "m" {
		t.Errorf("%v, %v", got, err)
	}
	if err := s.PutStored("k", []byte("1")); err != nil {
		t.Fatal(err)
	}
	h := s.Health()
	if h.Err != nil || h.Unsaved != 0 || h.PutAside != path+".bad" || h.PutAsideAt.IsZero() {
		t.Errorf("%+v", h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, path); got["g"] != "m" {
		t.Errorf("%v", got)
	}
}

// TestNoPlace has no directory to write to, until there is one.
func TestNoPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(filepath.Join(dir, FileName), slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Select("g", "m"); err == nil {
		t.Fatal("written into a file")
	}
	if h := s.Health(); h.Err == nil || h.Unsaved != 1 || s.retry() {
		t.Errorf("%+v", h)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if !s.retry() || s.Health() != (Health{}) {
		t.Errorf("%+v", s.Health())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, s.path); got["g"] != "m" {
		t.Errorf("%v", got)
	}
}

// TestReadsDoNotHideWrites fails to write, as on a full disk: that reading works does not end it.
func TestReadsDoNotHideWrites(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), FileName), slog.New(slog.DiscardHandler))
	defer s.Close()
	if err := s.Select("g", "m"); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	if err := s.update(true, func(*bbolt.Tx) error { return full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if _, err := s.Selections(); err != nil || !errors.Is(s.Health().Err, full) || s.Health().Since.IsZero() {
		t.Errorf("%v, %+v", err, s.Health())
	}
	if !s.retry() { // nothing waits for it: those who wrote were told
		t.Error("it is tried for ever")
	}
	if err := s.Select("g", "n"); err != nil || s.Health() != (Health{}) {
		t.Errorf("%v, %+v", err, s.Health())
	}
}
