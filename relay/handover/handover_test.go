//go:build linux || darwin

package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// TestMain is the test, or a process that something is left to.
func TestMain(m *testing.M) {
	if role := os.Getenv("HANDOVER_ROLE"); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const address = "127.0.0.1:0"

// play is what the other process does.
func play(role string) error {
	r, err := Receive()
	if err != nil {
		return err
	}
	if _, there := os.LookupEnv(Variable); there {
		return errors.New("the variable is still there")
	}
	switch role {
	case "first": // executes itself, with a listener
		all := new(sysnet.Sockets)
		ln, err := sysnet.ListenTCP(address, sysnet.Options{Sockets: all})
		if err != nil {
			return err
		}
		fmt.Println(os.Getpid(), ln.Addr())
		list, err := all.Copies()
		if err != nil {
			return err
		}
		p := &Parcel{Sockets: list, Text: []byte(strings.Repeat("text", 100_000))}
		if err := Exec("/no/such/program", os.Args, os.Environ(), p); err == nil {
			return errors.New("that was executed")
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return Exec(self, os.Args, append(Clean(os.Environ(), "HANDOVER_ROLE"), "HANDOVER_ROLE=second"), p)
	case "second", "child":
		all := new(sysnet.Sockets)
		if refused := all.Inherit(r.Sockets); len(refused) > 0 || len(r.Sockets) != 1 {
			return fmt.Errorf("%+v; refused %+v", r.Sockets, refused)
		}
		text, err := io.ReadAll(r.Text)
		if err != nil {
			return err
		}
		ln, err := sysnet.ListenTCP(address, sysnet.Options{Sockets: all})
		if err != nil {
			return err
		}
		fmt.Println(os.Getpid(), ln.Addr(), len(text))
		if role == "child" != r.Child() {
			return errors.New("this is not the right kind of process")
		}
		if err := errors.Join(r.Ready(), r.Ready()); err != nil {
			return err
		}
		r.Failed(errors.New("too late"))
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		_, err = io.WriteString(c, role)
		return errors.Join(err, c.Close())
	case "unneeded":
		if err := r.Ready(); !errors.Is(err, ErrNotNeeded) {
			return fmt.Errorf("ready: %w", err)
		}
		return nil
	case "leaving": // it dies once it has said that it is ready
		_, err := io.WriteString(r.ready, readyWord)
		return err
	case "failing":
		r.Failed(errors.New("no way " + strings.Repeat("x", 2*maxWord)))
		return nil
	case "silent":
		return nil
	case "stuck":
		select {}
	}
	return errors.New("no such role")
}

func env(role string) []string { return append(os.Environ(), "HANDOVER_ROLE="+role) }

// said expects what a process with a listener answers.
func said(t *testing.T, addr, want string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); string(b) != want {
		t.Errorf("%q, %v; want %q", b, err, want)
	}
}

// TestExec: a process that executes itself keeps its socket, its number and its text.
func TestExec(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = env("first"), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var pid, again, size int
	var addr, second string
	if _, err := fmt.Fscan(out, &pid, &addr); err != nil {
		t.Fatal(err)
	}
	said(t, addr, "second")
	if _, err := fmt.Fscan(out, &again, &second, &size); err != nil {
		t.Fatal(err)
	}
	if again != pid || second != addr || size != 400_000 {
		t.Errorf("%d %s, then %d %s with %d bytes", pid, addr, again, second, size)
	}
}

// start starts this program in a role, with a socket.
func start(t *testing.T, role string) (c *Child, addr string) {
	t.Helper()
	all := new(sysnet.Sockets)
	ln, err := sysnet.ListenTCP(address, sysnet.Options{Sockets: all})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := &Parcel{Text: []byte{}}
	if p.Sockets, err = all.Copies(); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if c, err = Start(os.Args[0], os.Args[:1], env(role), p); err != nil {
		t.Fatal(err)
	}
	return c, ln.Addr().String()
}

func TestStart(t *testing.T) {
	c, addr := start(t, "child")
	defer c.End()
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Go(); err != nil {
		t.Fatal(err)
	}
	said(t, addr, "child")
}

// TestNotNeeded: a child that is ready does not go on by itself, also when it is so too late.
func TestNotNeeded(t *testing.T) {
	f := func(end func(c *Child)) {
		t.Helper()
		c, _ := start(t, "unneeded")
		end(c)
		if st, err := c.process.Wait(); err != nil || st.ExitCode() != 0 {
			t.Errorf("%v, %v", st, err)
		}
	}
	f(func(c *Child) {
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		_ = c.word.Close()
	})
	f(func(c *Child) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Wait(ctx); err == nil {
			t.Error("it was ready at once")
		}
		_ = c.word.Close()
	})
	c, _ := start(t, "leaving")
	if err := c.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.process.Wait(); err != nil {
		t.Error(err)
	}
	if err := c.Go(); err == nil {
		t.Error("one who is gone was told to go on")
	}
}

