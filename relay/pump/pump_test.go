package pump_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/pump"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// pair is two ends of a TCP connection on loopback: ours, and the peer's.
func pair(t testing.TB) (ours *sysnet.TCPConn, peer *net.TCPConn) {
	t.Helper()
	ln, err := sysnet.ListenTCP("127.0.0.1:0", sysnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return ours, c.(*net.TCPConn)
}

// layered hides that a connection is bare TCP, but for the reset that a layer hands on.
type layered struct{ flow.Conn }

func (l layered) SetLinger(sec int) error { return l.Conn.(*sysnet.TCPConn).SetLinger(sec) }

type relayed struct {
	client, target *net.TCPConn
	up, down       atomic.Int64
	err            chan error
	halves         atomic.Int64
}

func (r *relayed) HalfClosed()     { r.halves.Add(1) }
func (r *relayed) Ended(err error) { r.err <- err }

func run(t testing.TB, wrap func(flow.Conn) flow.Conn) *relayed {
	a, client := pair(t)
	b, target := pair(t)
	r := &relayed{client: client, target: target, err: make(chan error, 1)}
	pump.Start(wrap(a), wrap(b), &r.up, &r.down, r)
	return r
}

func bare(c flow.Conn) flow.Conn { return c }

func each(t *testing.T, f func(t *testing.T, wrap func(flow.Conn) flow.Conn)) {
	t.Run("bare", func(t *testing.T) { f(t, bare) })
	t.Run("layered", func(t *testing.T) { f(t, func(c flow.Conn) flow.Conn { return layered{c} }) })
}

func TestBothWays(t *testing.T) {
	each(t, func(t *testing.T, wrap func(flow.Conn) flow.Conn) {
		r := run(t, wrap)
		send := func(c *net.TCPConn, p []byte) {
			_, err := c.Write(p)
			if err = errors.Join(err, c.CloseWrite()); err != nil {
				t.Error(err)
			}
		}
		up, down := random(5<<20), random(3<<20)
		go send(r.client, up)
		go send(r.target, down)
		got := make(chan []byte)
		go func() {
			p, _ := io.ReadAll(r.target)
			got <- p
		}()
		if p, err := io.ReadAll(r.client); err != nil || !bytes.Equal(p, down) {
			t.Errorf("the client got %d bytes, %v", len(p), err)
		}
		if p := <-got; !bytes.Equal(p, up) {
			t.Errorf("the target got %d bytes", len(p))
		}
		if err := <-r.err; err != nil {
			t.Error(err)
		}
		if r.up.Load() != int64(len(up)) || r.down.Load() != int64(len(down)) {
			t.Errorf("counted %d up, %d down", r.up.Load(), r.down.Load())
		}
	})
}

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, wrap func(flow.Conn) flow.Conn) {
		r := run(t, wrap)
		_ = r.client.CloseWrite()
		if p, err := io.ReadAll(r.target); len(p) > 0 || err != nil {
			t.Fatalf("the target read %q, %v; want an end", p, err)
		}
		_, _ = r.target.Write([]byte("late"))
		_ = r.target.Close()
		if p, err := io.ReadAll(r.client); string(p) != "late" || err != nil {
			t.Fatalf("the client read %q, %v", p, err)
		}
		if err := <-r.err; err != nil || r.halves.Load() != 1 {
			t.Errorf("%v, told of %d half-closes", err, r.halves.Load())
		}
	})
}

// TestLiveCounters shows that bytes are counted while a direction is still open, in splice too.
func TestLiveCounters(t *testing.T) {
	r := run(t, bare)
	total := 0
	for range 64 {
		n, err := r.client.Write(make([]byte, 16<<10))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r.target, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		total += n
		for r.up.Load() != int64(total) { // the count follows the write
			runtime.Gosched()
		}
	}
}

func TestResetTravels(t *testing.T) {
	each(t, func(t *testing.T, wrap func(flow.Conn) flow.Conn) {
		r := run(t, wrap)
		_ = r.client.SetLinger(0)
		_ = r.client.Close()
		if _, err := r.target.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target read %v; want a reset", err)
		}
		var side *pump.Side
		if err := <-r.err; !errors.As(err, &side) || !side.Client {
			t.Errorf("%v; want an error of the client's side", err)
		}
	})
}

type panicking struct{ *sysnet.TCPConn }

func (panicking) Read([]byte) (int, error) { panic("a bug") }

// fragile panics where a relay ends.
type fragile struct{ *sysnet.TCPConn }

func (fragile) CloseWrite() error { panic("a bug in CloseWrite") }

func (f fragile) Close() error {
	_ = f.TCPConn.Close()
	panic("a bug in Close")
}

func TestPanicWhileEnding(t *testing.T) {
	r := run(t, func(c flow.Conn) flow.Conn { return fragile{c.(*sysnet.TCPConn)} })
	_ = r.client.CloseWrite()
	if err := <-r.err; !errors.Is(err, pump.ErrPanic) {
		t.Error(err)
	}
}

func TestPanicEndsOneFlow(t *testing.T) {
	r := run(t, func(c flow.Conn) flow.Conn { return panicking{c.(*sysnet.TCPConn)} })
	if err := <-r.err; !errors.Is(err, pump.ErrPanic) {
		t.Error(err)
	}
	if _, err := io.ReadAll(r.client); err == nil {
		t.Error("the client read a clean end")
	}
}
