package sysnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepAliveInherited says that accepted connections have the keep-alive settings of their listener.
const keepAliveInherited = false

type control = func(network, address string, c syscall.RawConn) error

func (o Options) dialControl(netip.AddrPort) func(context.Context, string, string, syscall.RawConn) error {
	if o.Interface == "" {
		return nil
	}
	return func(_ context.Context, network, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error { return o.route(fd, network) })
	}
}

func (o Options) packetControl() control { return o.listenControl() }

func (o Options) listenControl() control {
	return func(network, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			if o.ReusePort {
				if err := reusePort(fd); err != nil {
					return err
				}
			}
			return o.route(fd, network)
		})
	}
}

func (o Options) route(fd int, network string) error {
	if o.Interface == "" {
		return nil
	}
	ifc, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return fmt.Errorf("interface %q: %w", o.Interface, err)
	}
	if network == "tcp4" || network == "udp4" {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BOUND_IF, ifc.Index)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, ifc.Index)
}
