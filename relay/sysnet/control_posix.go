//go:build linux || darwin

package sysnet

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func reusePort(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func shareSocket(raw syscall.RawConn) error { return onFD(raw, reusePort) }

// onFD runs f on the descriptor and reports whichever error there is.
func onFD(c syscall.RawConn, f func(fd int) error) error {
	var ferr error
	cerr := c.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return errors.Join(cerr, ferr)
}
