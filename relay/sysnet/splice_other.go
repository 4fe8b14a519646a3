//go:build !linux

package sysnet

import "errors"

// CanSplice says that the kernel moves bytes between two sockets.
const CanSplice = false

// Pipe is where spliced bytes are between two sockets; this system has none.
type Pipe struct{}

// GetPipe always fails here.
func GetPipe() (*Pipe, error) { return nil, errors.ErrUnsupported }

// PutPipe has nothing to give back.
func PutPipe(*Pipe) {}

// Held is the number of bytes in p.
func (p *Pipe) Held() int { return 0 }

// Fill always fails here.
func (p *Pipe) Fill(uintptr) (again bool, err error) { return false, errors.ErrUnsupported }

// Drain always fails here.
func (p *Pipe) Drain(uintptr) (moved int, again bool, err error) {
	return 0, false, errors.ErrUnsupported
}
