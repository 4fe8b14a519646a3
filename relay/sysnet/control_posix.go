//go:build linux || darwin

package sysnet

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func reusePort(fd, on int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, on)
}

func shareSocket(raw syscall.RawConn, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return onFD(raw, func(fd int) error { return reusePort(fd, value) })
}

// onFD runs f on the descriptor and reports whichever error there is.
func onFD(c syscall.RawConn, f func(fd int) error) error {
	var ferr error
	cerr := c.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return errors.Join(cerr, ferr)
}
