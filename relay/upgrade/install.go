package upgrade

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts a program beside the one at path, from where it can be run, and returns its place. What an earlier
// upgrade has left there is replaced.
func Write(path string, data []byte) (next string, err error) {
	next = path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	// O_EXCL: nobody's link is followed.
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Chmod(next, 0o755)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(next))
	}
	return next, nil
}

// Swap makes next the program at path, where there is one at every moment. The old one is kept as path.old; back
// puts it back.
func Swap(path, next string) (back func() error, err error) {
	old := path + ".old"
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Link(path, old); err != nil {
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
