package sysnet

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxDrain bounds the connections that are taken from a queue: more than a queue can hold.
const maxDrain = 1 << 16

// Drain accepts what waits in the queue and hands it to take, without waiting for more; where l is held still the
// queue is left for others. Accept must not run.
func (l *TCPListener) Drain(take func(*TCPConn)) {
	if l.held.isShut() {
		return
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = onFD(raw, func(fd int) error {
		deafen(fd)
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

// deafen makes the kernel drop what asks the listener fd for a new connection: a client sends it again a second
// later, to whoever has the port then. One that came between the last accept and the close would be reset. Where
// it cannot be done that is what happens.
func deafen(fd int) {
	const flags, syn = 13, 0x02 // of a TCP header: where, and the bit
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18}, // all of it
	}
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// mute is deafen for a socket that is about to listen, and unmute takes it back.
func mute(raw syscall.RawConn) { _ = onFD(raw, func(fd int) error { deafen(fd); return nil }) }

func unmute(raw syscall.RawConn) {
	_ = onFD(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
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
