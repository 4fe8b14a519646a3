package sysnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// newBatch binds addr and makes a batch of up to n datagrams of 64 bytes.
func newBatch(t *testing.T, addr string, n int) (*UDPConn, *Batch) {
	t.Helper()
	c, err := ListenUDP(addr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b, err := c.NewBatch(n, 64, 64)
	if err != nil {
		t.Fatal(err)
	}
	return c, b
}

// client is a socket that hears nothing but what comes from to.
func client(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// TestBatch answers every other of many datagrams, from whatever address they were sent to.
func TestBatch(t *testing.T) {
	f := func(bound, asked string) {
		t.Helper()
		server, b := newBatch(t, bound, 4)
		wide := netip.MustParseAddrPort(bound).Addr().IsUnspecified()
		to := netip.AddrPortFrom(netip.MustParseAddr(asked), server.AddrPort().Port())
		clients := []*net.UDPConn{client(t, to), client(t, to), client(t, to)}
		const each = 10
		for i := range each {
			for k, c := range clients {
				if _, err := fmt.Fprintf(c, "%d %d", k, i); err != nil {
					t.Fatal(err)
				}
			}
		}
		from := make(map[netip.AddrPort]int)
		for got := 0; got < each*len(clients); {
			n, err := b.Receive()
			if err != nil || n < 1 || n > 4 {
				t.Fatal(n, err)
			}
			for i := range n {
				var k, number int
				if _, err := fmt.Sscanf(string(b.Packet(i)), "%d %d", &k, &number); err != nil {
					t.Fatalf("%q: %v", b.Packet(i), err)
				}
				if want := clients[k].LocalAddr().(*net.UDPAddr).AddrPort(); b.From(i) != want {
					t.Errorf("from %s; want %s", b.From(i), want)
				}
				from[b.From(i)]++
				local := b.Local(i)
				if runtime.GOOS == "linux" && wide && local != to.Addr() || !wide && local.IsValid() {
					t.Errorf("%s was sent to, it is said: %s", to, local)
				}
				if number%2 == 0 {
					b.Answer(i, append(b.Reply(i), fmt.Sprintf("answer %d", number)...))
				} else {
					b.Answer(i, nil) // none
				}
			}
			b.Flush()
			got += n
		}
		for k, c := range clients {
			for number := 0; number < each; number += 2 {
				var buf [64]byte
				n, err := c.Read(buf[:])
				if want := fmt.Sprintf("answer %d", number); err != nil || string(buf[:n]) != want {
					t.Errorf("%d: %q, %v; want %q", k, buf[:n], err, want)
				}
			}
		}
		if len(from) != len(clients) {
			t.Errorf("%v", from)
		}
	}
	f("127.0.0.1:0", "127.0.0.1")
	if runtime.GOOS == "linux" { // others know no second address of the loopback
		f("0.0.0.0:0", "127.0.0.9")
		f("[::]:0", "127.0.0.9")
	}
	if c, err := net.ListenPacket("udp", "[::1]:0"); err == nil {
		_ = c.Close()
		f("[::1]:0", "::1")
		f("[::]:0", "::1")
	}
}

// TestBatchSizes: what is too long is cut, an empty datagram is one, and an answer may be longer than its
// place.
func TestBatchSizes(t *testing.T) {
	server, b := newBatch(t, "127.0.0.1:0", 4)
	c := client(t, server.AddrPort())
	f := func(sent string, received int) {
		t.Helper()
		if _, err := c.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Receive(); err != nil || n != 1 || len(b.Packet(0)) != received {
			t.Fatalf("%d, %v: %d bytes; want %d", n, err, len(b.Packet(0)), received)
		}
		want := sent + strings.Repeat("x", 1000)
		b.Answer(0, append(b.Reply(0), want...))
		b.Flush()
		buf := make([]byte, 2000)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("%d bytes, %v; want %d", n, err, len(want))
		}
	}
	f("a", 1)
	f("", 0)
	f(strings.Repeat("a", 64), 64)
	f(strings.Repeat("b", 65), 64)
}

// TestBatchesOfTheGone: an answer to a socket that is closed keeps nobody else from theirs.
func TestBatchesOfTheGone(t *testing.T) {
	server, b := newBatch(t, "127.0.0.1:0", 8)
	gone, here := client(t, server.AddrPort()), client(t, server.AddrPort())
	for range 3 {
		_, _ = gone.Write([]byte("gone"))
	}
	_ = gone.Close()
	if _, err := here.Write([]byte("here")); err != nil {
		t.Fatal(err)
	}
	for answered := false; !answered; {
		n, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			answered = answered || string(b.Packet(i)) == "here"
			b.Answer(i, b.Packet(i))
		}
		b.Flush()
	}
	var buf [8]byte
	if n, err := here.Read(buf[:]); err != nil || string(buf[:n]) != "here" {
		t.Error(string(buf[:n]), err)
	}
}

// TestBatchSkipsWhatCannotBeSent: of several answers one is longer than any datagram.
func TestBatchSkipsWhatCannotBeSent(t *testing.T) {
	server, b := newBatch(t, "127.0.0.1:0", 8)
	c := client(t, server.AddrPort())
	for _, text := range []string{"a", "big", "b"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < 3; {
		n, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			answer := b.Packet(i)
			if string(answer) == "big" {
				answer = make([]byte, 1<<16)
			}
			b.Answer(i, answer)
		}
		b.Flush()
		got += n
	}
	for _, want := range []string{"a", "b"} {
		var buf [8]byte
		if n, err := c.Read(buf[:]); err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v; want %q", buf[:n], err, want)
		}
	}
}

// TestCloseEndsReceive, for whoever waits there.
func TestCloseEndsReceive(t *testing.T) {
	leak.Check(t)
	server, b := newBatch(t, "127.0.0.1:0", 4)
	ended := make(chan error)
	go func() {
		for {
			n, err := b.Receive()
			if err != nil {
				ended <- err
				return
			}
			for i := range n {
				b.Answer(i, b.Packet(i))
			}
			b.Flush()
		}
	}()
	c := client(t, server.AddrPort())
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 8)); err != nil { // now it waits again, or is about to
		t.Fatal(err)
	}
	_ = server.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	b.Answer(0, []byte("late"))
	b.Flush()
}
