package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells systemd how the daemon is, as sd_notify(3) does. Where nobody wants to know it does nothing.
type notifier struct{ path string }

// notifyVariable names the socket that is told.
const notifyVariable = "NOTIFY_SOCKET"

func newNotifier() notifier { return notifier{os.Getenv(notifyVariable)} }

// notifyTime bounds how long a message may take.
const notifyTime = time.Second

// send tells what the lines say. Who does not listen does not matter.
func (n notifier) send(lines ...string) {
	if !n.heard() {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.path, Net: "unixgram"}) // @ is the abstract space
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(notifyTime))
	_, _ = c.Write([]byte(strings.Join(lines, "\n")))
}

// heard says whether somebody wants to know.
func (n notifier) heard() bool { return n.path != "" && (n.path[0] == '/' || n.path[0] == '@') }

func (n notifier) ready() { n.send("READY=1", "STATUS=serving "+versionText()) }

// reloading says that ready comes again.
func (n notifier) reloading(status string) {
	lines := []string{"RELOADING=1", "STATUS=" + status}
	if now, ok := monotonic(); ok {
		lines = append(lines, "MONOTONIC_USEC="+strconv.FormatInt(now.Microseconds(), 10))
	}
	n.send(lines...)
}
