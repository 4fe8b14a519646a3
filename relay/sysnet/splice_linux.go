package sysnet

import (
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// CanSplice says that the kernel moves bytes between two sockets.
const CanSplice = true

// pipeSize is what a pipe is asked to hold; a plain user's share of such pipes is small, and the
// kernel's 64 KiB do when it is used up.
const pipeSize = 1 << 20

// Pipe is where spliced bytes are between two sockets. It is borrowed only while bytes move.
type Pipe struct {
	r, w int
	n    int // bytes inside
	size int
}

// pipes keeps idle pipes; what it drops is closed, never left to a finalizer.
var pipes pipePool

type pipePool struct {
	mu   sync.Mutex
	idle []*Pipe
}

// maxIdlePipes bounds the descriptors kept open for nothing.
const maxIdlePipes = 64

// GetPipe borrows an empty pipe.
func GetPipe() (*Pipe, error) {
	pipes.mu.Lock()
	if n := len(pipes.idle); n > 0 {
		p := pipes.idle[n-1]
		pipes.idle = pipes.idle[:n-1]
		pipes.mu.Unlock()
		return p, nil
	}
	pipes.mu.Unlock()
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &Pipe{r: fd[0], w: fd[1], size: 64 << 10}
	if n, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize); err == nil {
		p.size = n
	}
	return p, nil
}

// PutPipe gives p back. A pipe that still holds bytes belongs to a broken flow and is closed.
func PutPipe(p *Pipe) {
	if p.n == 0 {
		pipes.mu.Lock()
		if len(pipes.idle) < maxIdlePipes {
			pipes.idle = append(pipes.idle, p)
			pipes.mu.Unlock()
			return
		}
		pipes.mu.Unlock()
	}
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// Held is the number of bytes in p.
func (p *Pipe) Held() int { return p.n }

// Fill splices what is there from fd into the empty pipe. again means: nothing yet.
func (p *Pipe) Fill(fd uintptr) (again bool, err error) {
	n, again, err := splice(int(fd), p.w, p.size)
	p.n += n
	if err == nil && !again && n == 0 {
		err = io.EOF
	}
	return again, err
}

// Drain splices what p holds to fd. It returns what it moved; again means: fd takes no more yet.
func (p *Pipe) Drain(fd uintptr) (moved int, again bool, err error) {
	for p.n > 0 {
		n, wait, err := splice(p.r, int(fd), p.n)
		p.n -= n
		moved += n
		if wait || err != nil {
			return moved, wait, err
		}
		if n == 0 {
			return moved, false, io.ErrUnexpectedEOF
		}
	}
	return moved, false, nil
}

func splice(from, to, max int) (n int, again bool, err error) {
	for {
		m, err := unix.Splice(from, nil, to, nil, max, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, true, nil
		case err != nil:
			return 0, false, err
		default:
			return int(m), false, nil
		}
	}
}
