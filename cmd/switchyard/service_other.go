//go:build !windows

package main

import (
	"context"
	"io"
	"os"
	"syscall"
)

// hosted runs the daemon. Where there is no service manager to answer that is all; systemd speaks by signals.
func hosted(daemon func(ctx context.Context, errOut io.Writer) int) int {
	return daemon(context.Background(), os.Stderr)
}

// stopSignals end the daemon.
func stopSignals() []os.Signal { return []os.Signal{syscall.SIGINT, syscall.SIGTERM} }
