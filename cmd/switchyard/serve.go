package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay"
	"github.com/switchyard-proxy/switchyard/relay/handover"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// stopTime is how long a stop may take before the process ends all the same.
const stopTime = 2 * time.Second

// daemon is the process.
type daemon struct {
	source *source
	exe    string // the program's file, as it was called at start
	left   *handover.Received
	hub    *logs.Hub
	log    *slog.Logger
	notify notifier
	stops  context.Context // done once a signal wants an end
	errOut io.Writer
}

// life is the daemon from a start to the end of its relay. It is what the API knows as the process.
type life struct {
	*daemon
	relay   *relay.Relay
	sockets *sysnet.Sockets
	ctx     context.Context // ends with the relay's work
	leave   context.CancelCauseFunc
	busy    atomic.Bool
	parcel  *handover.Parcel // what the next life gets; set before leave, as is last
	last    *time.Timer      // ends the process when the relay does not end; nil: nobody has asked it to
}

// Why a relay ends, beside signals.
var (
	errRestart  = errors.New("restart")
	errUpgraded = errors.New("upgraded")
)

// serve runs the daemon until ctx or a signal ends it or another process has taken over.
func serve(ctx context.Context, s *source, left *handover.Received, out, errOut io.Writer) int {
	hub := logs.NewHub(out, slog.LevelInfo)
	d := &daemon{source: s, left: left, hub: hub, log: hub.Logger(), notify: newNotifier(), errOut: errOut}
	d.exe, _ = os.Executable() // before anybody moves the file
	var stop context.CancelFunc
	d.stops, stop = signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	told := make(chan struct{})
	context.AfterFunc(d.stops, func() {
		defer close(told)
		stop() // a second signal ends the process at once
		d.log.Info("stopping")
		d.notify.send("STOPPING=1")
		time.AfterFunc(stopTime, func() {
			d.log.Error("what is left does not end: leaving it")
			os.Exit(exitRun)
		})
	})
	var sockets []sysnet.Socket
	if left != nil {
		sockets = left.Sockets
	}
	for {
		l := d.begin(sockets)
		code, again := l.run()
		if d.stops.Err() != nil {
			<-told
			return code
		}
		if !again {
			return code
		}
		sockets = l.again()
	}
}

// begin makes a life that takes the sockets which another has left.
func (d *daemon) begin(left []sysnet.Socket) *life {
	l := &life{daemon: d, sockets: new(sysnet.Sockets)}
	for _, s := range l.sockets.Inherit(left) {
		d.log.Warn("what was handed over is no such socket, and is left out", "network", s.Network, "addr", s.Bound)
	}
	l.ctx, l.leave = context.WithCancelCause(d.stops)
	r := relay.New(d.hub, state.New(filepath.Join(d.source.Paths.Home, state.FileName), d.log), d.source.Source)
	r.Agent = "switchyard/" + strings.TrimPrefix(versionText(), "v")
	r.UseSockets(l.sockets)
	r.Add(impl.New(impl.Options{
		Relay: r, Hub: d.hub, Version: versionText(), Process: l, Sockets: l.sockets,
	}))
	l.relay = r
	return l
}

// run serves. again is that another life is to follow, in this process.
func (l *life) run() (code int, again bool) {
	defer l.leave(nil)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anybody is told that there is somebody to send it to
	started := false
	err := l.relay.Run(l.ctx, func() error {
		l.log.Info("configuration from "+l.source.describe(), "home", l.source.Paths.Home)
		if err := l.relay.Reload(); err != nil {
			return err
		}
		for _, s := range l.sockets.CloseLeft() {
			l.log.Info("what was handed over is not needed any more", "network", s.Network, "addr", s.Bound)
		}
		started = true
		l.notify.ready()
		l.left.Ready()
		go l.reloads(hup)
		return nil
	})
	cause := context.Cause(l.ctx)
	if l.last != nil {
		l.last.Stop()
	}
	if err != nil && !started {
		l.left.Failed(err)
		fmt.Fprintln(l.errOut, "switchyard:", err)
		return exitCode(err), false
	}
	if err != nil {
		l.log.Error("stopped", "err", err)
		code = exitRun
	}
	switch {
	case errors.Is(cause, errUpgraded):
		return exitOK, false
	case errors.Is(cause, errRestart):
		return code, true
	}
	return code, false
}

// reloads reads the configuration again at every SIGHUP. A reload that fails changes nothing.
func (l *life) reloads(hup <-chan os.Signal) {
	for {
		select {
		case <-hup:
			l.notify.reloading("reading the configuration again")
			if err := l.relay.Reload(); err != nil {
				l.log.Error("reload failed, nothing has changed", "err", err)
			} else {
				l.log.Info("configuration reloaded")
			}
			l.notify.ready()
		case <-l.ctx.Done():
			return
		}
	}
}
