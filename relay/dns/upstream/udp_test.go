package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestUDPAsksFromAnotherPortWithAnotherID(t *testing.T) {
	leak.Check(t)
	var mu sync.Mutex
	ports, ids := map[string]bool{}, map[uint16]bool{}
	server := serveDNS(t, func(w dns.ResponseWriter, m *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		ports[w.RemoteAddr().String()] = true
		ids[m.Id] = true
		addrOf(t, "192.0.2.1")(w, m)
	})
	u := newUDP(at(nameserver.UDP, server), straight())
	defer u.Close()
	const n = 20
	for range n {
		if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "192.0.2.1" {
			t.Fatalf("got %s", got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	// Two of twenty may be alike by chance, but not many.
	if len(ports) < n-3 || len(ids) < n-3 || len(ids) == 1 {
		t.Errorf("%d ports and %d ids for %d questions", len(ports), len(ids), n)
	}
}

func TestUDPGoesOnOverTCP(t *testing.T) {
	leak.Check(t)
	long := strings.Repeat("x", 200)
	server := serveDNS(t, func(w dns.ResponseWriter, m *dns.Msg) {
		r := reply(t, m)
		for range 20 {
			r.Answer = append(r.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60},
				Txt: []string{long},
			})
		}
		if w.LocalAddr().Network() == "udp" {
			r.Truncate(wire.UDPSize)
		}
		w.WriteMsg(r)
	})
	u := newUDP(at(nameserver.UDP, server), straight())
	defer u.Close()
	m := mustAsk(t, u, "long.example", dns.TypeTXT)
	if m.Truncated || len(m.Answer) != 20 {
		t.Errorf("%d records of 20; truncated: %v", len(m.Answer), m.Truncated)
	}
}

func TestUDPIgnoresWhatIsNoAnswer(t *testing.T) {
	leak.Check(t)
	f := func(name string, forged func(query []byte) []byte) {
		t.Helper()
		server := packets(t, func(query []byte) [][]byte {
			return [][]byte{forged(query), answerTo(t, query, nil)}
		})
		u := newUDP(at(nameserver.UDP, server), straight())
		defer u.Close()
		if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "192.0.2.1" {
			t.Errorf("%s: got %s", name, got)
		}
	}
	changed := func(change func(*dns.Msg)) func([]byte) []byte {
		return func(query []byte) []byte {
			return answerTo(t, query, func(m *dns.Msg) {
				m.Answer[0].(*dns.A).A = net.IPv4(6, 6, 6, 6)
				change(m)
			})
		}
	}
	f("another id", changed(func(m *dns.Msg) { m.Id++ }))
	f("another name", changed(func(m *dns.Msg) { m.Question[0].Name = "b.example." }))
	f("another type", changed(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }))
	f("another class", changed(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }))
	f("no question", changed(func(m *dns.Msg) { m.Question = nil }))
	f("two questions", changed(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }))
	f("no response", changed(func(m *dns.Msg) { m.Response = false }))
	f("another opcode", changed(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }))
	f("the question itself", bytes.Clone)
	f("nothing", func([]byte) []byte { return nil })
	f("half a header", func(query []byte) []byte { return query[:6] })
	f("half a question", func(query []byte) []byte { return answerTo(t, query, nil)[:15] })
}

func TestUDPTakesNothingFromAnotherPort(t *testing.T) {
	leak.Check(t)
	forger, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	server := serveDNS(t, func(w dns.ResponseWriter, m *dns.Msg) {
		forged := reply(t, m, m.Question[0].Name+" 60 IN A 6.6.6.6")
		p, _ := forged.Pack()
		forger.WriteTo(p, w.RemoteAddr())
		addrOf(t, "192.0.2.1")(w, m)
	})
	u := newUDP(at(nameserver.UDP, server), straight())
	defer u.Close()
	if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "192.0.2.1" {
		t.Errorf("got %s", got)
	}
}

func TestUDPGivesUp(t *testing.T) {
	leak.Check(t)
	f := func(want string, answers func(query []byte) [][]byte) {
		t.Helper()
		u := newUDP(at(nameserver.UDP, packets(t, answers)), straight())
		defer u.Close()
		failsWith(t, u, want)
	}
	// The question is repeated, and still nothing but guesses come.
	f(errForeign.Error(), func(query []byte) [][]byte {
		forged := answerTo(t, query, func(m *dns.Msg) { m.Id++ })
		return slicesOf(forged, maxForeign)
	})
	f(errTooLong.Error(), func(query []byte) [][]byte {
		return [][]byte{append(answerTo(t, query, nil), make([]byte, maxResponse)...)}
	})
	f(wire.ErrFormat.Error(), func(query []byte) [][]byte {
		p := answerTo(t, query, nil)
		return [][]byte{p[:len(p)-1]}
	})
}

