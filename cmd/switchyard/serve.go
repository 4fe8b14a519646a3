package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/impl"
	"github.com/switchyard-proxy/switchyard/relay"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// stopTime is how long a stop may take before the process ends all the same.
const stopTime = 2 * time.Second

// serve runs the daemon until a signal ends it.
func serve(s *source, out, errOut io.Writer) int {
	hub := logs.NewHub(out, slog.LevelInfo)
	log := hub.Logger()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r := relay.New(hub, state.New(filepath.Join(s.Paths.Home, state.FileName), log), s.Source)
	r.Agent = "switchyard/" + strings.TrimPrefix(versionText(), "v")
	r.Add(impl.New(impl.Options{Relay: r, Hub: hub, Version: versionText()}))

	started := false
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		log.Info("stopping")
		time.AfterFunc(stopTime, func() {
			log.Error("what is left does not end: leaving it")
			os.Exit(exitRun)
		})
	})
	err := r.Run(ctx, func() error {
		log.Info("configuration from "+s.describe(), "home", s.Paths.Home)
		if err := r.Reload(); err != nil {
			return err
		}
		started = true
		go reloads(ctx, r, log)
		return nil
	})
	switch {
	case err != nil && !started:
		fmt.Fprintln(errOut, "switchyard:", err)
		return exitCode(err)
	case err != nil:
		log.Error("stopped", "err", err)
		return exitRun
	}
	return exitOK
}

// reloads reads the configuration again at every SIGHUP. A reload that fails changes nothing.
func reloads(ctx context.Context, r *relay.Relay, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if err := r.Reload(); err != nil {
				log.Error("reload failed, nothing has changed", "err", err)
			} else {
				log.Info("configuration reloaded")
			}
		case <-ctx.Done():
			return
		}
	}
}
