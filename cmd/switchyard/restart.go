package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/handover"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// restartLinger is how long connections may go on before a restart ends them.
const restartLinger = time.Second

// Restart implements impl.Process: it has the process begin anew.
func (l *life) Restart() (err error) {
	if !l.busy.CompareAndSwap(false, true) {
		return impl.ErrBusy
	}
	defer func() {
		if err != nil {
			l.busy.Store(false)
		}
	}()
	if err := l.startable(); err != nil {
		return err
	}
	err = l.relay.Leave(func() (err error) {
		if l.parcel, err = l.pack(); err == nil && handover.Supported {
			l.sockets.Give()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	l.log.Info("restarting")
	l.notify.reloading("restarting")
	l.end(errRestart, restartLinger)
	return nil
}

// startable says what would keep the daemon from starting again: it must not end by what a reload would refuse.
func (l *life) startable() error {
	c, _, err := l.source.Read()
	if err == nil {
		err = errors.Join(relay.Check(c), impl.Check(c))
	}
	if err == nil {
		err = l.bindable(c)
	}
	switch {
	case err != nil || !handover.Supported:
		return err
	case l.exe == "":
		return fmt.Errorf("restart: the program's file is not known: %w", errors.ErrUnsupported)
	}
	if _, err := exec.LookPath(l.exe); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := impl.CheckPaths(c, l.sockets); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if l.replaced() { // another program may read the same configuration otherwise
		if err := l.try(l.exe); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	}
	return nil
}

// bindable says whether the sockets that c wants can be had. One of ours may serve another purpose after a restart,
// which it cannot in a reload: then each address must be one that we have, or free.
func (l *life) bindable(c *config.Config) error {
	err := l.relay.Try(c)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	for _, want := range c.Listens() {
		if !l.sockets.Holds("tcp", want.Addr) {
			ln, err := net.Listen("tcp", want.Addr)
			if err != nil {
				return wanting(&want, err)
			}
			_ = ln.Close()
		}
		if want.UDP && !l.sockets.Holds("udp", want.Addr) {
			c, err := net.ListenPacket("udp", want.Addr)
			if err != nil {
				return wanting(&want, err)
			}
			_ = c.Close()
		}
	}
	return nil
}

// wanting is a socket that cannot be had, as a change of the configuration would tell it.
func wanting(l *config.Listening, err error) error {
	step := "inbounds"
	switch {
	case strings.HasPrefix(l.Key, "external-controller"):
		step = "controller"
	case strings.HasPrefix(l.Key, "dns."):
		step = "dns"
	}
	return &relay.StepError{Step: step, Err: fmt.Errorf("%s: %w", l.Key, err)}
}

// runningImage is the file that this process runs, which is known as exe; nil is that nobody knows.
func runningImage(exe string) os.FileInfo {
	path := exe
	if runtime.GOOS == "linux" {
		path = "/proc/self/exe" // also when the file has been replaced since
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return st
}

// replaced says whether the program's file may be another than the one that runs.
func (d *daemon) replaced() bool {
	st, err := os.Stat(d.exe)
	return err != nil || d.image == nil || !os.SameFile(st, d.image) ||
		st.Size() != d.image.Size() || !st.ModTime().Equal(d.image.ModTime())
}

// pack is what is left to the next process. Where this system has no way to do so it is empty.
func (l *life) pack() (*handover.Parcel, error) {
	p := new(handover.Parcel)
	if !handover.Supported {
		return p, nil
	}
	var err error
	if p.Sockets, err = l.sockets.Copies(); err != nil {
		return nil, err
	}
	if l.source.piped {
		p.Text = l.source.Text
	}
	return p, nil
}

// end has the relay end, for a cause, once connections have ended by themselves or linger is over.
func (l *life) end(cause error, linger time.Duration) {
	until, cancel := context.WithTimeout(l.stops, linger)
	context.AfterFunc(until, cancel)
	l.relay.Linger(until)
	time.AfterFunc(linger+stopTime, func() { close(l.late) }) // after the end nobody looks
	l.leave(cause)
}

// again runs the program once more in this process, from its file. It returns only where that does not work, with
// the sockets for another life of the program that is there; ok is that there may be one.
func (l *life) again() (sockets []sysnet.Socket, ok bool) {
	if !handover.Supported {
		l.log.Info("beginning anew: this system hands no sockets over")
		return nil, !l.isLate()
	}
	if l.stops.deaf() { // nobody comes after this life: what it has given is closed by this one
		mine := new(sysnet.Sockets)
		mine.Inherit(l.parcel.Sockets)
		mine.CloseLeft()
		return nil, false
	}
	err := handover.Exec(l.exe, os.Args, os.Environ(), l.parcel)
	l.stops.hear()
	l.log.Error("the restart did not work: going on with the program that runs", "err", err)
	if l.back != nil {
		if err := l.back(); err != nil {
			l.log.Error("the old program could not be put back", "err", err)
		}
	}
	return l.parcel.Sockets, !l.isLate()
}

// isLate says whether something of this life is still there.
func (l *life) isLate() bool {
	select {
	case <-l.late:
		return true
	default:
		return false
	}
}
