//go:build !linux

package sysnet

import (
	"syscall"
	"time"
)

// drainTime is how long a listener that ends still takes what clients have begun.
const drainTime = 5 * time.Millisecond

// Drain accepts what waits in the queue and hands it to take; where l is held still the queue is left for others.
// Accept must not run.
func (l *TCPListener) Drain(take func(*TCPConn)) {
	if l.held.isShut() {
		return
	}
	_ = l.SetDeadline(time.Now().Add(drainTime))
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		take(c)
	}
}

// mute would have the system drop what asks a socket for a connection, and unmute take that back. Here neither is to
// be had.
func mute(syscall.RawConn) {}

func unmute(syscall.RawConn) {}
