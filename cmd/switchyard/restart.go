package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay"
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
	p, err := l.pack()
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	l.parcel = p
	if handover.Supported {
		l.sockets.Give()
	}
	l.log.Info("restarting")
	l.notify.reloading("restarting")
	l.end(errRestart, restartLinger, func() { // what does not end by itself ends with the program
		l.again()
		os.Exit(exitRun)
	})
	return nil
}

// startable says what would keep the daemon from starting again: it must not end by what a reload would refuse.
func (l *life) startable() error {
	if handover.Supported {
		if _, err := exec.LookPath(l.exe); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	}
	c, _, err := l.source.Read()
	if err != nil {
		return err
	}
	return errors.Join(relay.Check(c), impl.Check(c))
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

// end has the relay end, for a cause, once connections have ended by themselves or linger is over. Where it does not
// end after that last is called.
func (l *life) end(cause error, linger time.Duration, last func()) {
	until, cancel := context.WithTimeout(l.stops, linger)
	context.AfterFunc(until, cancel)
	l.relay.Linger(until)
	l.last = time.AfterFunc(linger+stopTime, last)
	l.leave(cause)
}

// again runs the program once more in this process, from its file. It returns only where that does not work: with
// the sockets for another life of the program that is there.
func (l *life) again() []sysnet.Socket {
	if !handover.Supported {
		l.log.Info("beginning anew: this system hands no sockets over")
		return nil
	}
	err := handover.Exec(l.exe, os.Args, os.Environ(), l.parcel)
	l.log.Error("the restart did not work: going on with the program that runs", "err", err)
	return l.parcel.Sockets
}
