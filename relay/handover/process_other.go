//go:build !linux && !darwin

package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Supported says whether this system can hand sockets over.
const Supported = false

func receiveFile(int, string) *os.File { return nil }

func receiveConn(int) (*net.UnixConn, error) { return nil, errors.ErrUnsupported }

// Exec is not to be had on this system.
func Exec(path string, _, _ []string, _ *Parcel) error {
	return fmt.Errorf("execute %s: %w", path, errors.ErrUnsupported)
}

// Child is a process that takes over.
type Child struct{ PID int }

// Start is not to be had on this system.
func Start(path string, _, _ []string, _ *Parcel) (*Child, error) {
	return nil, fmt.Errorf("start %s: %w", path, errors.ErrUnsupported)
}

// Wait is for a child that Start has made.
func (c *Child) Wait(context.Context) error { return errors.ErrUnsupported }

// Go is for a child that Start has made.
func (c *Child) Go() error { return errors.ErrUnsupported }

// End is for a child that Start has made.
func (c *Child) End() {}
