package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Paths is the fence around the files that a configuration or a client may name.
type Paths struct {
	Home      string   // absolute; relative paths are relative to it
	Safe      []string // more folders that are allowed: SAFE_PATHS
	Unchecked bool     // there is no fence: SKIP_SAFE_PATH_CHECK
}

// Resolve returns path as an absolute path without symbolic links. It is inside Home or one of Safe,
// or Resolve returns a *PathError. The file need not exist; the folders of its path that exist are
// what is judged. To read the file there is Open, and Root to write it.
func (p Paths) Resolve(path string) (string, error) {
	_, real, err := p.resolve(path)
	return real, err
}

// maxPath bounds a path, in bytes.
const maxPath = 4096

// resolve is Resolve, and the folder of the fence that the path is in; "" is that there is no fence.
func (p Paths) resolve(path string) (dir, real string, err error) {
	if path == "" || len(path) > maxPath || strings.ContainsRune(path, 0) {
		return "", "", &PathError{Text: "path is empty, too long or no path"}
	}
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(p.Home, full)
	}
	full = filepath.Clean(full)
	if p.Unchecked {
		return "", full, nil
	}
	real, err = evaluate(full)
	if err != nil {
		return "", "", p.outside(path)
	}
	for _, dir := range append([]string{p.Home}, p.Safe...) {
		if dir == "" {
			continue
		}
		if realDir, err := evaluate(dir); err == nil && inside(realDir, real) {
			return realDir, real, nil
		}
	}
	return "", "", p.outside(path)
}

// Root opens the folder of the fence that path is in, and says what path is called there. What is
// opened by it is inside, also when somebody puts a link in the way meanwhile. The caller closes it.
// Where there is no fence it is nil, and name is the whole path.
func (p Paths) Root(path string) (root *os.Root, name string, err error) {
	dir, real, err := p.resolve(path)
	if err != nil || dir == "" {
		return nil, real, err
	}
	if name, err = filepath.Rel(dir, real); err != nil {
		return nil, "", p.outside(path)
	}
	root, err = os.OpenRoot(dir)
	return root, name, err
}

// Open opens the file at path, which must be a regular one, for reading. The caller closes it.
func (p Paths) Open(path string) (*os.File, error) {
	root, name, err := p.Root(path)
	if err != nil {
		return nil, err
	}
	stat, open := os.Stat, os.Open
	if root != nil {
		defer root.Close()
		stat, open = root.Stat, root.Open
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Home, path)
	}
	st, err := stat(name)
	if err == nil {
		err = isRegular(path, st) // or opening a pipe may never end
	}
	var f *os.File
	if err == nil {
		f, err = open(name)
	}
	if err == nil {
		if st, err = f.Stat(); err == nil {
			err = isRegular(path, st)
		}
	}
	if err != nil && f != nil {
		_ = f.Close()
	}
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = &fs.PathError{Op: "open", Path: path, Err: inner.Err}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (p Paths) outside(path string) error {
	return &PathError{Text: fmt.Sprintf(
		"path is not subpath of home directory or SAFE_PATHS: %s \n allowed paths: [%s]",
		path, strings.Join(append([]string{p.Home}, p.Safe...), ", "),
	)}
}

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// evaluate resolves the symbolic links of the part of path that exists. A link that leads nowhere
// is an error: what it names may come to be anywhere.
func evaluate(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("%s: a symbolic link that leads nowhere", path)
		}
		parent := filepath.Dir(path)
		if parent == path {
			return "", err
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = parent
	}
}

// PathError says that a file which a client or a configuration names may not be used, or cannot be.
// Its text is for whoever named it and quotes nothing of the file.
type PathError struct{ Text string }

func (e *PathError) Error() string { return e.Text }

// Regular refuses what is there and is no file: reading a pipe may never end.
func Regular(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return nil // whoever opens it will say so
	}
	return isRegular(path, st)
}

func isRegular(path string, st fs.FileInfo) error {
	switch {
	case st.IsDir():
		return &PathError{Text: "read " + path + ": is a directory"}
	case !st.Mode().IsRegular():
		return &PathError{Text: path + " is no regular file"}
	}
	return nil
}
