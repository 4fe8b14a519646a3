package provider

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 256 << 20

// read takes what is in the file, or Inline, and says when that was written.
func (s *Source[T]) read() (o outcome, written time.Time) {
	now := s.c.Now()
	body, written := s.c.Inline, now
	if s.c.Kind == File {
		seen := LookAt(s.c.Path) // before it is read: what comes later is news
		s.mu.Lock()
		s.seen = seen
		s.mu.Unlock()
		var err error
		if body, written, err = s.readFile(); err != nil {
			return failed(err), time.Time{}
		}
	}
	changed, err := s.take(body)
	if err != nil {
		return failed(err), time.Time{}
	}
	return outcome{at: now, changed: changed}, written
}

// readFile reads the file and says when it was written.
func (s *Source[T]) readFile() (body []byte, written time.Time, err error) {
	f, written, err := s.open()
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	var whole bytes.Buffer // grown at once: a file of a million lines is read without copies
	if st, err := f.Stat(); err == nil && st.Size() <= MaxSize {
		whole.Grow(int(st.Size()) + bytes.MinRead)
	}
	n, err := whole.ReadFrom(io.LimitReader(f, MaxSize+1))
	if err == nil && n > MaxSize {
		err = tooLarge(s.c.Path)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return whole.Bytes(), written, nil
}

// Look is what tells, without reading it, that a file is another. The zero Look is no file.
type Look struct {
	path    string
	written time.Time
	size    int64
}

// LookAt looks at the file path.
func LookAt(path string) (l Look) {
	if st, err := os.Stat(path); err == nil {
		l = Look{path, st.ModTime(), st.Size()}
	}
	return l
}

// news says whether the file looks other than when it was read last. One that was written just before
// it was read may have been written once more in the same moment.
func (s *Source[T]) news() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	const moment = time.Second
	return s.state.Err != nil || s.seen != LookAt(s.c.Path) || s.state.TriedAt.Sub(s.seen.written) < moment
}

// sumFile is the sum of the file's content.
func (s *Source[T]) sumFile() (string, error) {
	f, _, err := s.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, MaxSize+1)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sumOf tells bodies apart, in a form that can be remembered. It is never empty.
func sumOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// open opens the file, a regular one. It looks before it opens, because a named pipe would block it.
func (s *Source[T]) open() (f *os.File, written time.Time, err error) {
	st, err := os.Stat(s.c.Path)
	if err == nil {
		err = fits(s.c.Path, st)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if f, err = s.c.Open(s.c.Path); err != nil {
		return nil, time.Time{}, err
	}
	if st, err = f.Stat(); err == nil { // it may be another by now
		err = fits(s.c.Path, st)
	}
	if err != nil {
		_ = f.Close()
		return nil, time.Time{}, err
	}
	return f, st.ModTime(), nil
}

func fits(path string, st os.FileInfo) error {
	switch {
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case st.Size() > MaxSize:
		return tooLarge(path)
	}
	return nil
}

func tooLarge(path string) error { return fmt.Errorf("%s is larger than %d bytes", path, MaxSize) }