func TestStartFails(t *testing.T) {
	f := func(role, want string) {
		t.Helper()
		c, addr := start(t, role)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if role == "stuck" {
			cancel()
		}
		err := c.Wait(ctx)
		if err == nil || !strings.HasPrefix(err.Error(), want) || len(err.Error()) > maxWord {
			t.Errorf("%s: %.100v", role, err)
		}
		c.End()
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("the child still listens")
		}
	}
	f("failing", "no way")
	f("silent", "it ended")
	f("stuck", "it was not ready in time")
	if _, err := Start("/no/such/program", nil, nil, new(Parcel)); err == nil {
		t.Error("that was started")
	}
}

func TestReceive(t *testing.T) {
	f := func(value, want string) {
		t.Helper()
		t.Setenv(Variable, value)
		r, err := Receive()
		if r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: %+v, %v", value, r, err)
		}
		if _, there := os.LookupEnv(Variable); there {
			t.Error("the variable is still there")
		}
	}
	f("", "not what")
	f("{}{}", "not what")
	f(`{"from":"me"}`, "not what")
	f(`{"from":1,"more":1}`, "neither this one nor its parent") // more is what another version knows
	f(fmt.Sprintf(`{"from":%d}`, os.Getpid()+1_000_000), "neither this one nor its parent")
	f(`{"sockets":[{"FD":2}]}`, "descriptor 2")
	f(`{"sockets":[{"FD":9},{"FD":9}]}`, "descriptor 9")
	f(`{"sockets":[{"FD":9}],"ready":9}`, "descriptor")
	f(`{"text":-1}`, "descriptor")
	f(`{"sockets":[`+strings.Repeat(`{"FD":9},`, maxSockets)+`{"FD":9}]}`, "more than")
	f(strings.Repeat(" ", maxNote+1), "larger than")
	_ = os.Unsetenv(Variable)
	if r, err := Receive(); r != nil || err != nil || r.Child() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReceiveRefuses: a note that is refused leaves no socket open, and closes nothing else.
func TestReceiveRefuses(t *testing.T) {
	all := new(sysnet.Sockets)
	ln, err := sysnet.ListenTCP(address, sysnet.Options{Sockets: all})
	if err != nil {
		t.Fatal(err)
	}
	list, err := all.Copies()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k := list[0]
	note := func(fd int) string { return fmt.Sprintf(`{"Network":"tcp","Bound":%q,"FD":%d}`, k.Bound, fd) }
	t.Setenv(Variable, fmt.Sprintf(`{"from":"a word","sockets":[%s,%s]}`, note(int(w.Fd())), note(k.FD)))
	if got, err := Receive(); got != nil || err == nil {
		t.Errorf("%+v, %v", got, err)
	}
	_ = ln.Close()
	if c, err := net.Dial("tcp", k.Bound); err == nil {
		_ = c.Close()
		t.Error("the socket is still open")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestClean(t *testing.T) {
	got := Clean([]string{"A=1", Variable + "=x", "NOTIFY_SOCKET=/run", "NOTIFY_SOCKETS=2"}, "NOTIFY_SOCKET")
	if strings.Join(got, " ") != "A=1 NOTIFY_SOCKETS=2" {
		t.Error(got)
	}
}

// FuzzParse: what is read is within bounds.
func FuzzParse(f *testing.F) {
	f.Add(`{"from":1,"sockets":[{"Network":"tcp","Asked":":1","Bound":"[::]:1","Multipath":false,"FD":3}],"text":4,"ready":5}`)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parse(text)
		if err != nil {
			return
		}
		for _, s := range n.Sockets {
			if s.FD < 3 || s.FD >= maxFD || s.FD == n.Text || s.FD == n.Ready {
				t.Errorf("%+v", n)
			}
		}
	})
}
