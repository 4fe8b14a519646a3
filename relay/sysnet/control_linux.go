package sysnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

type control = func(network, address string, c syscall.RawConn) error

func (o Options) dialControl(netip.AddrPort) func(context.Context, string, string, syscall.RawConn) error {
	if o.Interface == "" && o.Mark == 0 && !o.FastOpen {
		return nil
	}
	return func(_ context.Context, _, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			if o.FastOpen {
				// A kernel without it connects the ordinary way.
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
			}
			return o.route(fd)
		})
	}
}

func (o Options) packetControl() control {
	return func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			if o.ReusePort {
				if err := reusePort(fd); err != nil {
					return err
				}
			}
			return o.route(fd)
		})
	}
}

func (o Options) listenControl() control {
	return func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			if o.FastOpen {
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 256)
			}
			if o.ReusePort {
				if err := reusePort(fd); err != nil {
					return err
				}
			}
			return o.route(fd)
		})
	}
}

// route sets what decides the way of a packet. Without it traffic would leave by another way than
// the one asked for, so that errors matter.
func (o Options) route(fd int) error {
	if o.Interface != "" {
		if err := unix.BindToDevice(fd, o.Interface); err != nil {
			return fmt.Errorf("interface %q: %w", o.Interface, err)
		}
	}
	if o.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, o.Mark); err != nil {
			return fmt.Errorf("routing mark %d: %w", o.Mark, err)
		}
	}
	return nil
}

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
