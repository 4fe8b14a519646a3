package sysnet

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxDrain bounds the connections that are taken from a queue: more than a queue can hold.
const maxDrain = 1 << 16

// Drain accepts what waits in the queue and hands it to take, without waiting for more. Accept must
// not run.
func (l *TCPListener) Drain(take func(*TCPConn)) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = onFD(raw, func(fd int) error {
		for range maxDrain {
			n, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch {
			case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
				continue
			case err != nil:
				return nil
			}
			if c, err := fromFD(n); err == nil {
				if l.keepAlive.Off { // FileConn has switched it on
					_ = c.SetKeepAlive(false)
				}
				l.keepAlive.apply(c.TCPConn)
				take(c)
			}
		}
		return nil
	})
}

// fromFD makes a connection of a descriptor, which it owns.
func fromFD(fd int) (*TCPConn, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // FileConn has a descriptor of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, c.Close())
	}
	return NewTCPConn(tcp)
}
