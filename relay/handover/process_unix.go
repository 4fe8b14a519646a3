//go:build linux || darwin

package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether this system can hand sockets over.
const Supported = true

func receiveFile(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// receiveConn takes one end of a pair of sockets.
func receiveConn(fd int) (*net.UnixConn, error) {
	f := receiveFile(fd, "ready")
	if f == nil {
		return nil, errors.ErrUnsupported
	}
	defer f.Close() // FileConn has a descriptor of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UnixConn); ok {
		return u, nil
	}
	return nil, errors.Join(errors.ErrUnsupported, c.Close())
}

// pair makes two sockets that are connected. Programs that are started do not get them by themselves.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "ready")
	if ours, err = receiveConn(fds[0]); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// Exec makes this process run the program at path, with p. It returns only where that fails, and p is as before
// then, but that SIGHUP is ignored until somebody asks for it again.
func Exec(path string, args, env []string, p *Parcel) error {
	n := &note{From: os.Getpid(), Sockets: p.Sockets}
	text, err := textFile(p.Text)
	if err != nil {
		return fmt.Errorf("hand over the configuration: %w", err)
	}
	if text != nil {
		defer text.Close()
		n.Text = int(text.Fd())
	}
	if env, err = environment(env, n); err != nil {
		return err
	}
	// A signal to read the configuration again must not end the program while it starts.
	signal.Ignore(syscall.SIGHUP)
	keep := func(flags int) {
		for _, s := range p.Sockets {
			_, _ = unix.FcntlInt(uintptr(s.FD), unix.F_SETFD, flags)
		}
		if text != nil {
			_, _ = unix.FcntlInt(text.Fd(), unix.F_SETFD, flags)
		}
	}
	keep(0)
	defer keep(unix.FD_CLOEXEC)
	if err := syscall.Exec(path, args, env); err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	return nil
}

// Child is a process that takes over.
type Child struct {
	PID     int
	process *os.Process
	word    *net.UnixConn
}

// Start runs the program at path beside this process, with p, whose descriptors the caller still has to close.
// The child writes where this process does. The caller calls Go or End; after a Go that fails, End.
func Start(path string, args, env []string, p *Parcel) (*Child, error) {
	n := &note{From: os.Getpid()}
	files := []uintptr{0, 1, 2}
	add := func(fd int) int {
		files = append(files, uintptr(fd))
		return len(files) - 1
	}
	for _, s := range p.Sockets {
		s.FD = add(s.FD)
		n.Sockets = append(n.Sockets, s)
	}
	text, err := textFile(p.Text)
	if err != nil {
		return nil, fmt.Errorf("hand over the configuration: %w", err)
	}
	if text != nil {
		defer text.Close()
		n.Text = add(int(text.Fd()))
	}
	word, tell, err := pair()
	if err != nil {
		return nil, err
	}
	defer tell.Close()
	n.Ready = add(int(tell.Fd()))
	if env, err = environment(env, n); err == nil {
		var pid int
		// Not os/exec: it would make the sockets, which both processes have, wait in the kernel.
		if pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{Env: env, Files: files}); err == nil {
			c := &Child{PID: pid, word: word}
			if c.process, err = os.FindProcess(pid); err == nil {
				return c, nil
			}
		}
	}
	_ = word.Close()
	return nil, fmt.Errorf("start %s: %w", path, err)
}

// Wait waits until the child can serve. An error says why it does not, or that ctx is done. The child then waits for
// Go or End.
func (c *Child) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.word.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(c.word, maxWord))
	switch word := strings.TrimSpace(string(b)); {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("it was not ready in time: %w", ctx.Err())
	case err != nil:
		return err
	case word == readyWord:
		return nil
	case word == "":
		return errors.New("it ended, or said nothing")
	default:
		return errors.New(word)
	}
}

// Go has the child serve, with what was left to it, and lets it go on by itself. An error is that it is gone.
func (c *Child) Go() error {
	_ = c.word.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c.word, goWord); err != nil {
		return fmt.Errorf("it ended before it served: %w", err)
	}
	_ = c.word.Close()
	_ = c.process.Release()
	return nil
}

// childTime is how long a child may take to end when it is asked to.
const childTime = time.Second

// End ends the child, which leaves everything as it was, and waits for that.
func (c *Child) End() {
	_ = c.word.Close()
	_ = c.process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(childTime, func() { _ = c.process.Kill() })
	defer kill.Stop()
	_, _ = c.process.Wait()
}
