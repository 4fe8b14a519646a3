// Package webui keeps a web panel in a directory: it unpacks archives of outsiders within bounds,
// puts one in place of another whole or not at all, and opens its files for whoever serves them.
package webui

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Index is the page of a directory.
const Index = "index.html"

// Site is a directory that is served, and in it, or in one below it, the panel. Its methods may be
// called at the same time.
type Site struct {
	dir  string // what is served: absolute, without symbolic links when the site was made
	name string // of the panel below dir, slash-separated; "" is dir itself

	replacing sync.Mutex   // one change at a time
	swapping  sync.RWMutex // nobody looks for a file while directories are renamed; taken inside replacing
	since     time.Time    // when the version before was put aside; zero where there is none
	round     int          // how often the panel was replaced
}

// New makes a site of dir, an absolute path without symbolic links. The panel is in dir, or below it
// in name, a slash-separated path. Nothing is looked at yet.
func New(dir, name string) *Site { return &Site{dir: dir, name: name} }

// Name is where the panel is below what is served, slash-separated; "" is that it is not below.
func (s *Site) Name() string { return s.name }

// Dir is where the panel is.
func (s *Site) Dir() string { return filepath.Join(s.dir, filepath.FromSlash(s.name)) }

// File is a file or a directory of a site. Whoever gets it closes it.
type File struct {
	*os.File // nil for a directory
	Size     int64
	Modified time.Time
	Tag      string // another one whenever the content is another; without quotes
}

// IsDir says whether it is a directory, which there is nothing to read of.
func (f *File) IsDir() bool { return f.File == nil }

// Open opens the file at name, a slash-separated path below what is served. Names that begin with a
// dot, what is neither a file nor a directory, and symbolic links that lead out of the directory are
// not there. A file that the last Replace took away is found for a while longer, since pages that
// are open in browsers go on to ask for it.
func (s *Site) Open(name string) (*File, error) {
	if !fs.ValidPath(name) || strings.HasPrefix(name, ".") && name != "." || strings.Contains(name, "/.") ||
		strings.ContainsAny(name, "\\\x00") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	s.swapping.RLock()
	defer s.swapping.RUnlock()
	f, err := s.open(path.Join(filepath.Base(s.dir), name))
	if err == nil || s.since.IsZero() || path.Base(name) == Index {
		return f, err
	}
	rest, below := cutPath(name, s.name)
	if !below {
		return nil, err
	}
	old, missing := s.open(path.Join(filepath.Base(s.dir), path.Dir(s.name), aside(s.Dir()), rest))
	if s.name == "" {
		old, missing = s.open(path.Join(aside(s.dir), rest))
	}
	if missing != nil || old.IsDir() {
		return nil, err
	}
	return old, nil
}

// cutPath returns what stands in name behind the path dir.
func cutPath(name, dir string) (rest string, below bool) {
	if dir == "" {
		return name, true
	}
	return strings.CutPrefix(name, dir+"/")
}

