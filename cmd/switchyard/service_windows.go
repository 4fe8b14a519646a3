package main

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// serviceName is what the event log calls us. The service itself is called what sc create has called it.
const serviceName = "switchyard"

// stopHint is how long the service manager is to wait for a stop, in milliseconds.
const stopHint = uint32(2 * stopTime / 1e6)

// service is the daemon as the service manager of Windows sees it.
type service struct {
	daemon func(ctx context.Context, errOut io.Writer) int
	code   int // with which the daemon ended
}

// hosted runs the daemon: from a console as on any system, and as a service where the service
// manager has started it. What a service says of errors is in the event log, as it has no console.
func hosted(daemon func(ctx context.Context, errOut io.Writer) int) int {
	if !isService() {
		return daemon(context.Background(), os.Stderr)
	}
	s := &service{daemon: daemon, code: exitStart}
	if err := svc.Run(serviceName, s); err != nil {
		return exitStart
	}
	return s.code
}

// isService says whether the service manager has started this process.
func isService() bool {
	is, err := svc.IsWindowsService()
	return err == nil && is
}

// stopSignals end the daemon: CTRL+C and CTRL+BREAK are SIGINT, and that its console or session ends
// is SIGTERM. A service hears of the end of every session, and goes on.
func stopSignals() []os.Signal {
	if isService() {
		return []os.Signal{syscall.SIGINT}
	}
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM}
}

// Execute implements svc.Handler. The daemon's exit code is the service's own.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- s.daemon(ctx, openEvents()) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case s.code = <-ended:
			return s.code != exitOK, uint32(s.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: stopHint}
				stop()
			}
		}
	}
}

// events writes to the event log, as errors.
type events struct{ log *eventlog.Log }

// openEvents opens the event log, for as long as the process lives.
func openEvents() io.Writer {
	log, err := eventlog.Open(serviceName)
	if err != nil {
		return io.Discard
	}
	return events{log}
}

// Write implements io.Writer.
func (e events) Write(p []byte) (int, error) {
	if text := strings.TrimSpace(string(p)); text != "" {
		if err := e.log.Error(1, strings.ReplaceAll(text, "\x00", "")); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
