// Package state keeps what survives a restart, in one file of the home directory.
package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
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
	log  *slog.Logger
	mu   sync.Mutex
	db   *bbolt.DB

	busy   error     // another process had the file open
	busyAt time.Time // when that was seen
}

// New names the file; it opens nothing.
func New(path string, log *slog.Logger) *Store { return &Store{path: path, log: log} }

// Selections returns the chosen member of each group.
func (s *Store) Selections() (map[string]string, error) {
	chosen := make(map[string]string)
	err := s.use(false, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(selected)
			if b == nil {
				return nil
			}
			return b.ForEach(func(k, v []byte) error {
				chosen[string(k)] = string(v)
				return nil
			})
		})
	})
	return chosen, err
}

// Select remembers that group has chosen member.
func (s *Store) Select(group, member string) error {
	return s.use(true, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(selected)
			if err != nil {
				return err
			}
			return b.Put([]byte(group), []byte(member))
		})
	})
}

// use calls f with the open file; where there is none it is created, or f is not called. A file
// that turns out to be damaged is put aside, and f gets a new one.
func (s *Store) use(create bool, f func(*bbolt.DB) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for again := range 2 {
		db, err := s.open(create)
		if err != nil || db == nil {
			return err
		}
		err = unharmed(func() error { return f(db) })
		if !errors.Is(err, errDamaged) || again > 0 {
			return err
		}
		s.db = nil // its locks may be held for good: it is left as it is, and never used again
		if err := s.putAside(err); err != nil {
			return err
		}
	}
	return nil
}

// errDamaged means that what is in the file makes no sense.
var errDamaged = errors.New("damaged")

// unharmed calls f, which reads a mapped file. What a damaged or truncated one does to its reader,
// panics and faults, becomes errDamaged.
func unharmed(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errDamaged, v)
		}
	}()
	return f()
}

// busyTime is how long it is believed that another process has the file open, so that many who ask do
// not wait one after the other.
const busyTime = 5 * time.Second

// lockWait bounds the wait for another process that has the file open.
const lockWait = time.Second

// open returns the open file, or nil where there is none and it is not to be created.
func (s *Store) open(create bool) (*bbolt.DB, error) {
	if s.db != nil {
		return s.db, nil
	}
	if _, err := os.Stat(s.path); err != nil && !create {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("state: %w", err)
	}
	if s.busy != nil && time.Since(s.busyAt) < busyTime {
		return nil, s.busy
	}
	s.busy = nil
	err := s.openFile()
	if noStore(err) {
		if err := s.putAside(err); err != nil || !create {
			return nil, err
		}
		err = s.openFile()
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		s.busy, s.busyAt = fmt.Errorf("state %s: in use by another process", s.path), time.Now()
		return nil, s.busy
	case err != nil:
		return nil, fmt.Errorf("state %s: %w", s.path, err)
	}
	return s.db, nil
}

// noStore says that a file failed to open for what is in it, and not for who holds it or what the
// system has against it.
func noStore(err error) bool {
	var path *fs.PathError
	var errno syscall.Errno
	return err != nil && !errors.Is(err, berrors.ErrTimeout) && !errors.As(err, &path) && !errors.As(err, &errno)
}

func (s *Store) openFile() error {
	return unharmed(func() (err error) {
		db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: lockWait, NoStatistics: true})
		if err == nil {
			s.db = db
		}
		return err
	})
}

// putAside keeps a file that is no store, or no longer, under another name.
func (s *Store) putAside(why error) error {
	name := s.path + ".bad"
	if _, err := os.Lstat(name); err == nil {
		name += "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if err := os.Rename(s.path, name); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	s.log.Warn("what was remembered cannot be read and begins anew", "file", s.path, "kept as", name, "err", why)
	return nil
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

var validators = []byte("validators")

// Memory keeps small values by name: what servers said of the files that are at hand.
type Memory struct{ s *Store }

// Memory is the part of the store that is one.
func (s *Store) Memory() Memory { return Memory{s} }

// Load returns the value that was saved under key.
func (m Memory) Load(key string) (value []byte, ok bool) {
	err := m.s.use(false, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			if b := tx.Bucket(validators); b != nil {
				value = bytes.Clone(b.Get([]byte(key)))
			}
			return nil
		})
	})
	if err != nil {
		m.s.log.Warn("what was remembered of a download cannot be read", slog.Any("err", err))
	}
	return value, value != nil
}

// Save keeps value under key.
func (m Memory) Save(key string, value []byte) error {
	return m.s.use(true, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(validators)
			if err != nil {
				return err
			}
			return b.Put([]byte(key), value)
		})
	})
}
