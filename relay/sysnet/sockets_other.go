//go:build !linux && !darwin

package sysnet

import (
	"errors"
	"net"
	"syscall"
)

func verify(Socket) error { return errors.ErrUnsupported }

func fileID(string) string { return "" }

func closeFD(int) {}

func shareFD(int) error { return errors.ErrUnsupported }

func copyFD(syscall.RawConn) (int, error) { return 0, errors.ErrUnsupported }

func adoptListener(Socket, Options) (net.Listener, error) { return nil, errors.ErrUnsupported }

func adoptPacket(Socket) (net.PacketConn, error) { return nil, errors.ErrUnsupported }
