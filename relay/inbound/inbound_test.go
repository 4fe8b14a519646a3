package inbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/inbound"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/track"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// proxy is a listener on loopback whose every flow goes to its target itself, where names are
// 127.0.0.1 and *.rejected is refused.
type proxy struct {
	addr   string
	table  *track.Table
	engine *engine.Engine
	endUDP func() // ends the UDP port alone
}

func lookup(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func start(t *testing.T, set func(*inbound.Service)) *proxy {
	t.Helper()
	leak.Check(t)
	log := slog.New(slog.DiscardHandler)
	program, errs := rule.Compile([]rule.Rule{
		{Type: "DOMAIN-SUFFIX", Payload: "rejected", Target: "REJECT"},
		{Type: "DOMAIN-SUFFIX", Payload: "dropped", Target: "REJECT-DROP"},
		{Type: "MATCH", Target: "DIRECT"},
	}, nil)
	if errs != nil {
		t.Fatal(errs)
	}
	direct := outbound.NewDirect(outbound.Info{Name: "DIRECT", Type: "Direct", UDP: true}, &outbound.Dialer{IPv6: true, Lookup: lookup})
	reject := outbound.NewReject(outbound.Info{Name: "REJECT", Type: "Reject", UDP: true}, flow.ErrRejected)
	drop := outbound.NewReject(outbound.Info{Name: "REJECT-DROP", Type: "RejectDrop", UDP: true}, flow.ErrDropped)
	e := engine.New(log, track.NewTable())
	e.Use(&engine.Snapshot{
		Rules: program, Counters: rule.NewCounters(program.Len()),
		Targets: []outbound.Outbound{reject, drop, direct}, Direct: direct, Global: direct, Lookup: lookup,
	})
	var conns inbound.Conns
	ln, err := inbound.Listen("127.0.0.1:0", sysnet.Options{}, &conns, log)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := inbound.ListenPacket("127.0.0.1:0", sysnet.Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	s := &inbound.Service{Name: "DEFAULT-MIXED", Handler: e, UDP: udp}
	if set != nil {
		set(s)
	}
	ln.Use(s)
	udp.Use(s)
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { ln.Serve(ctx, ctx) })
	ofUDP, endUDP := context.WithCancel(ctx)
	wait.Go(func() { udp.Serve(ofUDP) })
	wait.Go(func() { _ = e.Serve(ctx) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		conns.CloseAll()
		if live := e.Table.Live(nil); len(live) > 0 {
			t.Errorf("%d flows left", len(live))
		}
		if e.Panics() > 0 {
			t.Errorf("%d panics", e.Panics())
		}
	})
	return &proxy{addr: ln.Addr().String(), table: e.Table, engine: e, endUDP: endUDP}
}

// dial connects to the proxy; the connection fails the test when nothing comes for 5 seconds.
func (p *proxy) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c.(*net.TCPConn)
}

// echo is a TCP server that sends back what it gets, and half-closes when its peer does.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wait.Wait()
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func exchange(t *testing.T, c *net.TCPConn, send string, want []byte) {
	t.Helper()
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
		t.Fatalf("sent %q: got %q, %v; want %q", send, got, err, want)
	}
}

// pingPong checks that bytes pass both ways and that a half-close does.
func pingPong(t *testing.T, c *net.TCPConn) {
	t.Helper()
	text := strings.Repeat("ping", 100_000)
	go func() {
		_, _ = io.WriteString(c, text)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != text {
		t.Fatalf("echo: %d bytes, %v; want %d", len(got), err, len(text))
	}
}

func TestSOCKS(t *testing.T) {
	target := echo(t)
	port := string([]byte{byte(target.Port() >> 8), byte(target.Port())})
	p := start(t, nil)
	granted := append([]byte{5, 0, 5, 0, 0, 1}, make([]byte, 6)...)
	f := func(name, send string, want []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := p.dial(t)
			exchange(t, c, send, want)
			pingPong(t, c)
		})
	}
	f("5 by address", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01"+port, granted)
	f("5 by name", "\x05\x01\x00\x05\x01\x00\x03\x09Echo.TEST"+port, granted)
	f("5 by a name of 255 bytes", "\x05\x01\x00\x05\x01\x00\x03\xff"+strings.Repeat("a.", 127)+"b"+port, granted)
	granted4 := []byte{0, 90, 0, 0, 0, 0, 0, 0}
	f("4", "\x04\x01"+port+"\x7f\x00\x00\x01user\x00", granted4)
	f("4a", "\x04\x01"+port+"\x00\x00\x00\x01user\x00echo.test\x00", granted4)

	refused := func(name, send string, want []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := p.dial(t)
			exchange(t, c, send, want)
			if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
				t.Errorf("after a refusal: %q, %v", rest, err)
			}
		})
	}
	answer := func(code byte) []byte { return append([]byte{5, 0, 5, code, 0, 1}, make([]byte, 6)...) }
	refused("nobody listens", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01", answer(socks.Refused))
	refused("rejected by a rule", "\x05\x01\x00\x05\x01\x00\x03\x0aa.rejected"+port, answer(socks.NotAllowed))
	refused("bind", "\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01"+port, answer(socks.CommandUnsupported))
	refused("port 0", "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", answer(socks.GeneralFailure))
	refused("no method", "\x05\x01\x01", []byte{5, 0xff})
	refused("4 rejected", "\x04\x01"+port+"\x00\x00\x00\x01\x00a.rejected\x00", []byte{0, 91, 0, 0, 0, 0, 0, 0})
}

