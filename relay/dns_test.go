package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/tests/leak"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// nameServer is a peer: a server over UDP and TCP that knows one address for every name, 192.0.2.1 unless
// known has another.
type nameServer struct {
	addr  netip.AddrPort
	asked atomic.Int64
	conns atomic.Int64 // connections that were made
	open  sync.WaitGroup

	mu    sync.Mutex
	known map[string]string
}

func newNameServer(t *testing.T, known map[string]string) *nameServer {
	t.Helper()
	s := &nameServer{known: known}
	udp, tcp := bothPorts(t)
	s.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	var wait sync.WaitGroup
	servers := []*miekg.Server{
		{PacketConn: udp, Handler: s}, {Listener: counting{tcp, s}, Handler: s, IdleTimeout: func() time.Duration { return time.Minute }},
	}
	for _, server := range servers {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		wait.Go(func() { _ = server.ActivateAndServe() })
		<-ready
	}
	t.Cleanup(func() {
		for _, server := range servers {
			_ = server.Shutdown()
		}
		wait.Wait()
	})
	return s
}

// bothPorts binds a port for UDP and TCP.
func bothPorts(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		_ = udp.Close()
	}
	t.Fatal("no port is free for both")
	return nil, nil
}

// freePort is an address whose port was free just now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port.Free(t)))
}

// counting counts the connections of a listener, and knows when all are closed.
type counting struct {
	net.Listener
	s *nameServer
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.s.conns.Add(1)
	l.s.open.Add(1)
	return &counted{Conn: c, s: l.s}, nil
}

type counted struct {
	net.Conn
	s    *nameServer
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(c.s.open.Done)
	return c.Conn.Close()
}

