package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// framed is a message as a stream has it.
func framed(message string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(message)))) + message
}

// stream serves one end of a pipe in a bubble, and returns the other.
func stream(ctx context.Context, answer func(ctx context.Context, packet []byte, datagram bool) []byte) (c net.Conn, ended chan time.Duration) {
	c, there := net.Pipe()
	ended = make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		ServeStream(ctx, there, answer)
		ended <- time.Since(begin)
	}()
	return c, ended
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
			c, ended := stream(ctx, echo)
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
	f(framed(strings.Repeat("z", maxQuery+1)), "", time.Second)
	f(framed(""), "", time.Second)
}

// TestStreamsWait: with many answers outstanding no more questions are taken; one that is not taken by the
// client ends the connection; and the end of the context ends all.
func TestStreamsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		c, ended := stream(ctx, func(ctx context.Context, packet []byte, _ bool) []byte {
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
		c, ended := stream(t.Context(), echo)
		_, _ = io.WriteString(c, framed("twelve bytes"))
		if took := <-ended; took != streamWrite {
			t.Errorf("it ended after %s", took)
		}
	})
}
