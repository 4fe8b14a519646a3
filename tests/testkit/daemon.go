// Package testkit runs the real daemon for tests: the binary, built from this tree, with a home
// directory of its own on free ports.
package testkit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/port"
)

// Daemon is a running switchyard. It ends with its test, which fails when it does not end well.
type Daemon struct {
	BaseURL string // of the API
	Secret  string
	Home    string
	File    string // the configuration
	Mixed   string // host:port of the mixed port, where the configuration says MIXED
	cmd     *exec.Cmd
	out     *output
	ended   chan error
}

// wait bounds every wait for the daemon.
const wait = 10 * time.Second

var binary struct {
	once sync.Once
	path string
	err  error
}

// Main builds the binary, runs the tests of a package and removes it. TestMain calls it.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "switchyard")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary.path = filepath.Join(dir, "switchyard")
	if os.Getenv("GORACE") == "" { // or each daemon takes a second to exit under the race detector
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// Binary is the path of the daemon, which the first call builds. TestMain must have called Main.
func Binary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.path == "" {
			binary.err = fmt.Errorf("TestMain does not call testkit.Main")
			return
		}
		args := []string{"build", "-o", binary.path}
		if Race {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/switchyard-proxy/switchyard/cmd/switchyard")...).CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// FreePort is a port of 127.0.0.1 that was free a moment ago.
func FreePort(t testing.TB) int { return port.Free(t) }

// Start runs the daemon with a configuration and waits until it serves. In the text MIXED stands
// for a free port, and an external-controller on a free port is added where there is none.
func Start(t testing.TB, yaml string, args ...string) *Daemon {
	t.Helper()
	d := &Daemon{Home: t.TempDir()}
	if strings.Contains(yaml, "MIXED") {
		mixed := FreePort(t)
		d.Mixed = fmt.Sprintf("127.0.0.1:%d", mixed)
		yaml = strings.ReplaceAll(yaml, "MIXED", fmt.Sprint(mixed))
	}
	if !strings.Contains(yaml, "external-controller:") {
		yaml += "\nexternal-controller: 127.0.0.1:0\n"
	}
	for line := range strings.SplitSeq(yaml, "\n") {
		if word, ok := strings.CutPrefix(line, "secret:"); ok {
			d.Secret = strings.Trim(strings.TrimSpace(word), `"'`)
		}
	}
	d.File = filepath.Join(d.Home, "config.yaml")
	if err := os.WriteFile(d.File, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run(t, append([]string{"-d", d.Home}, args...))
	return d
}

func (d *Daemon) run(t testing.TB, args []string) {
	t.Helper()
	d.cmd = exec.Command(Binary(t), args...)
	d.out = &output{lines: make(chan struct{}, 1)}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }()
	t.Cleanup(func() { d.stop(t) })
	d.BaseURL = "http://" + d.Listening(t, "tcp")
}

// Listening is where the API listens by kind: tcp, tls or unix.
func (d *Daemon) Listening(t testing.TB, kind string) (addr string) {
	t.Helper()
	said := regexp.MustCompile(`RESTful API listening at: (\S+) kind=` + kind + `\b`)
	d.waitLog(t, said.String(), func(log string) bool {
		m := said.FindStringSubmatch(log)
		if m != nil {
			addr = m[1]
		}
		return m != nil
	})
	return addr
}

// stop ends the daemon as a service manager would.
func (d *Daemon) stop(t testing.TB) {
	if d.cmd.ProcessState != nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-d.ended:
		if err != nil {
			t.Errorf("the daemon ended with %v:\n%s", err, d.Log())
		}
	case <-time.After(wait):
		_ = d.cmd.Process.Kill()
		t.Errorf("the daemon did not end:\n%s", d.Log())
	}
	if strings.Contains(d.Log(), "DATA RACE") || strings.Contains(d.Log(), "panic in a") {
		t.Errorf("the daemon's log:\n%s", d.Log())
	}
}

// Wait waits until the daemon has ended by itself, and returns its exit code.
func (d *Daemon) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-d.ended:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(wait):
		t.Fatalf("the daemon does not end:\n%s", d.Log())
		return 0
	}
}

// Signal sends the daemon a signal.
func (d *Daemon) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// PID is the daemon's process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Log is what the daemon has printed so far.
func (d *Daemon) Log() string { return d.out.String() }

// WaitLog waits until the log has text, and returns what follows on that line.
func (d *Daemon) WaitLog(t testing.TB, text string) (rest string) {
	t.Helper()
	d.waitLog(t, text, func(log string) bool {
		_, after, ok := strings.Cut(log, text)
		line, _, whole := strings.Cut(after, "\n")
		rest = strings.TrimSuffix(strings.TrimSpace(line), `"`)
		return ok && whole
	})
	return rest
}

// waitLog waits until the log is as has says.
func (d *Daemon) waitLog(t testing.TB, what string, has func(log string) bool) {
	t.Helper()
	deadline := time.After(wait)
	for !has(d.Log()) {
		select {
		case <-d.out.lines:
		case <-deadline:
			t.Fatalf("the log never says %q:\n%s", what, d.Log())
		}
	}
}

// Do sends a request to the API, with the secret, and returns status and body.
func (d *Daemon) Do(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.BaseURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if d.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+d.Secret)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(bufio.NewReader(resp.Body))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// output collects lines and says when there are new ones.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	lines chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.lines <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Restart stops d and runs another daemon in the same home directory.
func (d *Daemon) Restart(t testing.TB) *Daemon {
	t.Helper()
	d.Signal(t, syscall.SIGTERM)
	if code := d.Wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, d.Log())
	}
	return d.Again(t)
}

// Kill ends d at once, as a crash would.
func (d *Daemon) Kill(t testing.TB) {
	t.Helper()
	d.Signal(t, syscall.SIGKILL)
	d.Wait(t)
}

// Again runs another daemon in the home directory of d, which has ended.
func (d *Daemon) Again(t testing.TB) *Daemon {
	t.Helper()
	n := &Daemon{Home: d.Home, File: d.File, Mixed: d.Mixed, Secret: d.Secret}
	n.run(t, []string{"-d", n.Home})
	return n
}
