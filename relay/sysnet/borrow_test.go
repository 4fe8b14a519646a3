//go:build linux || darwin

package sysnet

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// keepsAlive says whether a listener's connections are kept alive.
func keepsAlive(t *testing.T, l *TCPListener) bool {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	on := 0
	err = onFD(raw, func(fd int) (err error) {
		on, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return on != 0
}

// greet has a client say hello to l, which accepts it.
func greet(t *testing.T, l net.Listener) {
	t.Helper()
	c, err := net.DialTimeout(l.Addr().Network(), l.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "hello")
	accepted(t, l)
}

// accepted expects a client that says hello.
func accepted(t *testing.T, l net.Listener) {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

// TestBorrowed: who borrows sockets and gives up leaves them as they were: with their clients, their options, their
// path, and no filter on them.
func TestBorrowed(t *testing.T) {
	leak.Check(t)
	path := filepath.Join(t.TempDir(), "s")
	var old, next Sockets
	tcp, udp, local := bind(t, &old, "127.0.0.1:0", "127.0.0.1:0", path)
	old.Shut()
	list, err := old.Copies()
	if err != nil {
		t.Fatal(err)
	}
	if refused := next.Borrow(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	a, err := ListenTCP("127.0.0.1:0", Options{Sockets: &next, KeepAlive: KeepAlive{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ListenUDP("127.0.0.1:0", Options{Sockets: &next})
	if err != nil {
		t.Fatal(err)
	}
	c, err := ListenUnix(path, Options{Sockets: &next})
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	_, _ = io.WriteString(waiting, "hello")
	served := make(chan error, 3)
	go func() { _, err := a.Accept(); served <- err }()
	go func() { _, err := c.Accept(); served <- err }()
	go func() { _, _, _, err := b.Receive(make([]byte, 9)); served <- err }()
	next.Open() // only Own opens it
	select {
	case err := <-served:
		t.Fatalf("served what is another's: %v", err)
	case <-time.After(10 * time.Millisecond): // that nothing happens can only be waited for
	}
	a.Interrupt()
	a.Drain(func(*TCPConn) { t.Error("the queue is another's") })
	for _, s := range []io.Closer{a, b, c} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}
	if !keepsAlive(t, tcp) {
		t.Error("its options are others")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	old.Open()
	accepted(t, tcp.Plain())
	greet(t, tcp.Plain())
	greet(t, local)
	client, err := net.Dial("udp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = io.WriteString(client, "x")
	if n, _, _, err := udp.Receive(make([]byte, 9)); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// TestOwn: once they are its own, sockets are served, and have the options that were asked for.
func TestOwn(t *testing.T) {
	leak.Check(t)
	path := filepath.Join(t.TempDir(), "s")
	var old, next Sockets
	tcp, udp, local := bind(t, &old, "127.0.0.1:0", "127.0.0.1:0", path)
	list, err := old.Copies()
	if err != nil {
		t.Fatal(err)
	}
	old.Give()
	if refused := next.Borrow(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	a, err := ListenTCP("127.0.0.1:0", Options{Sockets: &next, KeepAlive: KeepAlive{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	fresh, err := ListenTCP("127.0.0.1:0", Options{Sockets: &next}) // nobody has left it
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	c, err := ListenUnix(path, Options{Sockets: &next})
	if err != nil {
		t.Fatal(err)
	}
	next.Own()
	next.Own()
	_, _, _ = tcp.Close(), udp.Close(), local.Close()
	if keepsAlive(t, a) {
		t.Error("its options are the old ones")
	}
	greet(t, a.Plain())
	greet(t, fresh.Plain())
	greet(t, c)
	if left := next.CloseLeft(); len(left) != 1 || left[0].Network != "udp" {
		t.Errorf("%+v", left)
	}
	_ = c.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path is still there")
	}
}

// TestLeftUnixPath: a Unix socket is taken only where its path leads to it, and goes with its path.
func TestLeftUnixPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	give := func() (list []Socket) {
		t.Helper()
		var old Sockets
		l, err := ListenUnix(path, Options{Sockets: &old})
		if err == nil {
			list, err = old.Copies()
		}
		if err != nil {
			t.Fatal(err)
		}
		old.Give()
		_ = l.Close()
		return list
	}
	var next Sockets
	list := give()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if refused := next.Inherit(list); len(refused) != 1 || next.Left("unix", path) {
		t.Errorf("without its path: %+v", refused)
	}
	list = give()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if refused := next.Inherit(list); len(refused) != 1 || next.Left("unix", path) {
		t.Errorf("the path of another: %+v", refused)
	}
	_ = other.Close()

	if refused := next.Inherit(give()); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	if left := next.CloseLeft(); len(left) != 1 {
		t.Errorf("%+v", left)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path of a socket that nobody has asked for is still there")
	}

	// Who closes a socket whose path leads to another leaves that one there.
	var all Sockets
	l, err := ListenUnix(path, Options{Sockets: &all})
	if err != nil {
		t.Fatal(err)
	}
	if !all.HasUnix(path) {
		t.Error("it is there")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if other, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if all.HasUnix(path) {
		t.Error("it is another")
	}
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestLeftByOwner: of sockets that were asked for by the same address each goes back to its owner.
func TestLeftByOwner(t *testing.T) {
	const asked, owners = "127.0.0.1:0", 6
	listen := func(all *Sockets, n int) *TCPListener {
		t.Helper()
		l, err := ListenTCP(asked, Options{Sockets: all, Owner: string(rune('a' + n))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	var old, next Sockets
	var had [owners]string
	for n := range had {
		had[n] = listen(&old, n).Addr().String()
	}
	list, err := old.Copies()
	if err != nil {
		t.Fatal(err)
	}
	old.Give()
	if refused := next.Inherit(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	for n, want := range had {
		if got := listen(&next, n).Addr().String(); got != want {
			t.Errorf("owner %d has %s; had %s", n, got, want)
		}
	}
	if l := listen(&next, owners); l.Addr().String() == "" || len(next.CloseLeft()) > 0 {
		t.Error(l.Addr())
	}
}

// TestLeftOn: the queue of a socket that has no place any more is for who has its port.
func TestLeftOn(t *testing.T) {
	var old, next Sockets
	l, err := ListenTCP("127.0.0.1:0", Options{Sockets: &old, Owner: "x"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := old.Copies()
	if err != nil {
		t.Fatal(err)
	}
	old.Give()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "hello")
	_ = l.Close()
	if refused := next.Inherit(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if other := append(next.LeftOn("y", port, Options{}), next.LeftOn("x", "1"+port, Options{})...); len(other) > 0 {
		t.Errorf("%+v", other)
	}
	mine := next.LeftOn("x", port, Options{Sockets: &next})
	if len(mine) != 1 || len(next.CloseLeft()) > 0 {
		t.Fatalf("%+v", mine)
	}
	taken := 0
	mine[0].Drain(func(c *TCPConn) {
		taken++
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		_ = c.Close()
	})
	if err := mine[0].Close(); err != nil || taken != 1 {
		t.Error(taken, err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("it is still open: %v", err)
	}
}
