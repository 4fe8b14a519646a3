package webui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// MaxArchive bounds an archive, in bytes.
const MaxArchive = 64 << 20

// ErrFormat means that an archive is neither zip nor tar.gz, whatever it is called. The words are
// the family's.
var ErrFormat = errors.New("unknown or unsupported file type")

// The modes of what is unpacked, whatever the archive says.
const (
	dirMode  fs.FileMode = 0o755
	fileMode fs.FileMode = 0o644
)

// limits are what an archive may come to.
type limits struct {
	bytes   int64 // of all files together
	entries int   // files and directories, those between included
	ratio   int64 // of the bytes of the files to those of the archive
	heads   int64 // bytes of a tar file beside those of its files
}

var defaultLimits = limits{bytes: 256 << 20, entries: 20_000, ratio: 100, heads: 32 << 20}

// little is unpacked whatever the ratio.
const little = 1 << 20

type kind int

const (
	none kind = iota
	zipFile
	gzipFile // of a tar file
	tarFile  // a tar.gz file that was sent as a tar file in the content coding gzip
)

// kindOf tells by the first bytes what an archive is.
func kindOf(archive []byte) kind {
	const tarMagic = 257
	switch {
	case bytes.HasPrefix(archive, []byte("PK\x03\x04")), bytes.HasPrefix(archive, []byte("PK\x05\x06")):
		return zipFile
	case bytes.HasPrefix(archive, []byte("\x1f\x8b\x08")):
		return gzipFile
	case len(archive) > tarMagic && bytes.HasPrefix(archive[tarMagic:], []byte("ustar")):
		return tarFile
	}
	return none
}

// unpack writes what is in archive below dir, which is empty. With an error dir holds a part of it.
func unpack(dir *os.Root, archive []byte, kind kind, max limits) error {
	if len(archive) > MaxArchive {
		return fmt.Errorf("larger than %d bytes", MaxArchive)
	}
	s := &sink{
		dir: dir, max: max, folders: map[string]bool{".": true},
		left: min(max.bytes, max.ratio*int64(len(archive))+little),
	}
	if kind == zipFile {
		return s.zip(archive)
	}
	return s.tar(archive, kind == gzipFile)
}

// sink writes the entries of an archive, and keeps it within bounds.
type sink struct {
	dir     *os.Root
	max     limits
	left    int64 // bytes that may still come
	entries int
	folders map[string]bool // those that are there
}

var errMuch = errors.New("it unpacks to more than is allowed")

// count counts one more entry.
func (s *sink) count() error {
	if s.entries++; s.entries > s.max.entries {
		return fmt.Errorf("more than %d files and directories", s.max.entries)
	}
	return nil
}

// folder makes the directory at name, which clean has returned, and those above it.
func (s *sink) folder(name string) error {
	if s.folders[name] {
		return nil
	}
	if err := s.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := s.count(); err != nil {
		return err
	}
	if err := s.dir.Mkdir(name, dirMode); err != nil {
		return entryError(name, err)
	}
	s.folders[name] = true
	return entryError(name, s.dir.Chmod(name, dirMode)) // whatever the umask
}

// file writes the file at name, which clean has returned.
func (s *sink) file(name string, from io.Reader) error {
	if err := s.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := s.count(); err != nil {
		return err
	}
	f, err := s.dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return entryError(name, err)
	}
	n, err := io.Copy(f, io.LimitReader(from, s.left+1))
	if s.left -= n; s.left < 0 {
		err = errMuch
	}
	if err == nil {
		err = f.Chmod(fileMode)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return entryError(name, err)
}

// entryError names an entry, and leaves out what the system calls it.
func entryError(name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		err = errors.New("is there twice")
	} else if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("%q: %w", name, err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
