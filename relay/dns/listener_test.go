package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// gate is a name server that knows slow.test when it is told, and everything else at once.
type gate struct{ open chan struct{} }

func (g gate) zone(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	name := q.Question[0].Name
	switch {
	case strings.HasSuffix(name, "slow.test."):
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case name == "big.test.":
		var records []string
		for i := range 200 {
			records = append(records, fmt.Sprintf("@ 60 A 203.0.113.%d", i))
		}
		return reply(q, miekg.RcodeSuccess, records...), nil
	}
	return reply(q, miekg.RcodeSuccess, good), nil
}

// serve starts a listener whose names in .fake are fake, and whose other names g has.
func serve(t *testing.T, addr string) (l *Listener, g gate) {
	t.Helper()
	l, g, _ = serveLogged(t, addr)
	return l, g
}

// serveLogged is serve, with what the listener logs.
func serveLogged(t *testing.T, addr string) (l *Listener, g gate, book *logbook) {
	t.Helper()
	leak.Check(t)
	g.open, book = make(chan struct{}), new(logbook)
	l, err := Listen(addr, sysnet.Options{}, book.logger())
	if err != nil {
		t.Fatal(err)
	}
	fake := newFake(t)
	fake.Real = func(host string) bool {
		if host == "bug.fake" {
			panic("a bug")
		}
		return !strings.HasSuffix(host, ".fake")
	}
	l.Use(newHandler(t, Handler{Fake: fake, Resolver: newResolver(t, Config{Servers: servers(t, g.zone)})}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if l.waiting.all != 0 || len(l.waiting.of) != 0 || len(l.streams.open) != 0 {
			t.Errorf("%d wait, of %v; %d connections", l.waiting.all, l.waiting.of, len(l.streams.open))
		}
	})
	return l, g, book
}

// dial connects to l as a client of another library, over "udp" or "tcp".
func dial(t *testing.T, network string, addr netip.AddrPort) *miekg.Conn {
	t.Helper()
	return dialFrom(t, "127.0.0.1", network, addr)
}

// dialFrom is dial for a client that has the address from.
func dialFrom(t *testing.T, from, network string, addr netip.AddrPort) *miekg.Conn {
	t.Helper()
	var d net.Dialer
	if ip := net.ParseIP(from); network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	} else {
		d.LocalAddr = &net.UDPAddr{IP: ip}
	}
	c, err := d.Dial(network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &miekg.Conn{Conn: c, UDPSize: miekg.MaxMsgSize}
}

func send(t *testing.T, c *miekg.Conn, id uint16, name string) {
	t.Helper()
	m := new(miekg.Msg).SetQuestion(name, miekg.TypeA)
	m.Id = id
	if err := c.WriteMsg(m); err != nil {
		t.Fatal(err)
	}
}

// receive expects the answer to the question with that id.
func receive(t *testing.T, c *miekg.Conn, id uint16) *miekg.Msg {
	t.Helper()
	m, err := c.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	if m.Id != id || !m.Response {
		t.Fatalf("want the answer %d, got\n%s", id, m)
	}
	return m
}

// TestSizes: over UDP an answer is no longer than the client says it takes; over TCP it is whole.
func TestSizes(t *testing.T) {
	l, _ := serve(t, "127.0.0.1:0")
	f := func(network string, edns uint16, most int, truncated bool) {
		t.Helper()
		for range 2 { // asked for, and from the cache
			c := dial(t, network, l.Addr())
			m := new(miekg.Msg).SetQuestion("big.test.", miekg.TypeA)
			if edns > 0 {
				m.SetEdns0(edns, false)
			}
			if err := c.WriteMsg(m); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, miekg.MaxMsgSize)
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got := new(miekg.Msg)
			if err := got.Unpack(b[:n]); err != nil {
				t.Fatal(err)
			}
			opt := got.IsEdns0()
			if n > most || got.Truncated != truncated || (opt != nil) != (edns > 0) || !truncated && len(got.Answer) != 200 {
				t.Errorf("%s, %d bytes: %d bytes, %d records, truncated: %v, %v", network, edns, n, len(got.Answer), got.Truncated, opt)
			}
		}
	}
	f("udp", 0, 512, true)
	f("udp", 4, 512, true)
	f("udp", 1232, 1232, true)
	f("udp", 65535, 1232, true)
	f("tcp", 0, miekg.MaxMsgSize, false)
	f("tcp", 512, miekg.MaxMsgSize, false)
}

// TestManyDatagrams are all answered, those at once that can be.
func TestManyDatagrams(t *testing.T) {
	l, g := serve(t, "127.0.0.1:0")
	c := dial(t, "udp", l.Addr())
	const n = 100
	for i := range uint16(n) {
		send(t, c, i, fmt.Sprintf("n%d.%s", i, []string{"fake.", "slow.test."}[i%2]))
	}
	got := make(map[uint16]string)
	take := func() {
		t.Helper()
		for range n / 2 {
			m, err := c.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			got[m.Id] = m.Question[0].Name
			if len(m.Answer) != 1 {
				t.Errorf("%s", m)
			}
		}
	}
	take()
	for i, name := range got {
		if i%2 == 1 {
			t.Errorf("%s was answered too early", name)
		}
	}
	close(g.open)
	take()
	for i := range uint16(n) {
		if want := fmt.Sprintf("n%d.", i); !strings.HasPrefix(got[i], want) {
			t.Errorf("%d: %s", i, got[i])
		}
	}
}

