package process

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// afloat is a connection that no process holds: it is on its way through a Unix socket. land takes
// it out again.
func afloat(t *testing.T) (source, local netip.AddrPort, land func()) {
	t.Helper()
	c := dial(t, net.Dialer{}, "tcp", listen(t, "127.0.0.1:0").Addr())
	source, local = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(unix.Close(pair[0]), unix.Close(pair[1])) })
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(fd)), nil, 0)
	})
	if err := errors.Join(cerr, err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return source, local, func() {
		t.Helper()
		oob := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(msgs) != 1 {
			t.Fatal(msgs, err)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			t.Fatal(fds, err)
		}
		t.Cleanup(func() { unix.Close(fds[0]) })
	}
}

// TestAfloat finds the user of a socket without a process, and does not search again at once.
func TestAfloat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, local, land := afloat(t)
		finder := New()
		is(t, finder, flow.TCP, source, local, Owner{UID: self(t).UID})
		if n := finder.scans.Load(); n != 1 {
			t.Errorf("%d scans; want 1", n)
		}
		land()
		is(t, New(), flow.TCP, source, local, self(t))
		time.Sleep(absentTime) // of the bubble
		is(t, finder, flow.TCP, source, local, self(t))
		if n := finder.scans.Load(); n != 2 {
			t.Errorf("%d scans; want 2", n)
		}
	})
}

// TestShare has many wait for the one that reads /proc: then one scan does for all of them, whether
// their sockets are held or not.
func TestShare(t *testing.T) {
	leak.Check(t)
	synctest.Test(t, func(t *testing.T) {
		finder := New()
		finder.scanning <- struct{}{}
		var done sync.WaitGroup
		ask := func(source, local netip.AddrPort, want Owner) {
			done.Go(func() { is(t, finder, flow.TCP, source, local, want) })
		}
		ln := listen(t, "127.0.0.1:0")
		for range 32 {
			source, local, _ := afloat(t)
			ask(source, local, Owner{UID: self(t).UID})
		}
		synctest.Wait() // they wait
		if path, err := finder.scan(t.Context(), socket{inode: 1}); path != "" || err != nil {
			t.Errorf("%q, %v; want none for an inode of no socket", path, err)
		}
		for range 32 {
			c := dial(t, net.Dialer{}, "tcp", ln.Addr())
			ask(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), self(t))
		}
		synctest.Wait()
		if path, err := finder.scan(t.Context(), socket{inode: 1}); path != "" || err != nil {
			t.Errorf("%q, %v; want none for an inode of no socket", path, err)
		}
		<-finder.scanning
		done.Wait()
		if n := finder.scans.Load(); n != 2 {
			t.Errorf("%d scans; want 2", n)
		}
	})
}

// countdown is a context that ends when it has been asked a number of times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left == 0 {
		return context.Canceled
	}
	c.left--
	return nil
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestCancel ends the context at every place where it is looked at, and leaves nothing open.
func TestCancel(t *testing.T) {
	leak.Check(t)
	u, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	before := descriptors(t)
	source := netip.AddrPortFrom(netip.IPv6Loopback(), addrPort(u.LocalAddr()).Port())
	for n := range 1_000_000 {
		o, err := New().Find(&countdown{t.Context(), n}, flow.UDP, source, netip.AddrPort{})
		switch {
		case err == nil && o == self(t) && n > 3:
			if after := descriptors(t); after > before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
			return
		case !errors.Is(err, context.Canceled):
			t.Fatalf("after %d: %+v, %v; want %v", n, o, err, context.Canceled)
		}
	}
	t.Error("never found")
}

// TestCancelWaiting cancels one that waits for the scan of another.
func TestCancelWaiting(t *testing.T) {
	leak.Check(t)
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, net.Dialer{}, "tcp", listen(t, "127.0.0.1:0").Addr())
		finder := New()
		finder.scanning <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := finder.Find(ctx, flow.TCP, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("%v; want %v", err, context.Canceled)
		}
		<-finder.scanning
		is(t, finder, flow.TCP, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), self(t))
	})
}

// TestConcurrent has many find many sockets while those come and go.
func TestConcurrent(t *testing.T) {
	leak.Check(t)
	finder, ln := New(), listen(t, "127.0.0.1:0")
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 16 {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				source, local := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
				is(t, finder, flow.TCP, source, local, self(t))
				c.Close()
				isNot(t, finder, flow.TCP, source, local)
			}
		})
	}
	done.Wait()
}

