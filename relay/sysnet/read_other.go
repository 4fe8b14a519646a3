//go:build !unix

package sysnet

import "errors"

// CanTry says that TryRead works here: that a read may be tried without waiting.
const CanTry = false

// TryRead reads what is there from a descriptor that does not block; this system cannot.
func TryRead(uintptr, []byte) (n int, again bool, err error) { return 0, false, errors.ErrUnsupported }

// Peer looks at what the other end has done; this system does not tell.
func (c *TCPConn) Peer() Peer { return PeerQuiet }
