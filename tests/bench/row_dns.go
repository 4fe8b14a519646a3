//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"

	"github.com/switchyard-proxy/switchyard/tests/port"
)

// dnsRows ask for the addresses of names that the server knows already. Nobody else has fake
// addresses: their column has what they take for a cached answer.
func dnsRows(p plan) []row {
	one := func(title string, ours kind) row {
		return row{
			Group: "dns",
			Title: title,
			Doors: []kind{ours, viaDNS},
			DNS:   ours,
			Job:   job{Load: "dns", Window: p.Window, Max: 1_000_000, Conns: 4},
			Metrics: []metric{
				{Unit: "CPU µs/query", Goal: "≤ 5", Of: cpuMicros},
				{Unit: "queries/s", More: true, Of: perSecond},
			},
		}
	}
	return []row{
		one("DNS, cached A", viaDNS),
		one("DNS, fake-ip (others: cached A)", viaFakeIP),
	}
}

// What is asked. All sockets together have no more questions under way than the receive buffer of a
// server holds as Linux makes it, so that none is lost; and so many that the server need not wait.
const (
	askedNames = 100
	burstSize  = 24
)

var namesAddr = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// serveNames is the name server of the origin.
func serveNames() (netip.AddrPort, func(), error) {
	tcp, udp, err := port.Listen()
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Compress = true
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600},
				A:   namesAddr.AsSlice(),
			}}
		}
		_ = w.WriteMsg(m) // who misses it counts that as an error
	})
	servers := []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}}
	for _, s := range servers {
		go func() { _ = s.ActivateAndServe() }()
	}
	return udp.LocalAddr().(*net.UDPAddr).AddrPort(), func() { udp.Close(); tcp.Close() }, nil
}

// question is a name and what was answered about it first.
type question struct {
	text []byte // a whole message, whose first two bytes are the id
	addr [4]byte
}

// askNames is the load "dns". Its unit is a burst; what it counts are questions.
func askNames(j job, g gate) error {
	questions := make([]question, askedNames)
	clients := make([]*asker, j.Conns)
	for w := range clients {
		c, err := net.Dial("udp", j.Door.Addr.String())
		if err != nil {
			return err
		}
		defer c.Close()
		clients[w] = newAsker(c.(*net.UDPConn), questions, w*askedNames/j.Conns)
	}
	for i := range questions { // now they are in the cache
		if err := clients[0].learn(j.Door.Kind, i); err != nil {
			return err
		}
	}
	one := func(w int, _ int64) (int64, error) { return 0, clients[w].burst() }
	for w := range clients {
		if _, err := one(w, 0); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	r := repeat(j, one)
	r.Units *= burstSize
	return g.finish(r)
}

// asker is one socket.
type asker struct {
	c         *net.UDPConn
	batch     *ipv4.PacketConn
	questions []question
	next      int    // of questions
	id        uint16 // of the first of a burst
	out, in   [burstSize]ipv4.Message
	asked     [burstSize]*question
}

func newAsker(c *net.UDPConn, questions []question, first int) *asker {
	a := &asker{c: c, batch: ipv4.NewPacketConn(c), questions: questions, next: first}
	for i := range burstSize {
		a.out[i].Buffers = [][]byte{make([]byte, 0, 64)}
		a.in[i].Buffers = [][]byte{make([]byte, 512)}
	}
	return a
}

// learn asks the i-th question for the first time.
func (a *asker) learn(door kind, i int) error {
	m := new(dns.Msg)
	m.SetQuestion(fmt.Sprintf("name-%d.bench.test.", i), dns.TypeA)
	text, err := m.Pack()
	if err != nil {
		return err
	}
	if err := a.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return err
	}
	if _, err := a.c.Write(text); err != nil {
		return err
	}
	reply := make([]byte, 512)
	n, err := a.c.Read(reply)
	if err != nil {
		return err
	}
	q := &a.questions[i]
	q.text, q.addr = text, [4]byte(reply[max(0, n-4):])
	switch ip := netip.AddrFrom4(q.addr); {
	case door == viaDNS && ip != namesAddr,
		door == viaFakeIP && !netip.MustParsePrefix("198.18.0.0/16").Contains(ip):
		return fmt.Errorf("the answer for name %d is %v", i, ip)
	}
	return q.answered(reply[:n], m.Id)
}

// burst asks as many questions as a burst has, all at once, and wants all the answers.
func (a *asker) burst() error {
	if err := a.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return err
	}
	for i := range a.out {
		q := &a.questions[a.next%len(a.questions)]
		a.next++
		text := append(a.out[i].Buffers[0][:0], q.text...)
		binary.BigEndian.PutUint16(text, a.id+uint16(i))
		a.out[i].Buffers[0], a.asked[i] = text, q
	}
	for sent := 0; sent < burstSize; {
		n, err := a.batch.WriteBatch(a.out[sent:], 0)
		if err != nil {
			return err
		}
		sent += n
	}
	for got := 0; got < burstSize; {
		n, err := a.batch.ReadBatch(a.in[:burstSize-got], 0)
		if err != nil {
			return fmt.Errorf("after %d of %d answers: %w", got, burstSize, err)
		}
		for _, m := range a.in[:n] {
			if err := a.take(m.Buffers[0][:m.N]); err != nil {
				return err
			}
		}
		got += n
	}
	a.id += burstSize
	return nil
}

// take is one answer to a burst.
func (a *asker) take(reply []byte) error {
	if len(reply) < 2 {
		return fmt.Errorf("an answer of %d bytes", len(reply))
	}
	i := binary.BigEndian.Uint16(reply) - a.id
	if int(i) >= burstSize || a.asked[i] == nil {
		return fmt.Errorf("an answer with the id %d, which nothing has", binary.BigEndian.Uint16(reply))
	}
	q := a.asked[i]
	a.asked[i] = nil
	return q.answered(reply, a.id+i)
}

// answered wants the one address of q: a header, the question, and a record with a pointer for its
// name.
func (q *question) answered(reply []byte, id uint16) error {
	const header, record = 12, 16
	good := len(reply) == len(q.text)+record &&
		binary.BigEndian.Uint16(reply) == id &&
		reply[2]&0x82 == 0x80 && reply[3]&0xf == 0 && // an answer, whole, NOERROR
		binary.BigEndian.Uint32(reply[4:]) == 1<<16|1 &&
		bytes.Equal(reply[header:len(q.text)], q.text[header:]) &&
		[4]byte(reply[len(reply)-4:]) == q.addr
	if !good {
		return fmt.Errorf("wrong answer: %x", reply)
	}
	return nil
}
