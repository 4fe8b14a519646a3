package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay/handover"
	"github.com/switchyard-proxy/switchyard/relay/minisign"
	"github.com/switchyard-proxy/switchyard/relay/upgrade"
)

// How long the steps of an upgrade may take.
const (
	downloadTime  = 10 * time.Minute
	tryTime       = 30 * time.Second
	readyTime     = 10 * time.Second
	upgradeLinger = time.Minute // for connections that live in the old program
)

var errNoServer = errors.New(
	"upgrade: the configuration does not say where releases are: set upgrade.url and upgrade.public-key")

// Upgrade implements impl.Process: it has another program take over.
func (l *life) Upgrade(channel string, force bool) error {
	if !l.busy.CompareAndSwap(false, true) {
		return impl.ErrBusy
	}
	version, err := l.upgrade(channel, force)
	if err != nil {
		l.busy.Store(false)
		l.log.Warn("the upgrade did not work", "err", err)
		return err
	}
	if l.parcel != nil {
		l.log.Info("upgraded: this process becomes the new program, and connections that live have a second", "version", version)
		l.notify.reloading("upgrading")
		l.end(errRestart, restartLinger)
		return nil
	}
	l.log.Info("upgraded: the new program serves, and connections that live have a minute", "version", version)
	l.end(errUpgraded, upgradeLinger)
	return nil
}

func (l *life) upgrade(channel string, force bool) (version string, err error) {
	c := l.relay.Config().Upgrade
	switch {
	case c.URL == "":
		return "", errNoServer
	case !handover.Supported || l.exe == "":
		return "", fmt.Errorf("upgrade: %w on this system: replace the program and restart", errors.ErrUnsupported)
	}
	key, err := minisign.ParseKey(c.PublicKey)
	if err != nil {
		return "", fmt.Errorf("upgrade: %w", err)
	}
	ctx, cancel := context.WithTimeout(l.ctx, downloadTime)
	defer cancel()
	p, err := upgrade.Find(ctx, &upgrade.Request{
		URL: c.URL, Key: key, Channel: channel, Version: versionText(), Force: force,
		OS: runtime.GOOS, Arch: runtime.GOARCH, Get: l.relay.Download,
	})
	if err != nil {
		return "", err
	}
	next, err := upgrade.Write(l.exe, p.Data)
	if err != nil {
		return "", &upgrade.StepError{Step: "write", Err: err}
	}
	if err := l.try(next); err != nil {
		return "", errors.Join(&upgrade.StepError{Step: "test", Err: err}, os.Remove(next))
	}
	back, err := upgrade.Swap(l.exe, next)
	if err != nil {
		return "", errors.Join(&upgrade.StepError{Step: "write", Err: err}, os.Remove(next))
	}
	if err := l.relay.Yield(l.startChild); err != nil {
		return "", errors.Join(&upgrade.StepError{Step: "start", Err: err}, back())
	}
	l.back = back
	return p.Version, nil
}

// try has the program at path test the configuration.
func (l *life) try(path string) error {
	ctx, cancel := context.WithTimeout(l.ctx, tryTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-t"}, os.Args[1:]...)...)
	cmd.Env = handover.Clean(os.Environ(), notifyVariable)
	if l.source.piped {
		cmd.Stdin = bytes.NewReader(l.source.Text)
	}
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the new program refuses the configuration: %w: %s", err, bytes.TrimSpace(said.b))
	}
	return nil
}

// tail keeps the end of what is written.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 2 << 10 // bytes
	t.b = append(t.b, p...)
	if more := len(t.b) - most; more > 0 {
		t.b = bytes.Clone(t.b[more:])
	}
	return len(p), nil
}

// startChild starts the program beside this one and waits until it can serve; else it ends it. Then the child takes
// over where somebody can be told so, and nobody depends on this process. Elsewhere it has shown what was to be shown:
// it ends, and the parcel is for this process, which becomes the new program.
func (l *life) startChild() error {
	p, err := l.pack()
	if err != nil {
		return err
	}
	child, err := handover.Start(l.exe, os.Args, os.Environ(), p)
	if err != nil {
		p.Close()
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, readyTime)
	defer cancel()
	err = child.Wait(ctx)
	replaced := err == nil && l.notify.heard() && os.Getpid() != 1
	if replaced {
		err = child.Go()
	}
	if err != nil || !replaced {
		child.End()
	}
	if err != nil || replaced {
		p.Close()
	} else {
		l.parcel = p
	}
	if replaced && err == nil {
		l.notify.send("MAINPID=" + strconv.Itoa(child.PID))
	}
	return err
}
