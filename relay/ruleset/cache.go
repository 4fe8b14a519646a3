package ruleset

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// minCompiled is the size of a source, in bytes, from which on a compiled set pays.
const minCompiled = 64 << 10

// ReadDomainsCached is ReadDomains with the compiled set kept in the file path. A compiled set belongs
// to one content of the source: the file begins with the source's hash. A file that does not fit, or is
// damaged, is made anew; failed is told when it cannot be written, which changes nothing else. A source
// with lines that are left out is always read, so that they are known.
func ReadDomainsCached(data []byte, f Format, path string, failed func(error)) (*match.Domains, Warnings, error) {
	if len(data) < minCompiled {
		return ReadDomains(data, f)
	}
	key := cacheKey(data, f)
	if d := readCompiled(path, key); d != nil {
		return d, Warnings{}, nil
	}
	d, warnings, err := ReadDomains(data, f)
	if err == nil && warnings.Total == 0 {
		if err := writeCompiled(path, key, d); err != nil {
			failed(err)
		}
	}
	return d, warnings, err
}

// cacheKey is what a compiled set is made of: the content and how it is read.
func cacheKey(data []byte, f Format) []byte {
	sum := sha256.Sum256(data)
	return append(sum[:], byte(f))
}

// readCompiled returns the set in the file path if it was made of key, else nil.
func readCompiled(path string, key []byte) *match.Domains {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil
	}
	head := make([]byte, len(key))
	if _, err := io.ReadFull(file, head); err != nil || !bytes.Equal(head, key) {
		return nil
	}
	d, err := match.ReadBinary(file, st.Size()-int64(len(key)))
	if err != nil {
		return nil
	}
	return d
}

// writeCompiled puts the set in the place of the file path, whole or not at all.
func writeCompiled(path string, key []byte, d *match.Domains) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".compiled-*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the source is not on disk, so neither is this
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(key); err != nil {
		return err
	}
	if err := d.WriteBinary(tmp); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