func TestSOCKSLogin(t *testing.T) {
	target := echo(t)
	port := string([]byte{byte(target.Port() >> 8), byte(target.Port())})
	request := "\x05\x01\x00\x01\x7f\x00\x00\x01" + port
	p := start(t, func(s *inbound.Service) {
		s.Users = inbound.NewUsers(map[string]string{"user": "secret"})
	})
	t.Run("right", func(t *testing.T) {
		c := p.dial(t)
		exchange(t, c, "\x05\x02\x00\x02\x01\x04user\x06secret"+request,
			append([]byte{5, 2, 1, 0, 5, 0, 0, 1}, make([]byte, 6)...))
		live := p.table.Live(nil)
		if len(live) != 1 || live[0].Flow.User != "user" {
			t.Errorf("live flows: %+v", live)
		}
		pingPong(t, c)
	})
	f := func(name, send string, want []byte) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := p.dial(t)
			exchange(t, c, send, want)
			if rest, _ := io.ReadAll(c); len(rest) > 0 {
				t.Errorf("after a refusal: %q", rest)
			}
		})
	}
	f("wrong", "\x05\x01\x02\x01\x04user\x05wrong", []byte{5, 2, 1, 1})
	f("unknown", "\x05\x01\x02\x01\x02me\x00", []byte{5, 2, 1, 1})
	f("not offered", "\x05\x01\x00", []byte{5, 0xff})
	f("4 cannot", "\x04\x01"+port+"\x7f\x00\x00\x01user\x00", []byte{0, 91, 0, 0, 0, 0, 0, 0})
}

func TestConnect(t *testing.T) {
	target := echo(t)
	p := start(t, nil)
	c := p.dial(t)
	exchange(t, c, fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\nearly", target, target),
		[]byte("HTTP/1.1 200 Connection established\r\n\r\nearly"))
	live := p.table.Live(nil)
	if len(live) != 1 || live[0].Flow.Kind != flow.HTTPS {
		t.Fatalf("live flows: %+v", live)
	}
	deadline := time.Now().Add(5 * time.Second) // bytes are counted once they are written
	for live[0].Up.Load() != 5 || live[0].Down.Load() != 5 {
		if time.Now().After(deadline) {
			t.Fatalf("counted %d up, %d down; want 5", live[0].Up.Load(), live[0].Down.Load())
		}
		runtime.Gosched()
	}
	pingPong(t, c)
}

func TestEndByAPI(t *testing.T) {
	target := echo(t)
	p := start(t, nil)
	c := p.dial(t)
	exchange(t, c, fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", target),
		[]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	e := p.table.Live(nil)[0]
	if p.table.Find(e.ID.String()) != e {
		t.Fatal("the flow cannot be found by its id")
	}
	e.End(track.ByAPI)
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("the client got %q, %v; want a clean end", rest, err)
	}
	if p.table.Find(e.ID.String()) != nil || e.Reason() != track.ByAPI {
		t.Errorf("still listed, reason %q", e.Reason())
	}
}

// TestEndByAPIOfARequest cuts an answer: the client reads an end, and sees by the framing that
// something is missing.
func TestEndByAPIOfARequest(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, begun)
		_, _ = io.Copy(io.Discard, c)
	}()
	p := start(t, nil)
	c := p.dial(t)
	exchange(t, c, fmt.Sprintf("GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", ln.Addr()), []byte(begun))
	p.table.EndAll(track.ByAPI)
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("the client got %q, %v; want a clean end", rest, err)
	}
}

