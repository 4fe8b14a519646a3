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

// daemon is the process. Its own goroutine, that of serve, is the only one that ends it or runs another program in it,
// unless a stop takes too long.
type daemon struct {
	source *source
	exe    string      // the program's file, as it was called at start
	image  os.FileInfo // the file that runs; nil: the system does not tell
	left   *handover.Received
	hub    *logs.Hub
	log    *slog.Logger
	notify notifier
	stops  *stops
	hup    chan os.Signal
	errOut io.Writer

	guest atomic.Bool // another process serves, and decides whether this one is to
}

// life is the daemon from a start to the end of its relay. It is what the API knows as the process.
type life struct {
	*daemon
	relay   *relay.Relay
	sockets *sysnet.Sockets
	ctx     context.Context // ends with the relay's work
	leave   context.CancelCauseFunc
	busy    atomic.Bool
	late    chan struct{}    // closed when the relay should have ended, and has not
	parcel  *handover.Parcel // what the next life gets; set before leave, as is back
	back    func() error     // puts the old program's file back; nil: it is there
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
	d.image = runningImage(d.exe)
	d.stops, d.hup = newStops(ctx), make(chan os.Signal, 1)
	defer d.stops.end()
	d.guest.Store(left.Child())
	told := make(chan struct{})
	context.AfterFunc(d.stops, func() {
		defer close(told)
		d.log.Info("stopping")
		if !d.guest.Load() {
			d.notify.send("STOPPING=1")
		}
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
		if again {
			sockets, again = l.again()
		}
		if d.stops.Err() != nil {
			<-told
			return code
		}
		if !again {
			return code
		}
	}
}

// begin makes a life that takes the sockets which another has left.
func (d *daemon) begin(left []sysnet.Socket) *life {
	l := &life{daemon: d, sockets: new(sysnet.Sockets), late: make(chan struct{})}
	take := l.sockets.Inherit
	if d.guest.Load() {
		take = l.sockets.Borrow
	}
	for _, s := range take(left) {
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
	signal.Notify(l.hup, syscall.SIGHUP) // before anybody is told that there is somebody to send it to
	started := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- l.relay.Run(l.ctx, func() error { return l.start(started) }) }()
	var err error
	select {
	case err = <-ended:
	case <-l.late:
		l.log.Error("what is left does not end: leaving it")
		code = exitRun
	}
	select {
	case <-started:
	default:
		if errors.Is(err, handover.ErrNotNeeded) {
			l.log.Info("ending", "why", err)
			return exitOK, false
		}
		if err != nil {
			l.left.Failed(err)
			fmt.Fprintln(l.errOut, "switchyard:", err)
			return exitCode(err), false
		}
	}
	if err != nil {
		l.log.Error("stopped", "err", err)
		code = exitRun
	}
	switch cause := context.Cause(l.ctx); {
	case errors.Is(cause, errUpgraded):
		return exitOK, false
	case errors.Is(cause, errRestart):
		return code, true
	}
	return code, false
}

// start makes the first configuration run, takes what was left for its own, and closes started.
func (l *life) start(started chan<- struct{}) error {
	l.log.Info("configuration from "+l.source.describe(), "home", l.source.Paths.Home)
	if err := l.relay.Reload(); err != nil {
		return err
	}
	if err := l.left.Ready(); err != nil {
		return err
	}
	l.guest.Store(false)
	l.sockets.Own()
	l.relay.Succeed()
	for _, s := range l.sockets.CloseLeft() {
		l.log.Info("what was handed over is not needed any more", "network", s.Network, "addr", s.Bound)
	}
	close(started)
	l.notify.ready()
	go l.reloads()
	return nil
}

// reloads reads the configuration again at every SIGHUP. A reload that fails changes nothing.
func (l *life) reloads() {
	for {
		select {
		case <-l.hup:
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
