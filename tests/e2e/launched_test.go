package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// launched is a daemon whose program is a copy of its own, which may be replaced while it runs. Its output goes to
// a file, which all processes that follow one another write to.
type launched struct {
	*testkit.Daemon // for its requests alone
	exe             string
	cmd             *exec.Cmd
	ended           chan error
	out             string
}

// versions are programs with a version, built once.
var versions sync.Map

// version is the path of a program that calls itself so.
func version(t *testing.T, name string) string {
	t.Helper()
	build, _ := versions.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(filepath.Dir(testkit.Binary(t)), "switchyard-"+name)
		args := []string{"build", "-o", path, "-ldflags", "-X main.version=" + name}
		if testkit.Race {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/switchyard-proxy/switchyard/cmd/switchyard")...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("go build: %w\n%s", err, out)
		}
		return path, err
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// launch runs a copy of a program with a configuration, whose MIXED is a free port.
func launch(t *testing.T, program, config, stdin string, env ...string) *launched {
	t.Helper()
	return launchAs(t, nil, program, config, stdin, env...)
}

// launchAs is launch with a process of another kind; nil is the ordinary one.
func launchAs(t *testing.T, attr *syscall.SysProcAttr, program, config, stdin string, env ...string) *launched {
	t.Helper()
	l := &launched{Daemon: &testkit.Daemon{Home: t.TempDir()}, ended: make(chan error, 1)}
	l.Mixed = "127.0.0.1:" + strconv.Itoa(testkit.FreePort(t))
	fill := func(s string) string { return strings.ReplaceAll(s, "MIXED", l.Mixed[strings.Index(l.Mixed, ":")+1:]) }
	l.exe, l.out = filepath.Join(t.TempDir(), "switchyard"), filepath.Join(l.Home, "log.txt")
	if err := os.WriteFile(l.exe, contents(t, program), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(l.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	args := []string{"-d", l.Home}
	if stdin != "" {
		args = append(args, "-f", "-")
	} else if err := os.WriteFile(filepath.Join(l.Home, "config.yaml"), []byte(fill(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	l.cmd = exec.Command(l.exe, args...)
	l.cmd.Stdin = strings.NewReader(fill(stdin))
	l.cmd.Stdout, l.cmd.Stderr = out, out
	l.cmd.Env, l.cmd.SysProcAttr = append(os.Environ(), env...), attr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.ended <- l.cmd.Wait() }()
	t.Cleanup(func() { l.end(t) })
	waitFor(t, l.log, serves, 1)
	_, rest, _ := strings.Cut(l.log(), serves)
	l.BaseURL = "http://127.0.0.1" + strings.Fields(rest)[0]
	return l
}

func (l *launched) log() string {
	b, _ := os.ReadFile(l.out)
	return string(b)
}

// programs are the processes that run the program of l, or one that was its.
func (l *launched) programs(t *testing.T) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range all {
		if exe, err := os.Readlink(link); err == nil && strings.HasPrefix(exe, filepath.Dir(l.exe)+"/") {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// signalTo sends a signal to one who may be gone.
func signalTo(pid int, s os.Signal) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Signal(s)
	}
}

// end stops all processes, and fails where they do not end.
func (l *launched) end(t *testing.T) {
	t.Helper()
	for _, pid := range l.programs(t) {
		signalTo(pid, syscall.SIGTERM)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := l.programs(t)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for _, pid := range left {
				signalTo(pid, syscall.SIGKILL)
			}
			t.Errorf("processes %v did not end", left)
			break
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if strings.Contains(l.log(), "DATA RACE") || strings.Contains(l.log(), "panic") || t.Failed() {
		t.Errorf("the log:\n%s", l.log())
	}
}

// unchanged fails where the program of l is not the one that it was.
func (l *launched) unchanged(t *testing.T, program string) {
	t.Helper()
	if !bytes.Equal(contents(t, l.exe), contents(t, program)) {
		t.Error("the program is another")
	}
	if _, err := os.Stat(l.exe + ".new"); err == nil {
		t.Error("the new program is still there")
	}
	if got := l.programs(t); len(got) != 1 || got[0] != l.cmd.Process.Pid {
		t.Errorf("processes %v; want %d", got, l.cmd.Process.Pid)
	}
}
