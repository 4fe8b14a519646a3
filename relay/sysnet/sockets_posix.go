//go:build linux || darwin

package sysnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotIt means that a descriptor is not what it was said to be.
var errNotIt = errors.New("not the socket that was described")

// verify says whether k is what it says of itself, and keeps it from programs that are started.
func verify(k Socket) error {
	unix.CloseOnExec(k.FD)
	kind, err := unix.GetsockoptInt(k.FD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", k.FD, err)
	}
	listens, _ := unix.GetsockoptInt(k.FD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	name, err := unix.Getsockname(k.FD)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", k.FD, err)
	}
	var bound string
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		bound = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		bound = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		bound = a.Name
	}
	want := k.Bound
	if at, err := netip.ParseAddrPort(want); err == nil {
		want = netip.AddrPortFrom(at.Addr().WithZone(""), at.Port()).String()
	}
	stream := kind == unix.SOCK_STREAM && (listens == 1 || acceptUnknown)
	_, isUnix := name.(*unix.SockaddrUnix)
	switch {
	case bound != want || isUnix != (k.Network == "unix"):
		return errNotIt
	case isUnix && fileID(bound) != k.File: // clients of the path would not come here
		return errNotIt
	case k.Network == "udp" && kind == unix.SOCK_DGRAM:
		return nil
	case k.Network != "udp" && stream:
		return nil
	}
	return errNotIt
}

// fileID tells the file at path from one that is there at another time; "" is that nothing is there.
func fileID(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return ""
	}
	return fmt.Sprint(st.Dev, st.Ino, st.Mtim.Nano()) // numbers of files are used again at once
}

func closeFD(fd int) { _ = unix.Close(fd) }

func shareFD(fd int) error { return reusePort(fd) }

// copyFD makes another descriptor of a socket, above those of standard input and output.
func copyFD(raw syscall.RawConn) (fd int, err error) {
	err = onFD(raw, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("copy a descriptor: %w", err)
	}
	return fd, nil
}

// adoptListener makes a listener of a descriptor that was left, with the options that are wanted now.
func adoptListener(k Socket, o Options) (net.Listener, error) {
	f := os.NewFile(uintptr(k.FD), "")
	defer f.Close() // FileListener has a descriptor of its own
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return ln, nil
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = o.Sockets.whenOwn(func() error { return o.renew(raw) })
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// adoptPacket is adoptListener for UDP.
func adoptPacket(k Socket) (net.PacketConn, error) {
	f := os.NewFile(uintptr(k.FD), "")
	defer f.Close() // FilePacketConn has a descriptor of its own
	return net.FilePacketConn(f)
}

// renew sets the options of a socket that may have had others.
func (o Options) renew(raw syscall.RawConn) error {
	err := onFD(raw, func(fd int) error {
		if o.KeepAlive.Off {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
		}
		if !o.FastOpen {
			endFastOpen(fd)
		}
		return nil
	})
	if control := o.listenControl(); control != nil && err == nil {
		err = control("", "", raw)
	}
	return err
}
