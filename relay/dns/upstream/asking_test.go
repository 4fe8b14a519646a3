package upstream

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// callerID is the id of all questions of the tests.
const callerID = 0x1234

// straight connects without a detour.
func straight() Config {
	return Config{Dial: func(ctx context.Context, network string, to flow.Addr) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, to.String())
	}}
}

// at is the server at addr, spoken to by scheme.
func at(scheme nameserver.Scheme, addr netip.AddrPort) *nameserver.Server {
	return &nameserver.Server{Scheme: scheme, Addr: flow.Addr{IP: addr.Addr(), Port: addr.Port()}}
}

// question is a message that asks for records of name.
func question(t testing.TB, name string, qtype uint16) []byte {
	t.Helper()
	var q wire.Query
	if err := q.Set(name, qtype); err != nil {
		t.Fatal(err)
	}
	p := q.AppendUpstream(nil, true)
	binary.BigEndian.PutUint16(p, callerID)
	return p
}

// patient is a context that ends when something hangs.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// mustAsk returns what u answers, as another library reads it.
func mustAsk(t testing.TB, u Upstream, name string, qtype uint16) *dns.Msg {
	t.Helper()
	resp, err := u.Exchange(patient(t), question(t, name, qtype))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return unpacked(t, resp, name, qtype)
}

// begin asks for the address of name meanwhile; the func waits for the answer.
func begin(t testing.TB, u Upstream, name string) func() *dns.Msg {
	t.Helper()
	type result struct {
		resp []byte
		err  error
	}
	ctx, query, came := patient(t), question(t, name, dns.TypeA), make(chan result, 1)
	go func() {
		resp, err := u.Exchange(ctx, query)
		came <- result{resp, err}
	}()
	return func() *dns.Msg {
		t.Helper()
		r := <-came
		if r.err != nil {
			t.Fatalf("%s: %v", name, r.err)
		}
		return unpacked(t, r.resp, name, dns.TypeA)
	}
}

func unpacked(t testing.TB, resp []byte, name string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(resp); err != nil {
		t.Fatal(err)
	}
	if m.Id != callerID || !m.Response || len(m.Question) != 1 || m.Question[0].Name != name+"." || m.Question[0].Qtype != qtype {
		t.Fatalf("not the answer for %s:\n%s", name, m)
	}
	return m
}

// failsWith expects that u has no answer, and why.
func failsWith(t testing.TB, u Upstream, want string) {
	t.Helper()
	resp, err := u.Exchange(patient(t), question(t, "a.example", dns.TypeA))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Exchange = %d bytes, %v; want an error with %q", len(resp), err, want)
	}
}

// serveDNS runs a real server on UDP and TCP at one port.
func serveDNS(t testing.TB, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	var pc net.PacketConn
	var ln net.Listener
	for range 10 { // the port may be taken for TCP
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if ln == nil {
		t.Fatal("no port is free for both")
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handle}, {Listener: ln, Handler: handle}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			s.Shutdown()
			<-done
		})
	}
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// reply answers m with records in the text form.
func reply(t testing.TB, m *dns.Msg, records ...string) *dns.Msg {
	r := new(dns.Msg).SetReply(m)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Error(err)
			continue
		}
		r.Answer = append(r.Answer, rr)
	}
	return r
}

// addrOf answers every question with ip.
func addrOf(t testing.TB, ip string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		w.WriteMsg(reply(t, m, m.Question[0].Name+" 60 IN A "+ip))
	}
}

// firstA is the address in an answer.
func firstA(t testing.TB, m *dns.Msg) string {
	t.Helper()
	if len(m.Answer) != 1 {
		t.Fatalf("%d records:\n%s", len(m.Answer), m)
	}
	a, ok := m.Answer[0].(*dns.A)
	if !ok {
		t.Fatalf("no address:\n%s", m)
	}
	return a.A.String()
}

// packets is a socket that sends whatever packets the func makes of a question.
func packets(t testing.TB, answers func(query []byte) [][]byte) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, wire.MaxSize)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, p := range answers(b[:n]) {
				pc.WriteToUDPAddrPort(p, from)
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// answerTo is the packed answer to query, after change.
func answerTo(t testing.TB, query []byte, change func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(query); err != nil {
		t.Error(err)
		return nil
	}
	r := reply(t, m, m.Question[0].Name+" 60 IN A 192.0.2.1")
	if change != nil {
		change(r)
	}
	p, err := r.Pack()
	if err != nil {
		t.Error(err)
	}
	return p
}
