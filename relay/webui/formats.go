package webui

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

var errKind = errors.New("is neither a file nor a directory")

// centralHead begins an entry of a zip file's directory (APPNOTE 4.3.12).
var centralHead = []byte("PK\x01\x02")

// zip unpacks a zip file.
func (s *sink) zip(archive []byte) error {
	// archive/zip reads the whole directory, however long, before it says how long it is.
	if n := bytes.Count(archive, centralHead); n > 2*s.max.entries {
		return fmt.Errorf("more than %d files and directories", s.max.entries)
	}
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // which clean says of the entry
		return err
	}
	for _, f := range r.File {
		name, err := clean(f.Name)
		if err != nil {
			return err
		}
		switch mode := f.Mode(); {
		case mode.IsDir():
			err = s.folder(name)
		case mode.Type() != 0:
			err = entryError(name, errKind)
		case name == ".":
			err = entryError(name, errName)
		default:
			err = s.zipped(f, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sink) zipped(f *zip.File, name string) error {
	from, err := f.Open()
	if err != nil {
		return entryError(name, err)
	}
	defer from.Close()
	return s.file(name, from)
}

// bounded is a reader that fails behind its bound, where an io.LimitedReader ends well.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errMuch
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, errMuch
	}
	return n, err
}

// tar unpacks a tar file, which gzip may have compressed.
func (s *sink) tar(archive []byte, compressed bool) error {
	var from io.Reader = bytes.NewReader(archive)
	if compressed {
		z, err := gzip.NewReader(from)
		if err != nil {
			return err
		}
		from = z
	}
	from = &bounded{from, s.left + s.max.heads} // a bomb may lie in what is no file
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // which clean says of the entry
			return err
		}
		if err := s.tarred(h, r); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, from) // what is missing or wrong at the end shows there
	return err
}

func (s *sink) tarred(h *tar.Header, from io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // where git writes which commit it is
		return nil
	}
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	switch kind := h.FileInfo().Mode().Type(); {
	case h.Typeflag == tar.TypeDir && kind == fs.ModeDir:
		return s.folder(name)
	case h.Typeflag != tar.TypeReg || kind != 0:
		return entryError(name, errKind)
	case name == ".":
		return entryError(name, errName)
	}
	return s.file(name, from)
}