// TestPackets are answered for what they are, or not at all.
func TestPackets(t *testing.T) {
	l, _ := serve(t, "127.0.0.1:0")
	c := dial(t, "udp", l.Addr())
	const (
		question = "\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04fake\x00\x00\x01\x00\x01"
		opt      = "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"
		none     = -1
	)
	f := func(packet string, want int) {
		t.Helper()
		if _, err := io.WriteString(c.Conn, packet); err != nil {
			t.Fatal(err)
		}
		if want != none {
			if m := receive(t, c, 0x1234); m.Rcode != want {
				t.Errorf("%x: %s; want %s", packet, miekg.RcodeToString[m.Rcode], miekg.RcodeToString[want])
			}
		}
		send(t, c, 7, "next.fake.")
		receive(t, c, 7)
	}
	f("\x12\x34\x01\x00"+question, miekg.RcodeSuccess)
	// Responses are nobody's questions, whatever is wrong with them: two servers never answer each other.
	f("\x12\x34\x81\x00"+question, none)
	f("\x12\x34\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00", none)
	f("\x12\x34\xf9\x00"+question, none)
	// What has no header has nobody to answer to.
	f("", none)
	f("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00", none)
	// Malformed.
	f("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", miekg.RcodeFormatError)
	f("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", miekg.RcodeFormatError)
	f("\x12\x34\x01\x00\x00\x02"+question[2:], miekg.RcodeFormatError)
	f("\x12\x34\x01\x00"+question[:len(question)-1], miekg.RcodeFormatError)
	f("\x12\x34\x01\x00"+question+"z", miekg.RcodeFormatError)
	f("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", miekg.RcodeFormatError)
	f("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x02"+question[8:]+opt+opt, miekg.RcodeFormatError)
	f("\x12\x34\x01\x00"+question+strings.Repeat("z", 5000), miekg.RcodeFormatError)
	// Well formed, and nothing for us.
	f("\x12\x34\x29\x00"+question, miekg.RcodeNotImplemented)
	f("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"+question[8:]+opt[:6]+"\x01"+opt[7:], miekg.RcodeBadVers)
	f("\x12\x34\x01\x00"+question[:len(question)-1]+"\x03", miekg.RcodeRefused)
}

// TestOutOfOrder: over one connection an answer does not wait for another.
func TestOutOfOrder(t *testing.T) {
	l, g := serve(t, "127.0.0.1:0")
	c := dial(t, "tcp", l.Addr())
	send(t, c, 1, "slow.test.")
	send(t, c, 2, "a.test.")
	receive(t, c, 2)
	send(t, c, 3, "a.fake.")
	receive(t, c, 3)
	close(g.open)
	receive(t, c, 1)
}

// TestHalfClosed: who has said that there are no more questions still gets the answers.
func TestHalfClosed(t *testing.T) {
	l, g := serve(t, "127.0.0.1:0")
	c := dial(t, "tcp", l.Addr())
	send(t, c, 1, "slow.test.")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	other := dial(t, "tcp", l.Addr()) // by when this is answered the end has come in
	send(t, other, 2, "a.test.")
	receive(t, other, 2)
	close(g.open)
	receive(t, c, 1)
	if _, err := c.ReadMsg(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestBugs end one question, and neither the listener nor the connection.
func TestBugs(t *testing.T) {
	l, _ := serve(t, "127.0.0.1:0")
	for _, network := range []string{"udp", "tcp"} {
		c := dial(t, network, l.Addr())
		send(t, c, 1, "bug.fake.")
		send(t, c, 2, "a.fake.")
		receive(t, c, 2)
	}
	for deadline := time.Now().Add(patience); l.panics.Load() != 2; runtime.Gosched() { // over TCP the second does not wait
		if time.Now().After(deadline) {
			t.Fatalf("%d panics", l.panics.Load())
		}
	}
}

// TestEveryAddress: who asked 127.0.0.2 is answered from there, at once and later.
func TestEveryAddress(t *testing.T) {
	l, _ := serve(t, "0.0.0.0:0")
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), l.Addr().Port())
	for _, network := range []string{"udp", "tcp"} {
		c := dial(t, network, at) // hears nothing from elsewhere
		send(t, c, 1, "a.fake.")
		receive(t, c, 1)
		send(t, c, 2, network+".test.")
		receive(t, c, 2)
	}
}

// TestNewHandler answers what comes from then on.
func TestNewHandler(t *testing.T) {
	l, _ := serve(t, "127.0.0.1:0")
	l.Use(newHandler(t, Handler{Hosts: hostsTable(t, listed("a.fake", "192.0.2.1"))}))
	for _, network := range []string{"udp", "tcp"} {
		c := dial(t, network, l.Addr())
		send(t, c, 1, "a.fake.")
		if m := receive(t, c, 1); !strings.Contains(m.String(), "192.0.2.1") {
			t.Errorf("%s", m)
		}
	}
}

// TestListenBindsBothOrNone: where one half of the address is taken, the other is left free.
func TestListenBindsBothOrNone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Listen(ln.Addr().String(), sysnet.Options{}, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	udp, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = udp.Close()
}