func slicesOf(p []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = p
	}
	return all
}

func TestUDPHearsThatNobodyListens(t *testing.T) {
	leak.Check(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	pc.Close()
	u := newUDP(at(nameserver.UDP, addr), straight())
	defer u.Close()
	begun := time.Now()
	_, err = u.Exchange(patient(t), question(t, "a.example", dns.TypeA))
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "udp://"+addr.String()) {
		t.Errorf("Exchange: %v", err)
	}
	if took := time.Since(begun); took > udpWaits[0] {
		t.Errorf("it took %v", took)
	}
}

func TestUDPEndsWithItsOwner(t *testing.T) {
	leak.Check(t)
	asked := make(chan struct{}, 2)
	server := packets(t, func([]byte) [][]byte {
		asked <- struct{}{}
		return nil
	})
	u := newUDP(at(nameserver.UDP, server), straight())
	defer u.Close()
	ctx, cancel := context.WithCancel(patient(t))
	failed := make(chan error, 1)
	query := question(t, "a.example", dns.TypeA)
	go func() {
		_, err := u.Exchange(ctx, query)
		failed <- err
	}()
	<-asked
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	go func() {
		_, err := u.Exchange(patient(t), query)
		failed <- err
	}()
	<-asked
	u.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	failsWith(t, u, ErrClosed.Error())
}

func TestUDPRefusesWhatIsNoQuestion(t *testing.T) {
	u := newUDP(at(nameserver.UDP, netip.MustParseAddrPort("127.0.0.1:1")), straight())
	defer u.Close()
	two := question(t, "a.example", dns.TypeA)
	binary.BigEndian.PutUint16(two[4:], 2)
	for _, query := range [][]byte{nil, two[:11], two, make([]byte, 1<<16)} {
		if _, err := u.Exchange(patient(t), query); err == nil || !strings.Contains(err.Error(), "query: ") {
			t.Errorf("%d bytes: %v", len(query), err)
		}
	}
}

// A question is sent at once, after one second, and after two more.
func TestUDPRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := Config{Dial: func(context.Context, string, flow.Addr) (net.Conn, error) { return here, nil }}
		u := newUDP(at(nameserver.UDP, netip.MustParseAddrPort("192.0.2.1:53")), c)
		defer u.Close()
		begun := time.Now()
		var sent []time.Duration
		var first []byte
		go func() {
			b := make([]byte, wire.UDPSize)
			for {
				n, err := there.Read(b)
				if err != nil {
					return
				}
				sent = append(sent, time.Since(begun))
				if first == nil {
					first = bytes.Clone(b[:n])
				} else if !bytes.Equal(first, b[:n]) {
					t.Error("the question is another one")
				}
			}
		}()
		_, err := u.Exchange(context.Background(), question(t, "a.example", dns.TypeA))
		synctest.Wait()
		if err == nil || !strings.Contains(err.Error(), "no answer") || time.Since(begun) != 7*time.Second {
			t.Errorf("Exchange: %v after %v", err, time.Since(begun))
		}
		if len(sent) != 3 || sent[0] != 0 || sent[1] != time.Second || sent[2] != 3*time.Second {
			t.Errorf("sent after %v", sent)
		}
	})
}

// TestUDPHeaderAlone: all that some servers say to what they do not understand is a header.
func TestUDPHeaderAlone(t *testing.T) {
	leak.Check(t)
	server := packets(t, func(query []byte) [][]byte {
		return [][]byte{{query[0], query[1], 0x81, wire.FormatError, 0, 0, 0, 0, 0, 0, 0, 0}}
	})
	u := newUDP(at(nameserver.UDP, server), straight())
	defer u.Close()
	query := question(t, "a.example", dns.TypeA)
	resp, err := u.Exchange(patient(t), query)
	if err != nil || len(resp) != wire.HeaderSize || resp[3] != wire.FormatError || resp[0] != query[0] || resp[1] != query[1] {
		t.Errorf("%x, %v", resp, err)
	}
}
