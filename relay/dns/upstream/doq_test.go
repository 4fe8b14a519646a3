package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestQUIC(t *testing.T) { suite(t, startQUIC) }

// doqServer is a server for DNS over QUIC. It sends what frames returns for a query, and then the end of
// the stream.
type doqServer struct {
	t      testing.TB
	p      *peer
	frames func(q *dns.Msg) []byte
	live   sync.WaitGroup

	socket net.PacketConn
	at     *quic.Transport
	closed atomic.Uint64 // the code with which the last connection was closed
}

func startQUIC(t testing.TB) *peer { return startFrames(t, nil).p }

// startFrames runs a server; frames nil is what a good one has.
func startFrames(t testing.TB, frames func(*dns.Msg) []byte) *doqServer {
	var to net.Addr
	s := &doqServer{t: t, p: newPeer(t, nameserver.QUIC, &to), frames: frames}
	s.closed.Store(1 << 60)
	if frames == nil {
		s.frames = func(q *dns.Msg) []byte { return framed(s.p.answer(q)) }
	}
	s.listen("127.0.0.1:0")
	to = s.socket.LocalAddr()
	s.p.restart = func() {
		s.stop()
		s.listen(to.String())
	}
	t.Cleanup(func() {
		s.stop()
		s.live.Wait()
	})
	return s
}

func framed(p []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
}

// stop ends the server as a crash does: nobody is told.
func (s *doqServer) stop() {
	s.socket.Close()
	s.at.Close()
}

func (s *doqServer) listen(addr string) {
	var err error
	if s.socket, err = net.ListenPacket("udp", addr); err != nil {
		s.t.Fatal(err)
	}
	s.at = &quic.Transport{Conn: plainSocket{s.socket}}
	ln, err := s.at.Listen(s.p.tls("doq"), &quic.Config{MaxIncomingUniStreams: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	s.live.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			s.p.accepts.Add(1)
			s.live.Go(func() { s.serve(c) })
		}
	})
}

func (s *doqServer) serve(c *quic.Conn) {
	for {
		st, err := c.AcceptStream(context.Background())
		if err != nil {
			if e, ok := errors.AsType[*quic.ApplicationError](err); ok && e.Remote {
				s.closed.Store(uint64(e.ErrorCode))
			}
			return
		}
		s.live.Go(func() {
			defer st.Close()
			p, err := io.ReadAll(st) // the query ends the stream
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if len(p) < 2 || int(binary.BigEndian.Uint16(p)) != len(p)-2 || q.Unpack(p[2:]) != nil || q.Id != 0 ||
				(len(p)-2)%padBlock != 0 {
				s.t.Errorf("a query of %x", p)
				return
			}
			st.Write(s.frames(q))
		})
	}
}

// A stream brings one message, no more and no less, or the connection is ended for it.
func TestQUICFraming(t *testing.T) {
	leak.Check(t)
	f := func(name string, frames func(*dns.Msg) []byte) {
		t.Helper()
		s := startFrames(t, frames)
		u := use(t, s.p)
		_, err := u.Exchange(limited(t), ask(t, "a.test", 3))
		checkError(t, s.p.server, err)
		if !errors.Is(err, errProtocol) {
			t.Errorf("%s: error %v", name, err)
		}
		await(t, func() bool { return s.closed.Load() == doqProtocolError })
		await(t, func() bool { return s.p.open.Load() == 0 })
	}
	f("two", func(q *dns.Msg) []byte { return append(framed(packed(good(q))), framed(packed(good(q)))...) })
	f("more", func(q *dns.Msg) []byte { return append(framed(packed(good(q))), 0) })
	f("less", func(q *dns.Msg) []byte { return framed(packed(good(q)))[:20] })
	f("half a size", func(*dns.Msg) []byte { return []byte{0} })
	f("none", func(*dns.Msg) []byte { return nil })
	f("empty", func(*dns.Msg) []byte { return []byte{0, 0} })
}

// The largest message passes.
func TestQUICLarge(t *testing.T) {
	leak.Check(t)
	p := startQUIC(t)
	const pieces = 256
	p.set(func(q *dns.Msg) []byte {
		m := good(q)
		for range pieces {
			m.Extra = append(m.Extra, &dns.TXT{
				Hdr: dns.RR_Header{Name: "a.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
				Txt: []string{strings.Repeat("x", 230)},
			})
		}
		return packed(m)
	})
	query := ask(t, "a.test", 3)
	resp, err := use(t, p).Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if len(resp) < pieces*230 {
		t.Errorf("%d bytes", len(resp))
	}
}

// Connections are closed with the code that says that nothing is wrong.
func TestQUICGoodbye(t *testing.T) {
	leak.Check(t)
	s := startFrames(t, nil)
	u := use(t, s.p)
	u.(*overQUIC).pool.idle = 20 * time.Millisecond
	query := ask(t, "a.test", 3)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	await(t, func() bool { return s.closed.Load() == doqNoError }) // it was idle
	await(t, func() bool { return s.p.open.Load() == 0 })
}

// A server that thinks for a long time is not taken for one that is gone.
func TestQUICSlow(t *testing.T) {
	leak.Check(t)
	p := startQUIC(t)
	u := use(t, p)
	p.set(func(q *dns.Msg) []byte {
		<-time.After(2 * shortSilence)
		return packed(good(q))
	})
	query := ask(t, "a.test", 3)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if n := p.accepts.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func FuzzReadOne(f *testing.F) {
	f.Add(framed(make([]byte, 12)))
	f.Add(framed(make([]byte, 11)))
	f.Add(append(framed(make([]byte, 12)), 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		resp, err := readOne(bytes.NewReader(p))
		good := len(p) >= 14 && int(binary.BigEndian.Uint16(p)) == len(p)-2
		if good != (err == nil) || good && !bytes.Equal(resp, p[2:]) || err != nil && !errors.Is(err, errProtocol) {
			t.Errorf("readOne(%x) = %x, %v", p, resp, err)
		}
	})
}
