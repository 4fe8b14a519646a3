package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// TestMain is also the child of these tests: it does what the variable says, and ends with stdin.
func TestMain(m *testing.M) {
	what, of, ok := strings.Cut(os.Getenv("PROCESS_TEST_CHILD"), " ")
	if !ok {
		os.Exit(m.Run())
	}
	switch what {
	case "dial":
		c, err := net.Dial("tcp", of)
		if err != nil {
			panic(err)
		}
		fmt.Println(c.LocalAddr())
	case "find":
		from, to, _ := strings.Cut(of, " ")
		source, local := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		o, err := New().Find(context.Background(), flow.TCP, source, local)
		fmt.Printf("%d %q %v\n", o.UID, o.Path, err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// child runs cmd as the child that does what, and returns the line it prints.
func child(t *testing.T, cmd *exec.Cmd, what string) string {
	t.Helper()
	cmd.Env = append(os.Environ(), "PROCESS_TEST_CHILD="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = errors.Join(cmd.Process.Kill(), in.Close(), cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// self is this process.
func self(t testing.TB) Owner {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		t.Fatal(err)
	}
	return Owner{UID: uint32(os.Geteuid()), Path: path}
}

// listen is a TCP listener that accepts nothing; the kernel shakes hands for it.
func listen(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func dial(t testing.TB, d net.Dialer, network string, to net.Addr) net.Conn {
	t.Helper()
	c, err := d.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort()
	case *net.UDPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// is checks that f finds want, twice: what it remembers is the same.
func is(t *testing.T, f *Finder, network flow.Network, source, local netip.AddrPort, want Owner) {
	t.Helper()
	for range 2 {
		if got, err := f.Find(t.Context(), network, source, local); got != want || err != nil {
			t.Errorf("%v from %v to %v: %+v, %v; want %+v", network, source, local, got, err, want)
		}
	}
}

func isNot(t *testing.T, f *Finder, network flow.Network, source, local netip.AddrPort) {
	t.Helper()
	if got, err := f.Find(t.Context(), network, source, local); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v from %v to %v: %+v, %v; want %v", network, source, local, got, err, ErrNotFound)
	}
}

// part is a where only its port is known.
func part(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Unmap().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
}

func TestTCP(t *testing.T) {
	leak.Check(t)
	f := func(d net.Dialer, addr string) {
		t.Helper()
		t.Run(addr, func(t *testing.T) {
			t.Helper()
			ln := listen(t, addr)
			c := dial(t, d, "tcp", ln.Addr())
			source, local, finder := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), New()
			is(t, finder, flow.TCP, source, local, self(t))
			is(t, finder, flow.TCP, source, netip.AddrPort{}, self(t))
			is(t, finder, flow.TCP, source, part(local), self(t))
			isNot(t, finder, flow.TCP, source, netip.AddrPortFrom(local.Addr(), local.Port()^1))
			isNot(t, finder, flow.UDP, source, local)
			isNot(t, finder, flow.TCP, local, source)           // in the queue: nobody has it yet
			isNot(t, finder, flow.TCP, local, netip.AddrPort{}) // the listener sends nothing
		})
	}
	f(net.Dialer{}, "127.0.0.1:0")
	f(net.Dialer{}, "[::1]:0")
	f(net.Dialer{}, ":0") // the listener speaks both
	var multi net.Dialer
	multi.SetMultipathTCP(true)
	f(multi, "127.0.0.1:0")
	// A socket that is bound to an interface sees only what comes in there.
	f(net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") })
		return errors.Join(cerr, err)
	}}, "127.0.0.1:0")
}

// TestMapped connects IPv6 sockets to IPv4 addresses.
func TestMapped(t *testing.T) {
	f := func(network flow.Network, kind int, to net.Addr) {
		t.Helper()
		fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip(err)
		}
		defer unix.Close(fd)
		local := addrPort(to)
		err = unix.Connect(fd, &unix.SockaddrInet6{Addr: local.Addr().As16(), Port: int(local.Port())})
		if err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		in6 := name.(*unix.SockaddrInet6)
		source := netip.AddrPortFrom(netip.AddrFrom16(in6.Addr), uint16(in6.Port))
		if !source.Addr().Is4In6() {
			t.Fatalf("%v is not mapped", source)
		}
		plain := netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		finder := New()
		is(t, finder, network, source, local, self(t))
		is(t, finder, network, plain, local, self(t))
		is(t, finder, network, plain, part(local), self(t))
		is(t, finder, network, plain, netip.AddrPort{}, self(t))
	}
	f(flow.TCP, unix.SOCK_STREAM, listen(t, "127.0.0.1:0").Addr())
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	f(flow.UDP, unix.SOCK_DGRAM, u.LocalAddr())
}

// TestZone goes by a link-local address, where there is one.
func TestZone(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, ifc := range all {
		addrs, _ := ifc.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.To4() != nil || !n.IP.IsLinkLocalUnicast() {
				continue
			}
			to := &net.TCPAddr{IP: n.IP, Zone: ifc.Name}
			to.Port = listen(t, to.String()).Addr().(*net.TCPAddr).Port
			c := dial(t, net.Dialer{}, "tcp", to)
			is(t, New(), flow.TCP, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), self(t))
			return
		}
	}
	t.Skip("no link-local address")
}

