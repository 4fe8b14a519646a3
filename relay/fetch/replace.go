package fetch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace writes a file beside path and moves it there, so that readers see the old or the new
// content and never a part, also after a crash. It makes missing directories. The file is for its
// owner alone; a symbolic link at path is replaced, not followed.
func Replace(path string, data []byte) error {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var folder *os.Root
		if folder, err = os.OpenRoot(dir); err == nil {
			defer folder.Close()
			err = replace(folder, name, data)
		}
	}
	return replaced(path, err)
}

// ReplaceIn is Replace of a file below root, out of which no link can lead.
func ReplaceIn(root *os.Root, name string, data []byte) error {
	dir, base := filepath.Split(name)
	if dir = filepath.Clean(dir); dir == "." {
		return replaced(name, replace(root, base, data))
	}
	err := root.MkdirAll(dir, 0o700)
	if err == nil {
		var folder *os.Root
		if folder, err = root.OpenRoot(dir); err == nil {
			defer folder.Close()
			err = replace(folder, base, data)
		}
	}
	return replaced(name, err)
}

func replaced(path string, err error) error {
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	return nil
}

func replace(folder *os.Root, name string, data []byte) (err error) {
	beside := "." + name + "." + rand.Text() + ".tmp"
	f, err := folder.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = folder.Remove(beside)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return folder.Rename(beside, name)
}

// cause drops the name of the file beside, which is another each time.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}
