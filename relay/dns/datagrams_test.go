package dns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// TestDeafSocket: a socket of which nothing can be received is tried again without haste, the log says so
// once, and when it works again questions are answered.
func TestDeafSocket(t *testing.T) {
	l, _, book := serveLogged(t, "127.0.0.1:0")
	c := dial(t, "udp", l.Addr())
	send(t, c, 1, "a.fake.")
	receive(t, c, 1)
	if err := l.udp.SetReadDeadline(time.Unix(1, 0)); err != nil { // from now on every try fails
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); book.count("receives nothing") == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is logged")
		}
		time.Sleep(time.Millisecond) // a real socket fails: there is nothing else to wait for
	}
	send(t, c, 2, "a.fake.")
	if err := l.udp.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	receive(t, c, 2)
	if n := book.count("receives nothing"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// TestPause: some failures are nothing; after many in a row each is followed by a pause, which ends with the
// listener.
func TestPause(t *testing.T) {
	l, err := Listen("127.0.0.1:0", sysnet.Options{}, new(logbook).logger())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := func(failures int, want time.Duration) {
			t.Helper()
			begin := time.Now()
			l.pause(ctx, failures, errors.New("out of order"))
			if took := time.Since(begin); took != want {
				t.Errorf("after %d: %s; want %s", failures, took, want)
			}
		}
		f(1, 0)
		f(manyFailures-1, 0)
		f(manyFailures, failurePause)
		f(1000, failurePause)
		cancel()
		f(1000, 0)
	})
}

// TestTooManyWait: when a client has many questions waiting, what more would wait gets SERVFAIL at once,
// over UDP and TCP. What is at hand is answered, and so are other clients.
func TestTooManyWait(t *testing.T) {
	l, g, book := serveLogged(t, "127.0.0.1:0")
	greedy, other := dialFrom(t, "127.0.0.2", "udp", l.Addr()), dialFrom(t, "127.0.0.3", "udp", l.Addr())
	for i := range uint16(maxWaitingOfOne) {
		send(t, greedy, i, "slow.test.")
		if i%64 == 63 { // no more than its socket holds
			send(t, greedy, 9999, "a.fake.")
			receive(t, greedy, 9999)
		}
	}
	code := func(c *miekg.Conn, id uint16, name string, want int) {
		t.Helper()
		send(t, c, id, name)
		if m := receive(t, c, id); m.Rcode != want || m.Question[0].Name != name {
			t.Errorf("want %s, got\n%s", miekg.RcodeToString[want], m)
		}
	}
	stream := dialFrom(t, "127.0.0.2", "tcp", l.Addr())
	for _, c := range []*miekg.Conn{greedy, stream} {
		code(c, 1000, "slow.test.", miekg.RcodeServerFailure)
		code(c, 1001, "a.test.", miekg.RcodeServerFailure)
		code(c, 1002, "a.fake.", miekg.RcodeSuccess)
	}
	code(other, 1003, "a.test.", miekg.RcodeSuccess)
	code(greedy, 1004, "a.test.", miekg.RcodeSuccess) // which is at hand now
	code(stream, 1005, "a.test.", miekg.RcodeSuccess)
	if n := book.count("client=127.0.0.2 waiting=512 all=512"); n != 1 || book.count("too many") != 1 {
		t.Errorf("%d lines:\n%s", n, book.b.String())
	}
	close(g.open)
	again := dialFrom(t, "127.0.0.2", "udp", l.Addr())
	for id := uint16(2000); ; id++ { // until there is room
		send(t, again, id, "b.test.")
		if receive(t, again, id).Rcode == miekg.RcodeSuccess {
			return
		}
	}
}

// TestTooManyWaitInAll: the questions of all clients together are bounded too.
func TestTooManyWaitInAll(t *testing.T) {
	l, _, book := serveLogged(t, "127.0.0.1:0")
	full := full(t, &l.waiting)
	c := dial(t, "udp", l.Addr())
	send(t, c, 1, "a.test.")
	if m := receive(t, c, 1); m.Rcode != miekg.RcodeServerFailure {
		t.Errorf("%s", m)
	}
	send(t, c, 2, "a.fake.")
	receive(t, c, 2)
	if book.count("all=4096") != 1 {
		t.Error(book.b.String())
	}
	full()
	send(t, c, 3, "a.test.")
	if m := receive(t, c, 3); m.Rcode != miekg.RcodeSuccess {
		t.Errorf("%s", m)
	}
}
