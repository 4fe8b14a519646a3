package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// restartable is a configuration with a listener of each kind.
func restartable(t *testing.T) (config, dns string) {
	t.Helper()
	dns = "127.0.0.1:" + strconv.Itoa(testkit.FreePort(t))
	return plain + `
external-controller-unix: controller.sock
dns: {enable: true, listen: "` + dns + `", nameserver: ["rcode://success"]}
proxy-groups: [{name: G, type: select, proxies: [DIRECT, REJECT]}]
`, dns
}

// waitFor waits until the log has text n times.
func waitFor(t *testing.T, log func() string, text string, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); strings.Count(log(), text) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has not %q %d times:\n%s", text, n, log())
		}
	}
}

const serves = "RESTful API listening at: 127.0.0.1"

// TestRestart restarts the daemon three times while clients come: none is refused, and it is one process.
func TestRestart(t *testing.T) {
	config, dns := restartable(t)
	d := testkit.Start(t, config)
	d.BaseURL = "http://127.0.0.1" + strings.Fields(d.WaitLog(t, serves))[0]
	mustDo(t, d, "PUT", "/proxies/G", `{"name":"REJECT"}`, 204)
	mustDo(t, d, "PATCH", "/configs", `{"mode":"direct"}`, 204)
	h := startHammer(t)
	h.socks(d.Mixed)
	h.api(d.BaseURL)
	h.proxied(d.Mixed, "http://"+page(t)+"/")
	h.dns(dns)
	for n := range 3 {
		h.turn(50)
		if got := mustDo(t, d, "POST", "/restart", `{"path":"","payload":""}`, 200); got != `{"status":"ok"}`+"\n" {
			t.Errorf("%q", got)
		}
		waitFor(t, d.Log, serves, n+2)
	}
	h.turn(50)
	h.end()
	if got := mustDo(t, d, "GET", "/proxies/G", "", 200); !strings.Contains(got, `"now":"REJECT"`) {
		t.Error(got)
	}
	if got := mustDo(t, d, "GET", "/configs", "", 200); !strings.Contains(got, `"mode":"rule"`) {
		t.Error("what was patched is still there")
	}
	local := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(d.Home, "controller.sock"))
	}}}
	if err := fetchOK(local, "http://localhost/version"); err != nil {
		t.Error(err)
	}
	if status, message := storeOf(t, d); status != "ok" {
		t.Error(message)
	}
	left, err := os.ReadDir("/proc/" + strconv.Itoa(d.PID()) + "/fd")
	if err == nil && len(left) > 40 {
		t.Errorf("%d descriptors", len(left))
	}
}

// TestRestartEndsTunnels: what lives has a second.
func TestRestartEndsTunnels(t *testing.T) {
	d := testkit.Start(t, plain)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}
	}()
	c := connect(t, d.Mixed, ln.Addr().String())
	mustDo(t, d, "POST", "/restart", "", 200)
	if _, err := io.WriteString(c, "still there"); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(c); string(b) != "still there" {
		t.Errorf("%q, %v", b, err)
	}
	waitFor(t, d.Log, serves, 2)
	connect(t, d.Mixed, strings.TrimPrefix(d.BaseURL, "http://"))
}

