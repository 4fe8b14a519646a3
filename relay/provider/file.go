package provider

import (
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
		var err error
		if body, written, err = readFile(s.c.Path); err != nil {
			return failed(err), time.Time{}
		}
	}
	changed, err := s.take(body)
	if err != nil {
		return failed(err), time.Time{}
	}
	return outcome{at: now, changed: changed}, written
}

// readFile reads a file and says when it was written.
func readFile(path string) (body []byte, written time.Time, err error) {
	f, written, err := open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	body, err = io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(body) > MaxSize {
		err = tooLarge(path)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return body, written, nil
}

// sumFile is the sum of a file's content.
func sumFile(path string) (string, error) {
	f, _, err := open(path)
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

// open opens a regular file. It looks before it opens, because a named pipe would block it.
func open(path string) (f *os.File, written time.Time, err error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, time.Time{}, err
	case !st.Mode().IsRegular():
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file", path)
	case st.Size() > MaxSize:
		return nil, time.Time{}, tooLarge(path)
	}
	f, err = os.Open(path)
	return f, st.ModTime(), err
}

func tooLarge(path string) error { return fmt.Errorf("%s is larger than %d bytes", path, MaxSize) }