// ServeDNS implements miekg.Handler.
func (s *nameServer) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) {
	s.asked.Add(1)
	m := new(miekg.Msg).SetReply(q)
	name := q.Question[0].Name
	s.mu.Lock()
	ip := s.known[strings.TrimSuffix(name, ".")]
	s.mu.Unlock()
	if ip == "" {
		ip = "192.0.2.1"
	}
	kind := "A"
	if strings.Contains(ip, ":") {
		kind = "AAAA"
	}
	if miekg.StringToType[kind] == q.Question[0].Qtype {
		rr, err := miekg.NewRR(fmt.Sprintf("%s 60 %s %s", name, kind, ip))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	_ = w.WriteMsg(m)
}

// startRelay runs a relay with a configuration until the test ends.
func startRelay(t *testing.T, text string) *Relay {
	t.Helper()
	leak.Check(t)
	r := newTestRelay(t)
	r.serve(t, text)
	return r
}

// serve runs r with a configuration until the test ends.
func (r *Relay) serve(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func() error {
			err := r.applyText(text)
			started <- err
			return err
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

func (r *Relay) applyText(text string) error {
	c, _, err := r.source.parse("test", []byte(text))
	if err != nil {
		return err
	}
	return r.Apply(c)
}

func (r *Relay) mustApply(t *testing.T, text string) {
	t.Helper()
	if err := r.applyText(text); err != nil {
		t.Fatal(err)
	}
}

// addressOf is what the DNS server at addr says the address of name is, over both ways.
func addressOf(t *testing.T, addr netip.AddrPort, name string) string {
	t.Helper()
	said := make([]string, 2)
	for i, network := range []string{"udp", "tcp"} {
		c := miekg.Client{Net: network, Timeout: 10 * time.Second}
		m, _, err := c.Exchange(new(miekg.Msg).SetQuestion(name+".", miekg.TypeA), addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Answer) == 1 {
			said[i] = m.Answer[0].(*miekg.A).A.String()
		}
	}
	if said[0] != said[1] {
		t.Errorf("%s: %q", name, said)
	}
	return said[0]
}

// query is the address that name servers say name has.
func (r *Relay) query(t *testing.T, name string) string {
	t.Helper()
	p, err := r.QueryDNS(t.Context(), name, miekg.TypeA)
	if err != nil {
		return err.Error()
	}
	m := new(miekg.Msg)
	if err := m.Unpack(p); err != nil {
		t.Fatal(err)
	}
	if len(m.Answer) != 1 {
		return "none"
	}
	return m.Answer[0].(*miekg.A).A.String()
}

// TestReloadKeepsDNS: a section that stays the same, wherever it stands now, keeps its listener, its leases,
// its answers and its connections.
func TestReloadKeepsDNS(t *testing.T) {
	s := newNameServer(t, nil)
	section := fmt.Sprintf("dns: {enable: true, listen: '127.0.0.1:0', enhanced-mode: fake-ip, nameserver: ['tcp://%s'], use-system-hosts: false}\n", s.addr)
	r := startRelay(t, section)
	addr := r.dns.live.Addr()
	for i, name := range []string{"a.test", "b.test"} {
		if got, want := addressOf(t, addr, name), fmt.Sprintf("198.18.0.%d", 4+i); got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	if got := r.query(t, "b.test"); got != "192.0.2.1" {
		t.Error(got)
	}
	r.mustApply(t, "# another line\nmode: rule\nhosts: {c.test: 192.0.2.3}\n"+strings.Replace(section, ", ", ",\n  ", 2)+"rules: ['DOMAIN,x.test,REJECT', 'MATCH,DIRECT']\n")
	if r.dns.live.Addr() != addr {
		t.Error("the listener is another one")
	}
	if got := addressOf(t, addr, "b.test"); got != "198.18.0.5" {
		t.Errorf("a lease is lost: %s", got)
	}
	if got := addressOf(t, addr, "c.test"); got != "192.0.2.3" {
		t.Errorf("the new handler does not answer: %s", got)
	}
	if got := r.query(t, "b.test"); got != "192.0.2.1" || s.asked.Load() != 1 {
		t.Errorf("%s, asked %d times", got, s.asked.Load())
	}
	if r.query(t, "d.test"); s.asked.Load() != 2 || s.conns.Load() != 1 {
		t.Errorf("%d questions over %d connections", s.asked.Load(), s.conns.Load())
	}
	// What is answered in another way is asked anew; the connection stays.
	r.mustApply(t, strings.Replace(section, "}", ", ipv6: true, fake-ip-filter: [b.test]}", 1))
	if n := r.current.Load().naming.handler.Fake.V4.Len(); n != 1 {
		t.Errorf("%d leases: that of b.test should have ended", n)
	}
	if got := addressOf(t, addr, "b.test"); got != "192.0.2.1" || s.asked.Load() != 3 || s.conns.Load() != 1 {
		t.Errorf("%s: %d questions over %d connections", got, s.asked.Load(), s.conns.Load())
	}
}

// TestSetsChange: when a set holds something else, answers and leases that came about by it are gone.
func TestSetsChange(t *testing.T) {
	s, other := newNameServer(t, nil), newNameServer(t, map[string]string{"a.test": "192.0.2.2"})
	text := func(payload string) string {
		return fmt.Sprintf(`
dns: {enable: true, listen: '127.0.0.1:0', enhanced-mode: fake-ip, fake-ip-filter: ['rule-set:set'], nameserver: ['%s'],
  nameserver-policy: {'rule-set:set': '%s'}}
rule-providers: {set: {type: inline, behavior: domain, payload: [%s]}}
`, s.addr, other.addr, payload)
	}
	r := startRelay(t, text("x.test"))
	addr := r.dns.live.Addr()
	if real, fake := r.query(t, "a.test"), addressOf(t, addr, "a.test"); real != "192.0.2.1" || fake != "198.18.0.4" {
		t.Errorf("%s, %s", real, fake)
	}
	r.mustApply(t, text("a.test"))
	if real, fake := r.query(t, "a.test"), addressOf(t, addr, "a.test"); real != "192.0.2.2" || fake != "192.0.2.2" {
		t.Errorf("%s, %s; want the address that the policy's server knows", real, fake)
	}
	if n := r.current.Load().naming.handler.Fake.V4.Len(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the other server was asked %d times", n)
	}
}

// TestReloadEndsDNS: what a changed section has no more is closed.
func TestReloadEndsDNS(t *testing.T) {
	a, b := newNameServer(t, nil), newNameServer(t, map[string]string{"a.test": "192.0.2.2"})
	section := func(s *nameServer, more string) string {
		return fmt.Sprintf("dns: {enable: true, nameserver: ['tcp://%s'], use-system-hosts: false, %s}\n", s.addr, more)
	}
	first := freePort(t)
	r := startRelay(t, section(a, fmt.Sprintf("listen: '%s', enhanced-mode: fake-ip", first)))
	r.query(t, "a.test")
	pools, servers := len(r.dns.pools), len(r.dns.servers)
	// The same port on another address is free for it.
	r.mustApply(t, section(b, fmt.Sprintf("listen: '0.0.0.0:%d', enhanced-mode: fake-ip, fake-ip-range: 198.19.0.0/16", first.Port())))
	if got := addressOf(t, first, "a.test"); got != "198.19.0.4" {
		t.Error(got)
	}
	if got := r.query(t, "a.test"); got != "192.0.2.2" {
		t.Error(got)
	}
	if len(r.dns.pools) != pools || len(r.dns.servers) != servers {
		t.Errorf("%d pools, %d servers; want %d, %d", len(r.dns.pools), len(r.dns.servers), pools, servers)
	}
	r.mustApply(t, "dns: {enable: false}\n")
	if r.dns.live != nil || len(r.dns.pools)+len(r.dns.servers) != 0 {
		t.Errorf("%v, %v, %v", r.dns.live, r.dns.pools, r.dns.servers)
	}
	if _, err := r.QueryDNS(t.Context(), "a.test", miekg.TypeA); !errors.Is(err, dns.ErrDisabled) {
		t.Error(err)
	}
	isFree(t, first)
}

// isFree expects that nobody has a port.
func isFree(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	udp, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = udp.Close()
	tcp, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()
}

// TestStopEndsDNS: the daemon's end closes what is connected, and ends who waits.
func TestStopEndsDNS(t *testing.T) {
	s, begin := newNameServer(t, nil), time.Now()
	t.Run("run", func(t *testing.T) {
		r := startRelay(t, fmt.Sprintf("dns: {enable: true, listen: '127.0.0.1:0', nameserver: ['tcp://%s'], use-system-hosts: false}\n", s.addr))
		r.query(t, "a.test")
		r.mustApply(t, "dns: {enable: true, nameserver: [192.0.2.1], use-system-hosts: false}\n")
	})
	if took := time.Since(begin); took > serverRest/2 {
		t.Errorf("the end took %s", took)
	}
	closed := make(chan struct{})
	go func() {
		s.open.Wait() // the one that rested before it was closed, too
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("a connection is left")
	}
}

// TestFailedApplyLeavesDNS: where the new address, or something behind it, cannot be had, everything is as
// before.
func TestFailedApplyLeavesDNS(t *testing.T) {
	s := newNameServer(t, nil)
	section := fmt.Sprintf("dns: {enable: true, listen: '127.0.0.1:0', enhanced-mode: fake-ip, nameserver: ['tcp://%s'], use-system-hosts: false}\n", s.addr)
	r := startRelay(t, section)
	addr := r.dns.live.Addr()
	addressOf(t, addr, "a.test")
	f := func(text, step, want string) {
		t.Helper()
		err := r.applyText(text)
		var failed *StepError
		if !errors.As(err, &failed) || failed.Step != step || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s in the step %s", err, want, step)
		}
		if r.dns.live.Addr() != addr {
			t.Error("the listener is another one")
		}
		if got := addressOf(t, addr, "a.test"); got != "198.18.0.4" {
			t.Error(got)
		}
		if len(r.dns.pools) != 1 || r.query(t, "a.test") != "192.0.2.1" {
			t.Errorf("%v", r.dns.pools)
		}
	}
	other := strings.Replace(section, "fake-ip,", "fake-ip, fake-ip-range: 198.20.0.0/16,", 1)
	taken := newNameServer(t, nil).addr.String()
	f(strings.Replace(other, "127.0.0.1:0", taken, 1), "dns", "dns.listen: bind "+taken+": address already in use: another name server")
	// A later part fails: what was bound is free again.
	free := freePort(t)
	r.Add(part{func() (config.Change, error) { return nil, errors.New("no") }})
	f(strings.Replace(other, "127.0.0.1:0", free.String(), 1), "part", "no")
	isFree(t, free)
}