// TestRestartOfBrokenConfiguration: a daemon that would not start again goes on.
func TestRestartOfBrokenConfiguration(t *testing.T) {
	d := testkit.Start(t, plain)
	if err := os.WriteFile(d.File, []byte("mode: sideways\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, d, "POST", "/restart", "", 400); !strings.Contains(got, `"code":"config_invalid"`) {
		t.Error(got)
	}
	if err := os.Remove(d.File); err != nil {
		t.Fatal(err)
	}
	mustDo(t, d, "POST", "/restart", "", 400)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	// A port that another process has is told before anything ends; one of ours may go to another purpose.
	text := fmt.Sprintf("%s\nport: %d\n", strings.Replace(plain, "mixed-port: MIXED", "mixed-port: 0", 1), busy.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(d.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, d, "POST", "/restart", "", 500); !strings.Contains(got, `"step":"inbounds"`) {
		t.Error(got)
	}
	// Also where another is in the way beside one of ours that goes to another purpose.
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(d.BaseURL, "http://"))
	text = strings.Replace(text, "mixed-port: 0", "socks-port: "+port, 1)
	if err := os.WriteFile(d.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, d, "POST", "/restart", "", 500); !strings.Contains(got, "in use") {
		t.Error(got)
	}
	mustDo(t, d, "GET", "/version", "", 200)
}

// TestRestartMovesPorts: what the file says by then holds, on the same port too.
func TestRestartMovesPorts(t *testing.T) {
	d := testkit.Start(t, plain)
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(d.Mixed)
	restart := func(times int, more string) {
		t.Helper()
		if err := os.WriteFile(d.File, []byte(string(text)+more), 0o600); err != nil {
			t.Fatal(err)
		}
		mustDo(t, d, "POST", "/restart", "", 200)
		waitFor(t, d.Log, serves, times)
		if err := exchange("tcp", "127.0.0.2:"+port, "\x05\x01\x00", "\x05\x00"); err != nil {
			t.Error(err)
		}
	}
	restart(2, "allow-lan: true\n") // with the sockets of loopback beside
	if err := exchange("tcp", "127.0.0.1:"+port, "\x05\x01\x00", "\x05\x00"); err != nil {
		t.Error(err)
	}
	restart(3, "allow-lan: true\nbind-address: 127.0.0.2\n")
	waitFor(t, d.Log, "what was handed over is not needed any more", 4) // TCP and UDP, of both addresses
}

// TestRestartFindsUnixPath: a Unix socket whose path is gone is bound anew, one that was removed from the
// configuration goes with its path, and a path that is another's by now keeps the daemon from a restart.
func TestRestartFindsUnixPath(t *testing.T) {
	d := testkit.Start(t, plain)
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Home, "controller.sock")
	write := func(more string) {
		t.Helper()
		if err := os.WriteFile(d.File, []byte(string(text)+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	times := 1
	restart := func() {
		t.Helper()
		mustDo(t, d, "POST", "/restart", "", 200)
		times++
		waitFor(t, d.Log, serves, times)
		mustDo(t, d, "GET", "/version", "", 200)
	}
	works := func() {
		t.Helper()
		if err := exchange("unix", path, "GET /version HTTP/1.0\r\n\r\n", "HTTP/1.1 200"); err != nil {
			t.Error(err)
		}
	}
	write("external-controller-unix: controller.sock\n")
	restart()
	works()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	restart()
	works()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, d, "POST", "/restart", "", 500); !strings.Contains(got, "in use by another process") {
		t.Error(got)
	}
	_ = other.Close() // and its path is gone
	restart()
	works()
	write("")
	restart()
	waitFor(t, d.Log, "what was handed over is not needed any more", 1)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket's path is still there")
	}
}

// TestRestartServesOldSockets: who waits at a socket that a restart replaces on its port is served. The kernel may
// reset one that is in the middle of its handshake when the old of two sockets on one address closes: that is rare.
func TestRestartServesOldSockets(t *testing.T) {
	d := testkit.Start(t, plain)
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	h := startHammer(t)
	var resets atomic.Int32
	for range 3 {
		h.with("SOCKS", func() error {
			err := exchange("tcp", d.Mixed, "\x05\x01\x00", "\x05\x00")
			if errors.Is(err, syscall.ECONNRESET) && resets.Add(1) <= 2 {
				return nil
			}
			return err
		})
	}
	for n := range 6 {
		more := []string{"allow-lan: true\n", "", "inbound-mptcp: true\n"}[n%3]
		if err := os.WriteFile(d.File, []byte(string(text)+more), 0o600); err != nil {
			t.Fatal(err)
		}
		h.turn(50)
		mustDo(t, d, "POST", "/restart", "", 200)
		waitFor(t, d.Log, serves, n+2)
	}
	h.turn(50)
	h.end()
}

// TestRestartAndStop: a signal to end that comes in the middle of a restart holds.
func TestRestartAndStop(t *testing.T) {
	for n := range 12 {
		l := launch(t, version(t, "v1.0.0"), plain+"external-controller: 127.0.0.1:0\n", "")
		mustDo(t, l.Daemon, "POST", "/restart", "", 200)
		time.Sleep(time.Duration(n) * 10 * time.Millisecond) // any moment will do
		signalTo(l.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-l.ended:
		case <-time.After(5 * time.Second):
			t.Fatalf("it goes on:\n%s", l.log())
		}
	}
}
