package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// streams is a listener whose connections the test serves by hand.
type streams struct {
	t     testing.TB
	addr  netip.AddrPort
	count atomic.Int32 // connections so far
}

// serveStreams gives each connection to serve, with its number from 1, and closes it when serve returns.
func serveStreams(t testing.TB, serve func(c net.Conn, number int)) *streams {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &streams{t: t, addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	var live sync.WaitGroup
	live.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			number := int(s.count.Add(1))
			live.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				serve(c, number)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		live.Wait()
	})
	return s
}

// readQuery returns the next question on c, and nil at its end.
func readQuery(c io.Reader) []byte {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil
	}
	p := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, p); err != nil {
		return nil
	}
	return p
}

// writeMessage sends p as one message.
func writeMessage(c io.Writer, p []byte) {
	c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...))
}

// answerAll answers whatever comes until c ends.
func answerAll(t testing.TB, c net.Conn) {
	for {
		query := readQuery(c)
		if query == nil {
			return
		}
		writeMessage(c, answerTo(t, query, nil))
	}
}

func TestTCPAnswers(t *testing.T) {
	leak.Check(t)
	u := newTCP(at(nameserver.TCP, serveDNS(t, addrOf(t, "192.0.2.7"))), straight())
	defer u.Close()
	for range 3 {
		if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "192.0.2.7" {
			t.Errorf("got %s", got)
		}
	}
}

// Many questions share one connection, under ids of their own, and their answers come in any order.
func TestStreamAsksManyAtOnce(t *testing.T) {
	leak.Check(t)
	const n = 40
	server := serveStreams(t, func(c net.Conn, _ int) {
		ids := map[uint16]bool{}
		var queries [][]byte
		for range n {
			query := readQuery(c)
			if query == nil {
				t.Error("the connection ended")
				return
			}
			queries = append(queries, query)
			ids[binary.BigEndian.Uint16(query)] = true
		}
		if len(ids) != n {
			t.Errorf("%d ids for %d questions", len(ids), n)
		}
		for i := range queries {
			query := queries[n-1-i]
			writeMessage(c, answerTo(t, query, func(m *dns.Msg) {
				var number byte
				fmt.Sscanf(m.Question[0].Name, "n%d.", &number)
				m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, number)
			}))
		}
		readQuery(c)
	})
	u := newTCP(at(nameserver.TCP, server.addr), straight())
	defer u.Close()
	var asked []func() *dns.Msg
	for i := range n {
		asked = append(asked, begin(t, u, fmt.Sprintf("n%d.example", i)))
	}
	for i, answer := range asked {
		if got, want := firstA(t, answer()), fmt.Sprintf("192.0.2.%d", i); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
	if k := server.count.Load(); k != 1 {
		t.Errorf("%d connections", k)
	}
}

// A server may close a connection at any time: while it is idle, or instead of an answer.
func TestStreamConnectsOnceMore(t *testing.T) {
	leak.Check(t)
	f := func(name string, first func(net.Conn), want int32) {
		t.Helper()
		server := serveStreams(t, func(c net.Conn, number int) {
			if number == 1 {
				writeMessage(c, answerTo(t, readQuery(c), nil))
				first(c)
				return
			}
			answerAll(t, c)
		})
		u := newTCP(at(nameserver.TCP, server.addr), straight())
		defer u.Close()
		for range 3 {
			mustAsk(t, u, "a.example", dns.TypeA)
		}
		if k := server.count.Load(); k != want {
			t.Errorf("%s: %d connections; want %d", name, k, want)
		}
	}
	f("closed after the answer", func(net.Conn) {}, 2)
	f("closed instead of an answer", func(c net.Conn) { readQuery(c) }, 2)
	f("closed in the middle of an answer", func(c net.Conn) {
		p := answerTo(t, readQuery(c), nil)
		c.Write(append([]byte{0, byte(len(p))}, p[:20]...))
	}, 2)
	f("reset", func(c net.Conn) {
		readQuery(c)
		c.(*net.TCPConn).SetLinger(0)
	}, 2)
	f("kept", func(c net.Conn) { answerAll(t, c) }, 1)
}

func TestStreamGivesUpOnServersThatAlwaysClose(t *testing.T) {
	leak.Check(t)
	server := serveStreams(t, func(c net.Conn, number int) {
		if query := readQuery(c); number == 1 {
			writeMessage(c, answerTo(t, query, nil))
			readQuery(c)
		}
	})
	u := newTCP(at(nameserver.TCP, server.addr), straight())
	defer u.Close()
	mustAsk(t, u, "a.example", dns.TypeA)
	failsWith(t, u, errDead.Error()) // on the kept connection and on a new one
	if k := server.count.Load(); k != 2 {
		t.Errorf("%d connections; want 2", k)
	}
	failsWith(t, u, errDead.Error()) // a new connection that breaks is not tried again
	if k := server.count.Load(); k != 3 {
		t.Errorf("%d connections; want 3", k)
	}
}

