package sysnet

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"time"

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
			o.KeepAlive.set(fd)
			if o.ReusePort {
				if err := reusePort(fd); err != nil {
					return err
				}
			}
			return o.route(fd)
		})
	}
}

// keepAliveInherited says that accepted connections have the keep-alive settings of their listener.
const keepAliveInherited = true

// set is apply for a socket that listens, with the same defaults.
func (k KeepAlive) set(fd int) {
	if k.Off {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.Idle))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.Interval))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount)
}

func seconds(d time.Duration) int { return int(cmp.Or(d, keepAliveTime) / time.Second) }

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
