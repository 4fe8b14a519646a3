package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write puts a program beside the one at path, with its mode, and returns its place. What an earlier upgrade has left
// there is replaced.
func Write(path string, data []byte) (next string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	next = path + ".new"
	if err := place(next, bytes.NewReader(data), st.Mode().Perm()); err != nil {
		return "", err
	}
	return next, nil
}

// place makes the file path of what r has, or nothing.
func place(path string, r io.Reader, mode os.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// O_EXCL: nobody's link is followed.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// keep makes old another name of the file path, or a copy of it where the file system has no such names.
func keep(path, old string, link func(path, old string) error) error {
	if link(path, old) == nil {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return place(old, f, st.Mode().Perm())
}

// Swap makes next the program at path, where there is one at every moment. The old one is kept as path.old; back
// puts it back.
func Swap(path, next string) (back func() error, err error) {
	old := path + ".old"
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := keep(path, old, os.Link); err != nil {
		return nil, fmt.Errorf("keep the old program: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return nil, errors.Join(err, os.Remove(old))
	}
	syncDir(path)
	return func() error {
		err := os.Rename(old, path)
		syncDir(path)
		return err
	}, nil
}

// syncDir makes renames last. Where that does not work they may not survive a power cut, and that is all.
func syncDir(path string) {
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
