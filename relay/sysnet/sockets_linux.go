package sysnet

import "golang.org/x/sys/unix"

// acceptUnknown says that this system does not tell whether a socket listens.
const acceptUnknown = false

// endFastOpen takes fast open from a socket that listens. A kernel without it says no.
func endFastOpen(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 0) }
