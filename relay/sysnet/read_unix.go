//go:build unix

package sysnet

import (
	"io"

	"golang.org/x/sys/unix"
)

// CanTry says that TryRead works here: that a read may be tried without waiting.
const CanTry = true

// TryRead reads what is there from a descriptor that does not block. again means: nothing yet.
func TryRead(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = unix.Read(int(fd), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, err
		case n == 0:
			return 0, false, io.EOF
		default:
			return n, false, nil
		}
	}
}
