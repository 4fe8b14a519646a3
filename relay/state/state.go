// Package state keeps what survives a restart, in one file of the home directory.
package state

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the name of the store in the home directory. It and the bucket of selections are
// those of the family, so that a home directory taken over keeps its choices.
const FileName = "cache.db"

var selected = []byte("selected")

// Store is the file. It is opened at the first use and created at the first write, so that a
// daemon which has nothing to remember writes nothing.
type Store struct {
	path string
	mu   sync.Mutex
	db   *bbolt.DB
}

// New names the file; it opens nothing.
func New(path string) *Store { return &Store{path: path} }

// Selections returns the chosen member of each group.
func (s *Store) Selections() (map[string]string, error) {
	db, err := s.open(false)
	if err != nil || db == nil {
		return nil, err
	}
	chosen := make(map[string]string)
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(selected)
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			chosen[string(k)] = string(v)
			return nil
		})
	})
	return chosen, err
}

// Select remembers that group has chosen member.
func (s *Store) Select(group, member string) error {
	db, err := s.open(true)
	if err != nil {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(selected)
		if err != nil {
			return err
		}
		return b.Put([]byte(group), []byte(member))
	})
}

// lockWait bounds the wait for another process that has the file open.
const lockWait = time.Second

func (s *Store) open(create bool) (*bbolt.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return s.db, nil
	}
	if _, err := os.Stat(s.path); err != nil && !create {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("state: %w", err)
	}
	db, err := openFile(s.path)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("state %s: in use by another process", s.path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		if db, err = s.startOver(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("state %s: %w", s.path, err)
	}
	s.db = db
	return db, nil
}

func openFile(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoStatistics: true})
}

// startOver keeps a file that is no store under another name and begins an empty one.
func (s *Store) startOver() (*bbolt.DB, error) {
	if err := os.Rename(s.path, s.path+".bad"); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	db, err := openFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("state %s: %w", s.path, err)
	}
	return db, nil
}

// Close closes the file. The store may be used again and then opens anew.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	s.db = nil
	return err
}
