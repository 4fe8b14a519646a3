package state

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestStorage(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	quiet := slog.New(slog.DiscardHandler)
	s := New(path, quiet)
	_, ok, err := s.Stored("k")
	if err := errors.Join(err, s.DeleteStored("k")); err != nil || ok {
		t.Fatal(ok, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("reading has written a file")
	}
	large := bytes.Repeat([]byte("1"), MaxStored)
	for key, value := range map[string][]byte{"k": []byte(`{"a":1}`), "日本/ k%": []byte("null"), strings.Repeat("k", maxStoredKey): large} {
		if err := s.PutStored(key, value); err != nil {
			t.Fatalf("%.20s: %v", key, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got, ok, err := s.Stored(key)
		if err != nil || !ok || !bytes.Equal(got, value) {
			t.Fatalf("%.20s: %.20s, %v, %v", key, got, ok, err)
		}
	}
	if err := errors.Join(s.PutStored("k", []byte("2")), s.DeleteStored("none"), s.DeleteStored("日本/ k%")); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := s.Stored("k"); string(got) != "2" || !ok || err != nil {
		t.Errorf("%s, %v, %v", got, ok, err)
	}
	if _, ok, err := s.Stored("日本/ k%"); ok || err != nil {
		t.Error(ok, err)
	}
	for _, err := range []error{
		s.PutStored("", []byte("1")), s.PutStored(strings.Repeat("k", maxStoredKey+1), []byte("1")),
		s.PutStored("k", nil), s.PutStored("k", append(large, '1')),
	} {
		if err == nil || errors.Is(err, ErrFull) {
			t.Error(err)
		}
	}
	if h := s.Health(); h != (Health{}) {
		t.Errorf("%+v", h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStorageFull fills the storage with keys, then with bytes: what is there may be replaced.
func TestStorageFull(t *testing.T) {
	f := func(keys, size int, says string) {
		t.Helper()
		s := New(filepath.Join(t.TempDir(), FileName), slog.New(slog.DiscardHandler))
		defer s.Close()
		err := s.update(true, func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(storage)
			for i := range keys {
				err = errors.Join(err, b.Put(fmt.Append(nil, "k", i), make([]byte, size)))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.PutStored("new", []byte("1"))
		if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want %q", err, says)
		}
		if h := s.Health(); h.Err != nil {
			t.Errorf("a full storage is a fault of the store: %v", h.Err)
		}
		if err := errors.Join(s.PutStored("k0", []byte("1")), s.DeleteStored("k1"), s.PutStored("new", []byte("1"))); err != nil {
			t.Error(err)
		}
	}
	f(maxStoredKeys, 1, "1000 keys")
	f(maxStoredAll/MaxStored, MaxStored, "67108864 bytes")
}

func TestMemories(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), FileName), slog.New(slog.DiscardHandler))
	defer s.Close()
	if _, ok := s.Facts().Load("k"); ok {
		t.Error("there is something before it was saved")
	}
	if err := errors.Join(s.Memory().Save("k", []byte("etag")), s.Facts().Save("k", []byte("fact"))); err != nil {
		t.Fatal(err)
	}
	if v, ok := s.Memory().Load("k"); string(v) != "etag" || !ok {
		t.Errorf("%s, %v", v, ok)
	}
	if err := errors.Join(s.Memory().Delete("k"), s.Memory().Delete("none")); err != nil {
		t.Error(err)
	}
	if _, ok := s.Memory().Load("k"); ok {
		t.Error("it is not forgotten")
	}
	if v, ok := s.Facts().Load("k"); string(v) != "fact" || !ok {
		t.Errorf("%s, %v", v, ok)
	}
}
