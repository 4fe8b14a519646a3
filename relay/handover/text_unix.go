//go:build linux || darwin

package handover

import (
	"errors"
	"io"
	"os"
)

// filled writes text into f, which is then read from its beginning.
func filled(f *os.File, text []byte) (*os.File, error) {
	_, err := f.Write(text)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
