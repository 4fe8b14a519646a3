//go:build !linux && !darwin

package sysnet

import (
	"errors"
	"net"
)

// PeerUID is the user that runs the other end of a Unix socket; this system does not tell.
func PeerUID(*net.UnixConn) (uint32, error) { return 0, errors.ErrUnsupported }