// TestDrain begins to serve when the listener is to end already: who waits in the queue is served.
func TestDrain(t *testing.T) {
	leak.Check(t)
	var conns inbound.Conns
	ln, err := inbound.Listen("127.0.0.1:0", sysnet.Options{}, &conns, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln.Use(&inbound.Service{})
	var clients []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		clients = append(clients, c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ln.Serve(ctx, t.Context())
	for i, c := range clients {
		_, _ = c.Write([]byte{5, 1, 0})
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	conns.CloseAll()
}

// TestDropped is answered nothing, and is forgotten when it leaves.
func TestDropped(t *testing.T) {
	p := start(t, nil)
	c := p.dial(t)
	_, _ = io.WriteString(c, "CONNECT a.dropped:80 HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = c.CloseWrite() // start waits for what is left of it
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestAssociationsEndAlone ends one association of a client's address, by another port of ours.
func TestAssociationsEndAlone(t *testing.T) {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	p := start(t, nil)
	other, err := inbound.ListenPacket("127.0.0.1:0", sysnet.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, c := p.associate(t)
	msg := socks.AppendDatagram(nil, flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()})
	heard := func() netip.AddrPort {
		t.Helper()
		if _, err := c.Write(append(msg, 'x')); err != nil {
			t.Fatal(err)
		}
		_ = pc.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, from, err := pc.ReadFromUDPAddrPort(make([]byte, 10))
		if err != nil {
			t.Fatal(err)
		}
		return from
	}
	first := heard()
	p.engine.EndSources(func(_ netip.AddrPort, r flow.Replier) bool { return r == flow.Replier(other) })
	if again := heard(); again != first {
		t.Errorf("the association has another port now: %v, %v", first, again)
	}
}

// TestAssociationEndsWithItsPort closes the control connection when the UDP port goes.
func TestAssociationEndsWithItsPort(t *testing.T) {
	p := start(t, nil)
	control, _ := p.associate(t)
	p.endUDP()
	if _, err := control.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v; want an end", err)
	}
}

func TestUDP(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte("echo:"), b[:n]...), from)
		}
	}()
	target := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	p := start(t, nil)
	control, c := p.associate(t)
	f := func(to flow.Addr) {
		t.Helper()
		for i := range 3 {
			text := fmt.Sprintf("datagram %d", i)
			if _, err := c.Write(append(socks.AppendDatagram(nil, to), text...)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1500)
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			from, head, err := socks.ParseDatagram(b[:n])
			if err != nil || from.AddrPort() != target || string(b[head:n]) != "echo:"+text {
				t.Fatalf("got %q from %v, %v", b[head:n], from, err)
			}
		}
	}
	f(flow.Addr{IP: target.Addr(), Port: target.Port()})
	f(flow.Addr{Host: "echo.test", Port: target.Port()})
	live := p.table.Live(nil) // both have the same address: either counts a reply
	if len(live) != 2 || live[0].Down.Load()+live[1].Down.Load() != 6*int64(len("echo:datagram 0")) {
		t.Errorf("live flows: %d", len(live))
	}
	_ = control.Close() // ends the association
	for len(p.table.Live(nil)) > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("flows outlive their association")
		}
	}
}

// associate asks for a UDP association; it lives as long as control is open.
func (p *proxy) associate(t *testing.T) (control *net.TCPConn, c *net.UDPConn) {
	t.Helper()
	control = p.dial(t)
	if _, err := io.WriteString(control, "\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := io.ReadFull(control, answer); err != nil || answer[3] != socks.Granted {
		t.Fatalf("UDP ASSOCIATE: %v, %v", answer, err)
	}
	relay := netip.AddrPortFrom(netip.AddrFrom4([4]byte(answer[6:10])), uint16(answer[10])<<8|uint16(answer[11]))
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return control, c
}

// client is an HTTP client that goes through the proxy.
func (p *proxy) client(t *testing.T) *http.Client {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: p.addr})}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

func TestPlainHTTP(t *testing.T) {
	var conns sync.Map
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns.Store(r.RemoteAddr, true)
		for name := range r.Header {
			if name == "Proxy-Authorization" || name == "Proxy-Connection" || name == "X-Drop" {
				t.Errorf("the origin saw %s", name)
			}
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		n, err := io.Copy(w, r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", fmt.Sprint(n))
	}))
	defer origin.Close()
	p := start(t, nil)
	c := p.client(t)
	f := func(body string, chunked bool) {
		t.Helper()
		var r io.Reader = strings.NewReader(body)
		if chunked {
			r = io.MultiReader(r)
		}
		req, _ := http.NewRequest("POST", origin.URL+"/path%2Fb/../c?q=1", r)
		req.Header.Set("Proxy-Authorization", "Basic eDp5")
		req.Header.Set("Connection", "X-Drop")
		req.Header.Set("X-Drop", "y")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != body || resp.Trailer.Get("X-Sum") != fmt.Sprint(len(body)) {
			t.Fatalf("got %d bytes, %v, trailer %q; want %d", len(got), err, resp.Trailer.Get("X-Sum"), len(body))
		}
	}
	f("small", false)
	f("small", true)
	f("", false)
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("the origin saw %d connections; want one that is kept", n)
	}
	f(strings.Repeat("large", 100_000), false)
	f(strings.Repeat("large", 100_000), true)
}

func TestPlainHTTPUpgrade(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "Upgrade" {
			t.Errorf("the origin saw %v", r.Header)
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		_, _ = io.Copy(c, rw)
	}))
	defer origin.Close()
	p := start(t, nil)
	c := p.dial(t)
	host := strings.TrimPrefix(origin.URL, "http://")
	_, _ = fmt.Fprintf(c, "GET %s/ HTTP/1.1\r\nHost: %s\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", origin.URL, host)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	hello := make([]byte, 5)
	if _, err := io.ReadFull(br, hello); err != nil || string(hello) != "hello" {
		t.Fatalf("%q, %v", hello, err)
	}
	pingPong(t, c)
}