// open opens what is at name beside what is served.
func (s *Site) open(name string) (*File, error) {
	beside, err := os.OpenRoot(filepath.Dir(s.dir))
	if err != nil {
		return nil, err
	}
	defer beside.Close()
	first, rest, _ := strings.Cut(name, "/")
	if rest == "" {
		rest = "."
	}
	root, err := beside.OpenRoot(first) // links may lead about in what is served, and not out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Stat(rest)
	if err == nil && st.IsDir() {
		return &File{}, nil
	}
	if err == nil && !st.Mode().IsRegular() { // opening a pipe may never end
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	f, err := root.Open(rest)
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &File{File: f, Size: st.Size(), Modified: st.ModTime(), Tag: s.tag(st)}, nil
}

func (s *Site) tag(st fs.FileInfo) string {
	tag := strconv.FormatInt(st.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(st.Size(), 36)
	if s.round > 0 { // clocks of file systems may be slower than two versions
		tag += "-" + strconv.Itoa(s.round)
	}
	return tag
}

// Empty says whether there is no panel: its directory is missing, or has nothing in it.
func (s *Site) Empty() (bool, error) {
	f, err := os.Open(s.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if len(names) > 0 {
		return false, nil
	}
	return true, ignoreEOF(err)
}

// Replace unpacks archive, a zip or tar.gz file, beside the panel and puts it in the panel's place.
// With an error the panel is as before. ErrFormat is that archive is none.
func (s *Site) Replace(archive []byte) error {
	kind := kindOf(archive)
	if kind == none {
		return ErrFormat
	}
	s.replacing.Lock()
	defer s.replacing.Unlock()
	dir, err := s.parent(true)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := s.mend(dir); err != nil {
		return err
	}
	base := filepath.Base(s.Dir())
	if st, err := dir.Lstat(base); err == nil && !st.IsDir() && st.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is no directory", s.Dir())
	}
	fresh := beside(s.Dir())
	defer dir.RemoveAll(fresh)
	top, err := unpackInto(dir, fresh, archive, kind)
	if err != nil {
		return err
	}
	return s.swap(dir, path.Join(fresh, top))
}

// unpackInto unpacks into the new directory fresh, and returns where below it the panel is: archives
// often have it all in one directory.
func unpackInto(dir *os.Root, fresh string, archive []byte, kind kind) (top string, err error) {
	if err := dir.Mkdir(fresh, dirMode); err != nil {
		return "", err
	}
	if err := dir.Chmod(fresh, dirMode); err != nil { // whatever the umask
		return "", err
	}
	root, err := dir.OpenRoot(fresh)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := unpack(root, archive, kind, defaultLimits); err != nil {
		return "", err
	}
	return findTop(root)
}

// findTop goes down as long as there is nothing but one directory.
func findTop(root *os.Root) (string, error) {
	top := "."
	for {
		list, err := fs.ReadDir(root.FS(), top)
		if err != nil {
			return "", err
		}
		if len(list) != 1 || !list[0].IsDir() {
			break
		}
		top = path.Join(top, list[0].Name())
	}
	if st, err := root.Lstat(path.Join(top, Index)); err != nil || !st.Mode().IsRegular() {
		return "", errors.New("there is no " + Index + " in it")
	}
	return top, nil
}

// swap puts the directory fresh in the place of the panel, which is put aside.
func (s *Site) swap(dir *os.Root, fresh string) error {
	base, old := filepath.Base(s.Dir()), aside(s.Dir())
	s.swapping.Lock()
	defer s.swapping.Unlock()
	if err := dir.RemoveAll(old); err != nil {
		return err
	}
	s.since = time.Time{}
	err := dir.Rename(base, old)
	had := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := dir.Rename(fresh, base); err != nil {
		if had {
			err = errors.Join(err, dir.Rename(old, base))
		}
		return err
	}
	if had {
		s.since = time.Now()
	}
	s.round++
	return nil
}

// Mend takes back or completes what a process that has ended left half done.
func (s *Site) Mend() error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	dir, err := s.parent(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := s.mend(dir); err != nil {
		return err
	}
	if !s.since.IsZero() {
		return nil // it was this process that put it aside
	}
	return dir.RemoveAll(aside(s.Dir()))
}

func (s *Site) mend(dir *os.Root) error {
	base, old := filepath.Base(s.Dir()), aside(s.Dir())
	_, missing := dir.Lstat(base)
	st, err := dir.Lstat(old)
	if errors.Is(missing, fs.ErrNotExist) && err == nil && st.IsDir() { // it ended between two renames
		s.swapping.Lock()
		err = dir.Rename(old, base)
		s.since = time.Time{}
		s.swapping.Unlock()
		if err != nil {
			return err
		}
	}
	return dir.RemoveAll(beside(s.Dir()))
}

// Forget removes the version before once it has been aside for as long as keep, and returns how long
// that is from now, or 0 where there is none.
func (s *Site) Forget(keep time.Duration) (left time.Duration, err error) {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	if s.since.IsZero() {
		return 0, nil
	}
	if left = keep - time.Since(s.since); left > 0 {
		return left, nil
	}
	dir, err := s.parent(false)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	s.swapping.Lock()
	s.since = time.Time{}
	s.swapping.Unlock()
	return 0, dir.RemoveAll(aside(s.Dir()))
}

// parent opens the directory that the panel's directory is in. Below what is served no symbolic link
// leads out of it.
func (s *Site) parent(create bool) (*os.Root, error) {
	dir := s.dir
	if s.name == "" {
		dir = filepath.Dir(dir)
	}
	if create {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	above := path.Dir(s.name)
	if err != nil || s.name == "" || above == "." {
		return root, err
	}
	defer root.Close()
	if create {
		if err := root.MkdirAll(above, dirMode); err != nil {
			return nil, err
		}
	}
	return root.OpenRoot(above)
}

// beside is the directory that a new version is unpacked to, aside the one where the version before
// waits. Open finds neither.
func beside(dir string) string { return "." + filepath.Base(dir) + ".new" }
func aside(dir string) string  { return "." + filepath.Base(dir) + ".old" }