func TestUDP(t *testing.T) {
	leak.Check(t)
	f := func(network, server, client, from string) {
		t.Helper()
		t.Run(network+" "+client, func(t *testing.T) {
			t.Helper()
			s, err := net.ListenPacket("udp", server)
			if err != nil {
				t.Skip(err)
			}
			defer s.Close()
			local, finder := addrPort(s.LocalAddr()), New()

			// Connected.
			c := dial(t, net.Dialer{}, "udp", s.LocalAddr())
			source := addrPort(c.LocalAddr())
			is(t, finder, flow.UDP, source, local, self(t))
			is(t, finder, flow.UDP, source, part(local), self(t))
			is(t, finder, flow.UDP, source, netip.AddrPort{}, self(t))
			isNot(t, finder, flow.UDP, source, netip.AddrPortFrom(local.Addr(), local.Port()^1))
			isNot(t, finder, flow.TCP, source, local)

			// Not connected.
			u, err := net.ListenPacket(network, client)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			source = netip.AddrPortFrom(netip.MustParseAddr(from), addrPort(u.LocalAddr()).Port())
			is(t, finder, flow.UDP, source, local, self(t))
			is(t, finder, flow.UDP, source, part(local), self(t))
			is(t, finder, flow.UDP, source, netip.AddrPort{}, self(t))
			u.Close()
			isNot(t, finder, flow.UDP, source, local)
			isNot(t, finder, flow.UDP, source, netip.AddrPort{})
		})
	}
	f("udp4", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1")
	f("udp4", "127.0.0.1:0", "0.0.0.0:0", "127.0.0.1")
	f("udp6", "[::1]:0", "[::1]:0", "::1")
	f("udp6", "[::1]:0", "[::]:0", "::1")
	f("udp", "127.0.0.1:0", ":0", "127.0.0.1") // an IPv6 socket that speaks IPv4
	f("udp", "[::1]:0", ":0", "::1")
}

// TestClosed asks for sockets that nobody has any more.
func TestClosed(t *testing.T) {
	f := func(linger int) {
		t.Helper()
		c := dial(t, net.Dialer{}, "tcp", listen(t, "127.0.0.1:0").Addr()).(*net.TCPConn)
		source, local, finder := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), New()
		is(t, finder, flow.TCP, source, local, self(t))
		if err := errors.Join(c.SetLinger(linger), c.Close()); err != nil {
			t.Fatal(err)
		}
		isNot(t, finder, flow.TCP, source, local)
		isNot(t, finder, flow.TCP, source, netip.AddrPort{})
	}
	f(0)  // reset
	f(-1) // waits for its peer in the kernel, as nobody's
}

// TestElsewhere asks for what is no socket of ours.
func TestElsewhere(t *testing.T) {
	f := func(source, local string) {
		t.Helper()
		from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(local)
		isNot(t, New(), flow.TCP, from, to)
		isNot(t, New(), flow.UDP, from, to)
	}
	f("192.0.2.1:40000", "127.0.0.1:7890")
	f("[2001:db8::1]:40000", "[::1]:7890")
	f("[fe80::1%nowhere]:40000", "[fe80::2%nowhere]:7890")
	f("[fe80::1%4000000000]:40000", "[::1]:7890")
	f("192.0.2.1:0", "0.0.0.0:0")
	f("192.0.2.1:40000", "[::1]:7890")
	isNot(t, New(), flow.TCP, netip.AddrPort{}, netip.AddrPort{})
	isNot(t, New(), flow.UDP, netip.AddrPort{}, netip.AddrPort{})
}

// TestChild finds another program, also once its file is gone.
func TestChild(t *testing.T) {
	leak.Check(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a holder")
	b, err := os.ReadFile(self(t).Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	ln := listen(t, "127.0.0.1:0")
	source := netip.MustParseAddrPort(child(t, exec.Command(path), "dial "+ln.Addr().String()))
	finder, want := New(), Owner{UID: uint32(os.Geteuid()), Path: path}
	is(t, finder, flow.TCP, source, addrPort(ln.Addr()), want)
	if want.Name() != "a holder" {
		t.Error(want.Name())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	is(t, finder, flow.TCP, source, addrPort(ln.Addr()), want)
	is(t, New(), flow.TCP, source, addrPort(ln.Addr()), want)
}

// TestUsers finds a process of another user, and as that user one that is not for it to see.
func TestUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	leak.Check(t)
	nobody := func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe") // whatever the rights of the directories above it
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd
	}
	ln := listen(t, "127.0.0.1:0")
	cmd := nobody()
	source := netip.MustParseAddrPort(child(t, cmd, "dial "+ln.Addr().String()))
	is(t, New(), flow.TCP, source, addrPort(ln.Addr()), Owner{UID: 65534, Path: self(t).Path})
	f := func(uid uint32, first, then int) {
		t.Helper()
		pids, err := processes(uid)
		a, b := slices.Index(pids, int32(first)), slices.Index(pids, int32(then))
		if err != nil || a < 0 || b < a {
			t.Errorf("user %d: %d is at %d, %d at %d, %v", uid, first, a, then, b, err)
		}
	}
	f(65534, cmd.Process.Pid, os.Getpid())
	f(0, os.Getpid(), cmd.Process.Pid)

	c := dial(t, net.Dialer{}, "tcp", ln.Addr())
	got := child(t, nobody(), fmt.Sprint("find ", c.LocalAddr(), " ", c.RemoteAddr()))
	if want := `0 "" <nil>`; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}