func TestStreamClosesWhatItCannotTrust(t *testing.T) {
	leak.Check(t)
	f := func(want string, answer func(query []byte) []byte) {
		t.Helper()
		closed := make(chan bool, 1)
		server := serveStreams(t, func(c net.Conn, _ int) {
			writeMessage(c, answer(readQuery(c)))
			closed <- readQuery(c) == nil
		})
		u := newTCP(at(nameserver.TCP, server.addr), straight())
		defer u.Close()
		failsWith(t, u, want)
		if !<-closed {
			t.Errorf("%q: another question came", want)
		}
		if k := server.count.Load(); k != 1 {
			t.Errorf("%q: %d connections", want, k)
		}
	}
	f(errStranger.Error(), func(query []byte) []byte {
		return answerTo(t, query, func(m *dns.Msg) { m.Id++ })
	})
	f(errStranger.Error(), func(query []byte) []byte {
		return answerTo(t, query, func(m *dns.Msg) { m.Question[0].Name = "b.example." })
	})
	f(errStranger.Error(), func(query []byte) []byte { return query })
	f(wire.ErrFormat.Error(), func(query []byte) []byte { return query[:11] })
	f(wire.ErrFormat.Error(), func([]byte) []byte { return nil })
	f(wire.ErrFormat.Error(), func(query []byte) []byte {
		p := answerTo(t, query, nil)
		return p[:len(p)-1]
	})
}

type streamKey struct{}

// A dial is shared, has the values of whoever began it, and outlives them.
func TestStreamSharesADial(t *testing.T) {
	leak.Check(t)
	server := serveDNS(t, addrOf(t, "192.0.2.7"))
	dialing, release := make(chan context.Context, 2), make(chan struct{})
	u := newStream(at(nameserver.TCP, server), func(ctx context.Context) (net.Conn, error) {
		dialing <- ctx
		<-release
		return net.Dial("tcp", server.String())
	}, time.Minute)
	defer u.Close()
	begun, cancel := context.WithCancel(context.WithValue(patient(t), streamKey{}, "mine"))
	failed := make(chan error, 1)
	query := question(t, "a.example", dns.TypeA)
	go func() {
		_, err := u.Exchange(begun, query)
		failed <- err
	}()
	ctx := <-dialing
	if ctx.Value(streamKey{}) != "mine" {
		t.Error("the values of the context are gone")
	}
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > dialTime {
		t.Error("the dial has no end")
	}
	var asked []func() *dns.Msg
	for range 3 {
		asked = append(asked, begin(t, u, "a.example"))
	}
	cancel() // ends the waiting and not the dial
	if err := <-failed; !errors.Is(err, context.Canceled) || ctx.Err() != nil {
		t.Errorf("Exchange: %v; the dial: %v", err, ctx.Err())
	}
	close(release)
	for _, answer := range asked {
		answer()
	}
	if len(dialing) != 0 {
		t.Error("there was another dial")
	}
}

func TestStreamFailsWithItsDial(t *testing.T) {
	leak.Check(t)
	broken := errors.New("no way")
	u := newStream(at(nameserver.TCP, netip.MustParseAddrPort("192.0.2.1:53")),
		func(context.Context) (net.Conn, error) { return nil, broken }, time.Minute)
	failsWith(t, u, "tcp://192.0.2.1:53: connect: no way")
	failsWith(t, u, "no way")
	u.Close()
	failsWith(t, u, ErrClosed.Error())

	// Close ends a dial.
	dialing := make(chan struct{})
	u = newStream(at(nameserver.TCP, netip.MustParseAddrPort("192.0.2.1:53")), func(ctx context.Context) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, ctx.Err()
	}, time.Minute)
	go func() {
		<-dialing
		u.Close()
	}()
	failsWith(t, u, ErrClosed.Error())
	u.Close()
}

func TestStreamEndsWithItsOwner(t *testing.T) {
	leak.Check(t)
	asked := make(chan struct{})
	server := serveStreams(t, func(c net.Conn, _ int) {
		readQuery(c)
		close(asked)
		readQuery(c)
	})
	u := newTCP(at(nameserver.TCP, server.addr), straight())
	go func() {
		<-asked
		u.Close()
	}()
	failsWith(t, u, ErrClosed.Error())
	u.Close()
}
