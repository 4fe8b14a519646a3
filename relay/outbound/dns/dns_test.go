package dns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/nat"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

var to = flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}

// lines serves questions that are lines, and waits for the answers that are outstanding.
func lines(ctx context.Context, c net.Conn, answer Answer) {
	defer c.Close()
	for in := bufio.NewScanner(c); in.Scan(); {
		if _, err := c.Write(append(answer(ctx, in.Bytes(), false), '\n')); err != nil {
			return
		}
	}
}

func echo(ctx context.Context, message []byte, datagram bool) []byte {
	switch {
	case ctx.Err() != nil:
		return []byte("the context has ended")
	case string(message) == "nothing":
		return nil
	}
	return fmt.Appendf(nil, "%s, %v", message, datagram)
}

func dial(t *testing.T, ctx context.Context) flow.Conn {
	t.Helper()
	c, err := New(outbound.Info{Name: "dns"}, echo, lines).Dial(ctx, &flow.Flow{Network: flow.TCP, To: to})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStream: questions are answered over the connection, also those that came before its half-close, and
// the context of the dial is not the connection's.
func TestStream(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := dial(t, ctx)
	cancel()
	if c.RemoteAddr().String() != "192.0.2.1:53" {
		t.Error(c.RemoteAddr())
	}
	go func() {
		_, _ = io.WriteString(c, "one\ntwo\nthree")
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || string(got) != "one, false\ntwo, false\nthree, false\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("written after the end")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestStreamCloses: whoever reads or writes is let go, on both ends.
func TestStreamCloses(t *testing.T) {
	leak.Check(t)
	c := dial(t, t.Context())
	ended := make(chan error)
	go func() {
		var err error
		for b := make([]byte, 1); err == nil; {
			_, err = c.Read(b)
		}
		ended <- err
	}()
	go func() {
		var err error
		for err == nil {
			_, err = c.Write([]byte("x\ny"))
		}
		ended <- err
	}()
	_ = c.Close()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("no error")
		}
	}
}

// TestStreamDeadlines are those of each direction.
func TestStreamDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, t.Context())
		defer c.Close()
		f := func(set func(time.Time) error, act func([]byte) (int, error)) {
			t.Helper()
			begin := time.Now()
			_ = set(begin.Add(time.Second))
			if n, err := act(make([]byte, 1<<20)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("%d, %v after %s", n, err, time.Since(begin))
			}
			_ = set(time.Time{})
		}
		f(c.SetReadDeadline, c.Read)
		f(c.SetDeadline, c.Read)
		if _, err := io.WriteString(c, "one\n"); err != nil {
			t.Error(err)
		}
		synctest.Wait() // the other end writes the answer, and reads no more
		f(c.SetWriteDeadline, c.Write)
	})
}

