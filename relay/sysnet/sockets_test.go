//go:build linux || darwin

package sysnet

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// bind opens a socket of each kind.
func bind(t *testing.T, all *Sockets, tcp, udp, unix string) (*TCPListener, *UDPConn, *UnixListener) {
	t.Helper()
	a, err := ListenTCP(tcp, Options{Sockets: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	b, err := ListenUDP(udp, Options{Sockets: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	c, err := ListenUnix(unix, Options{Sockets: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return a, b, c
}

// TestSocketsChangeHands: what clients have begun with one is served by the next.
func TestSocketsChangeHands(t *testing.T) {
	leak.Check(t)
	path := filepath.Join(t.TempDir(), "s")
	var old, next Sockets
	tcp, udp, unix := bind(t, &old, "127.0.0.1:0", "127.0.0.1:0", path)
	old.Shut()
	accepted := make(chan error, 3)
	go func() { _, err := tcp.Accept(); accepted <- err }()
	go func() { _, err := unix.Accept(); accepted <- err }()
	go func() { _, _, _, err := udp.Receive(make([]byte, 9)); accepted <- err }()
	var clients []net.Conn
	for _, at := range []net.Addr{tcp.Addr(), udp.LocalAddr(), unix.Addr()} {
		c, err := net.Dial(at.Network(), at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, at.Network())
		clients = append(clients, c)
	}
	list, err := old.Copies()
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	old.Give()
	addr := tcp.Addr().String()
	tcp.Drain(func(*TCPConn) { t.Error("the queue is another's") })
	for _, c := range []io.Closer{tcp, udp, unix} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("held still, then closed: %v", err)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the path of a socket that was given: %v", err)
	}
	if refused := next.Inherit(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	if !next.Left("unix", path) || !next.Left("tcp", "127.0.0.1:0") || next.Left("tcp", addr) {
		t.Error("what was left is not known by what was asked for")
	}
	tcp, udp, unix = bind(t, &next, "127.0.0.1:0", "127.0.0.1:0", path)
	if tcp.Addr().String() != addr {
		t.Errorf("%s; want %s", tcp.Addr(), addr)
	}
	b := make([]byte, 9)
	if n, from, _, err := udp.Receive(b); err != nil || string(b[:n]) != "udp" || from.String() != clients[1].LocalAddr().String() {
		t.Errorf("%q from %s, %v", b[:n], from, err)
	}
	for network, ln := range map[string]net.Listener{"tcp": tcp.Plain(), "unix": unix} {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:n]) != network {
			t.Errorf("%q, %v", b[:n], err)
		}
		_ = c.Close()
	}
	if left := next.CloseLeft(); len(left) > 0 {
		t.Errorf("%+v", left)
	}
	_ = unix.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path of a socket that closes is still there")
	}
}

// atGate waits until n goroutines wait for a gate to open: one that was about to accept when it shut may still do so.
func atGate(t *testing.T, n int) {
	t.Helper()
	b := make([]byte, 1<<20)
	deadline := time.Now().Add(5 * time.Second)
	for strings.Count(string(b[:runtime.Stack(b, true)]), "(*held).pass(") < n {
		if time.Now().After(deadline) {
			t.Fatal("somebody does not come to the gate")
		}
		runtime.Gosched()
	}
}

// TestShutAndOpen: what waited is served when the gate opens again.
func TestShutAndOpen(t *testing.T) {
	leak.Check(t)
	var all Sockets
	tcp, udp, _ := bind(t, &all, "127.0.0.1:0", "127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	conns, packets := make(chan error), make(chan error)
	go func() {
		for range 3 {
			c, err := tcp.Accept()
			if err == nil {
				_ = c.Close()
			}
			conns <- err
		}
	}()
	batch, err := udp.NewBatch(1, 100, 100)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 3 {
			_, err := batch.Receive()
			packets <- err
		}
	}()
	for range 3 {
		all.Shut()
		all.Shut()
		atGate(t, 2)
		for _, at := range []net.Addr{tcp.Addr(), udp.LocalAddr()} {
			c, err := net.Dial(at.Network(), at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "x")
		}
		select {
		case err := <-conns:
			t.Fatalf("accepted while shut: %v", err)
		case err := <-packets:
			t.Fatalf("received while shut: %v", err)
		case <-time.After(10 * time.Millisecond): // that nothing happens can only be waited for
		}
		all.Open()
		all.Open()
		if err := errors.Join(<-conns, <-packets); err != nil {
			t.Fatal(err)
		}
	}
	// Who is interrupted meanwhile stays so.
	all.Shut()
	go func() { _, err := tcp.Accept(); conns <- err }()
	tcp.Interrupt()
	if err := <-conns; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	all.Open()
	if _, err := tcp.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestInheritNothingElse: descriptors that are no such sockets are refused and closed.
func TestInheritNothingElse(t *testing.T) {
	leak.Check(t)
	var all, next Sockets
	tcp, _, _ := bind(t, &all, "127.0.0.1:0", "127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	f := func(change func(k *Socket)) {
		t.Helper()
		list, err := all.Copies()
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			change(&list[i])
		}
		if refused := next.Inherit(list); len(refused) != len(list) {
			t.Errorf("%d of %+v", len(refused), list)
		}
		for _, k := range list {
			if err := syscall.Close(k.FD); !errors.Is(err, syscall.EBADF) {
				t.Errorf("%+v is open", k)
			}
		}
	}
	f(func(k *Socket) { k.Bound = "127.0.0.1:1" })
	f(func(k *Socket) { k.Network = map[string]string{"tcp": "udp", "udp": "unix", "unix": "tcp"}[k.Network] })
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	k := Socket{Network: "tcp", Bound: c.LocalAddr().String(), FD: int(file.Fd())}
	if verify(k) == nil && !acceptUnknown {
		t.Error("a connection is no listener")
	}
	_ = file.Close()
	if verify(Socket{Network: "tcp", FD: 1 << 19}) == nil {
		t.Error("a descriptor that is not there is a socket")
	}
}

// TestLeftBeside: what asks for another address of a port that was left gets it, and what was left goes.
func TestLeftBeside(t *testing.T) {
	var old, next Sockets
	tcp, udp, _ := bind(t, &old, "127.0.0.1:0", "127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	list, err := old.Copies()
	if err != nil {
		t.Fatal(err)
	}
	_, tcpPort, _ := net.SplitHostPort(tcp.Addr().String())
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	_, _ = tcp.Close(), udp.Close()
	if refused := next.Inherit(list); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	a, err := ListenTCP("0.0.0.0:"+tcpPort, Options{Sockets: &next})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := ListenUDP("0.0.0.0:"+udpPort, Options{Sockets: &next})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if left := next.CloseLeft(); len(left) != 3 {
		t.Errorf("%+v", left)
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+tcpPort)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
