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

// Peer looks at what the other end has done, without waiting and without taking anything.
func (c *TCPConn) Peer() (p Peer) {
	err := c.raw.Control(func(fd uintptr) {
		var b [1]byte
		switch n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); {
		case err == unix.EAGAIN || err == unix.EINTR:
			p = PeerQuiet
		case err != nil:
			p = PeerGone
		case n == 0:
			p = PeerEnded
		default:
			p = PeerSpoke
		}
	})
	if err != nil {
		return PeerGone
	}
	return p
}
