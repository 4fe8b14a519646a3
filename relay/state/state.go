// Package state keeps what survives a restart, in one file of the home directory.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the name of the store in the home directory. It and the bucket of selections are
// those of the family, so that a home directory taken over keeps its choices.
const FileName = "cache.db"

// Store is the file. It is opened at the first use and created at the first write, so that a
// daemon which has nothing to remember writes nothing. Its methods may be called concurrently.
type Store struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex // held while the file is used
	db   *bbolt.DB
	busy bool // another process had the file open when it was tried last
	gone bool // the file is another process's

	told    sync.Mutex // guards what follows; taken after mu, and not held while the file is used
	health  Health
	writing bool              // health.Err came from writing, and no read takes it back
	known   map[string]string // the choices that have been read or made
	unsaved map[string]string // those of them that the file does not have
	trouble chan struct{}     // holds an element while Serve has something to try again
}

// New names the file; it opens nothing.
func New(path string, log *slog.Logger) *Store {
	return &Store{
		path: path, log: log, trouble: make(chan struct{}, 1),
		known: make(map[string]string), unsaved: make(map[string]string),
	}
}

// view reads. Where there is no file f is not called.
func (s *Store) view(f func(*bbolt.Tx) error) error {
	return s.use(false, false, func(db *bbolt.DB) error { return db.View(f) })
}

// update writes what f does, and the choices that could not be stored before, or nothing of it. It
// returns once that would survive the end of the process.
func (s *Store) update(create bool, f func(*bbolt.Tx) error) error {
	return s.use(create, true, func(db *bbolt.DB) error {
		choices := s.waiting() // under mu: an older choice never comes behind a newer one
		err := db.Update(func(tx *bbolt.Tx) error {
			if err := putChoices(tx, choices); err != nil {
				return err
			}
			return f(tx)
		})
		if err == nil {
			s.saved(choices)
		}
		return err
	})
}

func nothing(*bbolt.Tx) error { return nil }

// use calls f with the open file; where there is none it is created, or f is not called. A file
// that turns out to be damaged is put aside, and f gets a new one.
func (s *Store) use(create, writes bool, f func(*bbolt.DB) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return errGone
	}
	for again := range 2 {
		db, err := s.open(create)
		if err != nil {
			s.note(writes, err)
			return err
		}
		if db == nil {
			return nil
		}
		err = unharmed(func() error { return f(db) })
		if !errors.Is(err, errDamaged) || again > 0 {
			s.note(writes, err)
			return s.named(err)
		}
		s.db = nil // its locks may be held for good: it is left as it is, and never used again
		if err := s.putAside(err); err != nil {
			s.note(writes, err)
			return err
		}
	}
	return nil
}

// named says which file an error is about, where that is not known already.
func (s *Store) named(err error) error {
	if err == nil || errors.Is(err, ErrFull) || strings.Contains(err.Error(), s.path) {
		return err
	}
	return fmt.Errorf("state %s: %w", s.path, err)
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

// How long another process that has the file open is waited for: at first, since it may be about to
// end, and once it is known not to be.
const (
	lockWait   = time.Second
	lockGlance = time.Nanosecond
)

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
	if create {
		if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	err := s.openFile()
	if noStore(err) {
		if err := s.putAside(err); err != nil || !create {
			return nil, err
		}
		err = s.openFile()
	}
	s.busy = errors.Is(err, berrors.ErrTimeout)
	switch {
	case s.busy:
		return nil, fmt.Errorf("state %s: in use by another process", s.path)
	case err != nil:
		return nil, fmt.Errorf("state: %w", err)
	}
	return s.db, nil
}

var errEmpty = errors.New("the file is empty")

// noStore says that a file failed to open for what is in it, and not for who holds it or what the
// system has against it.
func noStore(err error) bool {
	var path *fs.PathError
	var errno syscall.Errno
	return err != nil && !errors.Is(err, berrors.ErrTimeout) && !errors.As(err, &path) && !errors.As(err, &errno)
}

func (s *Store) openFile() error {
	wait := lockWait
	if s.busy {
		wait = lockGlance
	}
	if st, err := os.Stat(s.path); err == nil && st.Mode().IsRegular() && st.Size() == 0 { // bbolt would begin anew in silence
		return errEmpty
	}
	return unharmed(func() (err error) {
		db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: wait, NoStatistics: true})
		if err == nil {
			s.db = db
		}
		return err
	})
}

// putAside keeps a file that is no store, or no longer, under another name. The choices that are known
// go into the next one.
func (s *Store) putAside(why error) error {
	name := s.path + ".bad"
	if _, err := os.Lstat(name); err == nil {
		name += "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if err := os.Rename(s.path, name); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	s.log.Warn("what was remembered cannot be read and begins anew", "file", s.path, "kept as", name, "err", why)
	s.lost(name)
	return nil
}

// Close tries once more to store the choices that wait, and closes the file. The store may be used again
// and then opens anew.
func (s *Store) Close() error {
	if len(s.waiting()) > 0 {
		if err := s.update(true, nothing); err != nil {
			s.log.Warn("choices will not survive the restart", "groups", slices.Sorted(maps.Keys(s.waiting())), "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	s.db = nil
	return err
}