// TestPackets are answered out of the address they were sent to; an association that is closed asks no more.
func TestPackets(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := New(outbound.Info{}, echo, lines).DialPacket(ctx, &flow.Flow{Network: flow.UDP, To: to})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	other := flow.Addr{IP: netip.MustParseAddr("2001:db8::1"), Port: 5353}
	question := []byte("one")
	if err := c.WritePacket(question, &to); err != nil {
		t.Fatal(err)
	}
	copy(question, "zzz") // the bytes are the caller's
	_ = c.WritePacket([]byte("nothing"), &to)
	_ = c.WritePacket([]byte("two"), &other)
	var got []string
	for range 2 {
		var b [64]byte
		n, from, err := c.ReadPacket(b[:])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s from %s", b[:n], from))
	}
	slices.Sort(got)
	if want := []string{"one, true from 192.0.2.1:53", "two, true from [2001:db8::1]:5353"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.WritePacket(question, &to); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, _, err := c.ReadPacket(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestPacketsEnd: questions are not answered without bounds, and end with the association.
func TestPacketsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 2*maxAsked)
		c, err := New(outbound.Info{}, func(ctx context.Context, _ []byte, _ bool) []byte {
			asked <- struct{}{}
			<-ctx.Done()
			return []byte("late")
		}, lines).DialPacket(t.Context(), &flow.Flow{})
		if err != nil {
			t.Fatal(err)
		}
		for range maxAsked + 10 {
			if err := c.WritePacket([]byte("x"), &to); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if len(asked) != maxAsked {
			t.Errorf("%d are asked", len(asked))
		}
		go func() {
			time.Sleep(time.Second)
			_ = c.Close()
		}()
		begin := time.Now()
		if _, _, err := c.ReadPacket(make([]byte, 8)); err == nil || time.Since(begin) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

// TestNamedTargets: of several targets that are names every one has the answers to what was sent there, as
// its client knows it. The table of associations is the real one.
func TestNamedTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := New(outbound.Info{}, echo, lines)
		var down [8]atomic.Int64
		table := nat.New(nat.Config{Open: func(ctx context.Context, f *flow.Flow, dial nat.Dial, _ func()) (*nat.Session, error) {
			c, err := dial(node, func() (flow.PacketConn, error) { return node.DialPacket(ctx, f) })
			s := &nat.Session{To: f.To, Conn: c, Up: new(atomic.Int64), Down: &down[f.DSCP], Closed: func(bool) {}}
			if f.DNSMode == flow.DNSFakeIP {
				s.To.IP = netip.Addr{} // as the engine restores it
			}
			return s, err
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- table.Serve(ctx) }()
		r := make(replies, 16)
		source := netip.MustParseAddrPort("192.0.2.9:1000")
		fake := netip.MustParseAddr("198.18.0.4")
		flows := []flow.Flow{
			{To: flow.Addr{Host: "a.test", Port: 53}},
			{To: flow.Addr{Host: "b.test", Port: 53}},
			{To: flow.Addr{Host: "a.test", Port: 5353}},
			{To: flow.Addr{IP: fake, Port: 53}, DNSMode: flow.DNSFakeIP},
			{To: flow.Addr{IP: fake.Next(), Port: 53}, DNSMode: flow.DNSFakeIP},
			{To: to},
		}
		ask := func(i int) string {
			f := flows[i]
			f.Network, f.Source, f.DSCP = flow.UDP, source, uint8(i)
			table.Send(f, netip.Addr{}, fmt.Appendf(nil, "%d", i), r)
			synctest.Wait()
			return <-r
		}
		invented := netip.MustParseAddr("0.0.0.1")
		for i, f := range flows { // each opens its association
			want := f.To.AddrPort()
			if f.To.Host != "" {
				want = netip.AddrPortFrom(invented, f.To.Port)
				invented = invented.Next()
			}
			if got := ask(i); got != fmt.Sprintf("%d, true from %s", i, want) {
				t.Errorf("%s; want %s", got, want)
			}
		}
		before := down[0].Load()
		for range 3 { // in turn: the latest is always another
			for i := range flows {
				ask(i)
			}
		}
		for i := range flows {
			if n := down[i].Load(); n != 4*before {
				t.Errorf("%d has had %d bytes of answers; want %d", i, n, 4*before)
			}
		}
		cancel()
		<-ended
	})
}

// replies is an inbound that keeps what comes back.
type replies chan string

func (r replies) Reply(p []byte, _ netip.AddrPort, _ netip.Addr, from netip.AddrPort) error {
	r <- fmt.Sprintf("%s from %s", p, from)
	return nil
}

// TestInvented are addresses of a network that nobody is in, and never the one that is none.
func TestInvented(t *testing.T) {
	f := func(n uint32, want string) {
		t.Helper()
		if got := invented(n).String(); got != want {
			t.Errorf("%d: %s; want %s", n, got, want)
		}
	}
	f(1, "0.0.0.1")
	f(256, "0.0.1.0")
	f(1<<24-1, "0.255.255.255")
	f(1<<24, "0.0.0.1")
	f(0, "0.0.1.0") // after four thousand million
}
