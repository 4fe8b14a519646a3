//go:build !linux && !darwin

package sysnet

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
)

// keepAliveInherited says that accepted connections have the keep-alive settings of their listener.
const keepAliveInherited = false

type control = func(network, address string, c syscall.RawConn) error

var errInterface = errors.New("interface-name: not supported on this system")

func (o Options) dialControl(netip.AddrPort) func(context.Context, string, string, syscall.RawConn) error {
	if o.Interface == "" {
		return nil
	}
	return func(context.Context, string, string, syscall.RawConn) error { return errInterface }
}

func (o Options) packetControl() control { return o.listenControl() }

func (o Options) listenControl() control {
	return func(_, _ string, _ syscall.RawConn) error {
		if o.Interface != "" {
			return errInterface
		}
		return nil
	}
}

func shareSocket(syscall.RawConn) error { return errors.ErrUnsupported }
