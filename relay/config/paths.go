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
// what is judged.
func (p Paths) Resolve(path string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", &PathError{Text: "path is empty or no path"}
	}
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(p.Home, full)
	}
	full = filepath.Clean(full)
	if p.Unchecked {
		return full, nil
	}
	real, err := evaluate(full)
	if err != nil {
		return "", p.outside(path)
	}
	for _, dir := range append([]string{p.Home}, p.Safe...) {
		if dir == "" {
			continue
		}
		if realDir, err := evaluate(dir); err == nil && inside(realDir, real) {
			return real, nil
		}
	}
	return "", p.outside(path)
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
	switch {
	case err != nil:
		return nil // whoever opens it will say so
	case st.IsDir():
		return &PathError{Text: "read " + path + ": is a directory"}
	case !st.Mode().IsRegular():
		return &PathError{Text: path + " is no regular file"}
	}
	return nil
}
