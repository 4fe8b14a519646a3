package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"
)

// framed is a message as a stream has it.
func framed(message string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(message)))) + message
}

// serveOne serves one end of a pipe in a bubble, and returns the other.
func serveOne(ctx context.Context, answer func(ctx context.Context, packet []byte, datagram bool) []byte) (c net.Conn, ended chan time.Duration) {
	c, there := net.Pipe()
	ended = make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		ServeStream(ctx, there, answer)
		ended <- time.Since(begin)
	}()
	return c, ended
}

// settle waits until l has so many connections, of which so many are idle.
func settle(t *testing.T, l *Listener, open, idle int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		n, all := 0, 0
		l.streams.mu.Lock()
		for s := range l.streams.open {
			all++
			if _, idle := s.idle(); idle {
				n++
			}
		}
		l.streams.mu.Unlock()
		if all == open && n == idle {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d are idle; want %d of %d", n, all, idle, open)
		}
	}
}

// hold opens all the connections that l has, as many clients as that takes, and asks name over each.
func hold(t *testing.T, l *Listener, name string) (held []*miekg.Conn) {
	t.Helper()
	for i := range maxStreams {
		c := dialFrom(t, fmt.Sprintf("127.0.1.%d", 1+i/maxStreamsOfOne), "tcp", l.Addr())
		send(t, c, 1, name)
		if name != "slow.test." {
			receive(t, c, 1)
			settle(t, l, i+1, i+1) // in this order
		}
		held = append(held, c)
	}
	return held
}

// ended expects that the connection has been closed, and others that it has not.
func ended(t *testing.T, c *miekg.Conn, others ...*miekg.Conn) {
	t.Helper()
	if _, err := c.ReadMsg(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is open: %v", err)
	}
	for i, o := range others {
		send(t, o, 5, "still.fake.")
		if m, err := o.ReadMsg(); err != nil || m.Id != 5 {
			t.Errorf("%d has ended: %v", i, err)
		}
	}
}

// TestRoomForConnections: when all are taken the one that has been idle longest makes room, and so does
// the one of its own when a client has too many.
func TestRoomForConnections(t *testing.T) {
	l, g := serve(t, "127.0.0.1:0")
	held := hold(t, l, "a.fake.")
	send(t, held[0], 2, "slow.test.") // this is not idle
	settle(t, l, maxStreams, maxStreams-1)
	send(t, held[1], 3, "a.fake.") // and this no longer the longest
	receive(t, held[1], 3)
	settle(t, l, maxStreams, maxStreams-1)

	fresh := dialFrom(t, "127.0.2.1", "tcp", l.Addr())
	send(t, fresh, 4, "a.fake.")
	receive(t, fresh, 4)
	ended(t, held[2], held[1], held[3])
	again := dialFrom(t, "127.0.1.4", "tcp", l.Addr())
	send(t, again, 4, "a.fake.")
	receive(t, again, 4)
	ended(t, held[3*maxStreamsOfOne], held[4], fresh)

	close(g.open)
	if m := receive(t, held[0], 2); m.Question[0].Name != "slow.test." {
		t.Errorf("%s", m)
	}
	for _, c := range held[10:20] { // who leaves makes room too
		_ = c.Close()
	}
	settle(t, l, maxStreams-10, maxStreams-10)
	fresh = dialFrom(t, "127.0.2.1", "tcp", l.Addr())
	send(t, fresh, 4, "a.fake.")
	receive(t, fresh, 4)
	ended(t, held[10], held[4], held[5])
}

// TestNoRoomForConnections: what is being answered makes no room.
func TestNoRoomForConnections(t *testing.T) {
	l, g, book := serveLogged(t, "127.0.0.1:0")
	held := hold(t, l, "slow.test.")
	settle(t, l, maxStreams, 0)
	for range 3 {
		ended(t, dialFrom(t, "127.0.2.1", "tcp", l.Addr()))
		ended(t, dialFrom(t, "127.0.1.1", "tcp", l.Addr()))
	}
	if n := book.count("no room for a connection"); n != 1 {
		t.Errorf("%d lines", n)
	}
	close(g.open)
	for _, c := range held {
		receive(t, c, 1)
	}
}

func echo(_ context.Context, packet []byte, _ bool) []byte { return packet }

// TestStreamsEnd: when nothing is asked for some time, when what comes is no question, and with the context.
func TestStreamsEnd(t *testing.T) {
	const message = "twelve bytes"
	f := func(send string, want string, after time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, ended := serveOne(ctx, echo)
			go func() {
				time.Sleep(time.Second)
				_, _ = io.WriteString(c, send)
			}()
			if got, _ := io.ReadAll(c); string(got) != want {
				t.Errorf("%q; want %q", got, want)
			}
			if took := <-ended; took != after {
				t.Errorf("it ended after %s; want %s", took, after)
			}
		})
	}
	f("", "", streamIdle)
	f(framed(message), framed(message), time.Second+streamIdle)
	f(framed(message)[:5], "", streamIdle)
	f(framed(message)+framed("eleven byte"), framed(message), time.Second)
	f(framed(strings.Repeat("z", MaxQuery+1)), "", time.Second)
	f(framed(""), "", time.Second)
}

// TestStreamsWait: with many answers outstanding no more questions are taken; one that is not taken by the
// client ends the connection; and the end of the context ends all.
func TestStreamsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		c, ended := serveOne(ctx, func(ctx context.Context, packet []byte, _ bool) []byte {
			asked.Add(1)
			<-ctx.Done()
			return packet
		})
		go func() {
			for {
				if _, err := io.WriteString(c, framed("twelve bytes")); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := asked.Load(); n != maxPipelined {
			t.Errorf("%d are being answered", n)
		}
		cancel()
		if took := <-ended; took != 0 {
			t.Errorf("it ended after %s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, ended := serveOne(t.Context(), echo)
		_, _ = io.WriteString(c, framed("twelve bytes"))
		if took := <-ended; took != streamWrite {
			t.Errorf("it ended after %s", took)
		}
	})
}

// TestMakeRoom: a connection is closed for another only while nothing is being answered, and once it is closed
// no question of it is taken.
func TestMakeRoom(t *testing.T) {
	c, there := net.Pipe()
	defer there.Close()
	s := &stream{conn: c}
	if !s.begin() || s.endIdle() {
		t.Error("it is closed while a question is being answered")
	}
	s.end()
	if !s.endIdle() || s.begin() {
		t.Error("it is not closed while it is idle, or takes questions after that")
	}
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
