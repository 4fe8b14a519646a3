package handover

import (
	"os"

	"golang.org/x/sys/unix"
)

// textFile is an open file that has text and no name; nil where there is no text.
func textFile(text []byte) (*os.File, error) {
	if text == nil {
		return nil, nil
	}
	fd, err := unix.MemfdCreate("configuration", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return filled(os.NewFile(uintptr(fd), "configuration"), text)
}