// TestBounds fills what a Finder remembers.
func TestBounds(t *testing.T) {
	f := newFinder()
	for i := range uint32(2 * maxSeen) {
		f.note(i, holder{})
	}
	for i := range uint32(2 * maxAbsent) {
		if f.miss(i) {
			t.Fatal("all are seen, of too many")
		}
	}
	if len(f.seen) != maxSeen || len(f.absent) > maxAbsent {
		t.Errorf("%d seen, %d absent", len(f.seen), len(f.absent))
	}
	if _, err := f.scan(t.Context(), socket{}); err != nil || len(f.seen) >= maxSeen {
		t.Errorf("%d seen, %v", len(f.seen), err)
	}
}

// TestStale remembers what is not so any more.
func TestStale(t *testing.T) {
	c := dial(t, net.Dialer{}, "tcp", listen(t, "127.0.0.1:0").Addr())
	source, local := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	s, err := newQuery(flow.TCP, source, local).ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := func(h holder) {
		t.Helper()
		finder := New()
		finder.recent = []int32{h.pid, -1}
		finder.note(s.inode, h)
		before := descriptors(t)
		is(t, finder, flow.TCP, source, local, self(t))
		if n := finder.scans.Load(); n != 1 {
			t.Errorf("%+v: %d scans; want 1", h, n)
		}
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(unix.Close(pair[0]), unix.Close(pair[1])) }()
	f(holder{pid: int32(os.Getpid()), fd: int32(pair[0])}) // another socket
	f(holder{pid: int32(os.Getpid()), fd: 0})              // no socket
	f(holder{pid: int32(os.Getpid()), fd: 1 << 30})        // closed
	f(holder{pid: 1<<31 - 1, fd: 3})                       // ended
	f(holder{pid: -1, fd: -1})
	f(holder{})
}

// TestRecent looks first where it found something before.
func TestRecent(t *testing.T) {
	finder, ln := New(), listen(t, "127.0.0.1:0")
	f := func(ctx context.Context) {
		t.Helper()
		c := dial(t, net.Dialer{}, "tcp", ln.Addr())
		source, local := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
		if got, err := finder.Find(ctx, flow.TCP, source, local); got != self(t) || err != nil {
			t.Errorf("%+v, %v; want %+v", got, err, self(t))
		}
	}
	f(t.Context())
	f(&countdown{t.Context(), 8}) // not enough for all processes
	if len(finder.recent) != 1 || finder.recent[0] != int32(os.Getpid()) {
		t.Errorf("recent are %d; want only %d", finder.recent, os.Getpid())
	}
}

// TestNoDescriptors runs out of descriptors: that is an error, not an answer.
func TestNoDescriptors(t *testing.T) {
	c := dial(t, net.Dialer{}, "tcp", listen(t, "127.0.0.1:0").Addr())
	source, local, finder := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), New()
	s, err := newQuery(flow.TCP, source, local).ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, netlink := finder.Find(t.Context(), flow.TCP, source, local)
	_, proc := finder.path(t.Context(), s)
	finder.recent = []int32{int32(os.Getpid())}
	_, descriptors := finder.path(t.Context(), s)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{netlink, proc, descriptors} {
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%v; want %v", err, unix.EMFILE)
		}
	}
	is(t, finder, flow.TCP, source, local, self(t))
}

func BenchmarkFind(b *testing.B) {
	c := dial(b, net.Dialer{}, "tcp", listen(b, "127.0.0.1:0").Addr())
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	source, local, warm := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()), New()
	foreign := netip.MustParseAddrPort("192.0.2.1:40000")
	f := func(name string, find func() error, want error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := find(); !errors.Is(err, want) {
					b.Fatal(err)
				}
			}
		})
	}
	f("warm", func() error {
		_, err := warm.Find(b.Context(), flow.TCP, source, local)
		return err
	}, nil)
	f("recent", func() error { // a new socket of a known process
		clear(warm.seen)
		_, err := warm.Find(b.Context(), flow.TCP, source, local)
		return err
	}, nil)
	f("cold", func() error {
		_, err := New().Find(b.Context(), flow.TCP, source, local)
		return err
	}, nil)
	f("whole", func() error { // all descriptors there are, for nobody's socket
		_, err := New().scan(b.Context(), socket{inode: 1})
		return err
	}, nil)
	f("foreign", func() error {
		_, err := warm.Find(b.Context(), flow.TCP, foreign, local)
		return err
	}, ErrNotFound)
	f("list", func() error { // UDP to an unknown address of ours
		_, err := warm.Find(b.Context(), flow.UDP, foreign, netip.AddrPort{})
		return err
	}, ErrNotFound)
	f("warm UDP", func() error {
		_, err := warm.Find(b.Context(), flow.UDP, addrPort(u.LocalAddr()), local)
		return err
	}, nil)
}
