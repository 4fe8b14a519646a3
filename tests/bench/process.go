//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/port"
)

// proxy is a peer that runs, with a directory and a process group of its own.
type proxy struct {
	peer  peer
	doors map[kind]netip.AddrPort
	cmd   *exec.Cmd
	log   string // what it writes to its outputs
	ended chan struct{}
}

// readyLimit bounds how long a peer may take to listen.
const readyLimit = 60 * time.Second

// start runs p, and returns when all its doors accept. The caller stops it.
func (p peer) start(ctx context.Context, parent string, s setting) (*proxy, error) {
	dir, err := os.MkdirTemp(parent, p.Name+"-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	args, doors, err := p.configure(s)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(parent, filepath.Base(dir)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	x := &proxy{peer: p, doors: doors, log: log.Name(), ended: make(chan struct{})}
	x.cmd = exec.Command(p.path, args...)
	x.cmd.Dir = dir
	x.cmd.Stdout, x.cmd.Stderr = log, log
	x.cmd.SysProcAttr = childAttr()
	if err := x.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	go func() {
		_ = x.cmd.Wait() // that it ended is all we want to know
		close(x.ended)
	}()
	if err := x.ready(ctx); err != nil {
		x.stop()
		return nil, fmt.Errorf("start %s: %w%s", p.Name, err, x.tail())
	}
	return x, nil
}

// childAttr gives a child a process group, to kill it with what it starts, and ends it when we
// are killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ready waits until every door accepts.
func (x *proxy) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, addr := range x.doors {
		for {
			c, err := net.DialTimeout("tcp", addr.String(), time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-x.ended:
				return errors.New("it ended")
			case <-ctx.Done():
				return errors.Join(ctx.Err(), err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// stop kills it and whatever it started, and waits until it is gone.
func (x *proxy) stop() {
	_ = syscall.Kill(-x.cmd.Process.Pid, syscall.SIGKILL)
	<-x.ended
}

// tail returns the end of what it wrote, to follow an error.
func (x *proxy) tail() string {
	b, _ := os.ReadFile(x.log)
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return ""
	}
	return "\n" + string(b[max(0, len(b)-800):])
}

// self is a child that is this program in another role.
func self(ctx context.Context, role string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, "-role", role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = childAttr()
	return cmd, nil
}

// freePorts returns n ports of 127.0.0.1 that are free now, for TCP and UDP. All are taken at once, so that
// they differ.
func freePorts(n int) ([]netip.AddrPort, error) {
	var free []netip.AddrPort
	for range n {
		tcp, udp, err := port.Listen()
		if err != nil {
			return nil, err
		}
		defer tcp.Close()
		defer udp.Close()
		free = append(free, addrOf(tcp))
	}
	return free, nil
}
