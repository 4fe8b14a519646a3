package upstream

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestHTTP3(t *testing.T) { suite(t, startHTTP3) }

// startHTTP3 runs a DoH server that speaks HTTP/3 alone, and is asked like that.
func startHTTP3(t testing.TB) *peer {
	var to net.Addr
	p := newPeer(t, nameserver.HTTPS, &to)
	p.server.H3 = true
	var s *http3.Server
	var ln *quic.EarlyListener
	var socket net.PacketConn
	var at *quic.Transport
	var live sync.WaitGroup
	serve := func() {
		one := &http3.Server{
			Handler: p.handler(t, 3),
			ConnContext: func(ctx context.Context, _ *quic.Conn) context.Context {
				p.accepts.Add(1)
				return ctx
			},
		}
		s = one
		live.Go(func() { one.ServeListener(ln) })
	}
	listen := func(addr string) {
		var err error
		if socket, err = net.ListenPacket("udp", addr); err != nil {
			t.Fatal(err)
		}
		at = &quic.Transport{Conn: plainSocket{socket}}
		if ln, err = at.ListenEarly(http3.ConfigureTLSConfig(p.tls()), &quic.Config{}); err != nil {
			t.Fatal(err)
		}
		serve()
	}
	stop := func() { // as a crash: nobody is told
		socket.Close()
		at.Close()
		s.Close()
	}
	p.leave = func() { // another server takes over
		old := s
		live.Go(func() { old.Shutdown(context.Background()) })
		serve()
	}
	listen("127.0.0.1:0")
	to = socket.LocalAddr()
	p.restart = func() {
		stop()
		listen(to.String())
	}
	t.Cleanup(func() {
		stop()
		live.Wait()
	})
	return p
}

// preferring is a peer with HTTP/2, which is asked over HTTP/3 at the address of fast first.
func preferring(t testing.TB, fast *peer) *peer {
	p := startHTTP(t, nameserver.HTTPS, 2)
	fast.id.roots.AddCert(leaf(t, p.id))
	p.config.Roots = fast.id.roots
	p.config.PreferH3 = true
	p.config.ListenPacket = fast.config.ListenPacket
	return p
}

func TestHTTP3Preferred(t *testing.T) {
	leak.Check(t)
	fast := startHTTP3(t)
	p := preferring(t, fast)
	u := use(t, p)
	u.(*overHTTP).fast.pool.patience = time.Minute
	query := ask(t, "a.test", 4)
	for range 2 {
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
	}
	if n, m := p.dials.Load(), fast.accepts.Load(); n != 0 || m != 1 {
		t.Errorf("%d connections over TCP, %d over QUIC", n, m)
	}
	// Without TLS there is no HTTP/3.
	plain := startHTTP(t, nameserver.HTTP, 1)
	plain.config.PreferH3 = true
	resp, err := use(t, plain).Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
}

// A server that has no HTTP/3 is asked over TCP soon, and for a while there alone.
func TestHTTP3Absent(t *testing.T) {
	leak.Check(t)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	to := nobody.LocalAddr()
	silent := newPeer(t, nameserver.HTTPS, &to)
	p := preferring(t, silent)
	u := use(t, p)
	w := u.(*overHTTP).fast
	query := ask(t, "a.test", 4)
	begin := time.Now()
	for range 3 {
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
	}
	if took := time.Since(begin); took < headStart || took > dialTime {
		t.Errorf("3 exchanges took %v", took)
	}
	if n := silent.dials.Load(); n != 1 {
		t.Errorf("HTTP/3 was tried %d times", n)
	}
	if rest := time.Until(time.Unix(0, w.after.Load())); rest < http3Rest/2 || rest > http3Rest {
		t.Errorf("HTTP/3 rests for %v", rest)
	}
}

// After the rest it is tried again; a way that cannot even be tried costs nothing.
func TestHTTP3Again(t *testing.T) {
	leak.Check(t)
	fast := startHTTP3(t)
	p := preferring(t, fast)
	fast.before = func(context.Context) error { return errors.New("no datagrams here") }
	u := use(t, p)
	w := u.(*overHTTP).fast
	w.pool.patience = time.Minute
	query := ask(t, "a.test", 4)
	for range 2 {
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
	}
	if n := fast.dials.Load(); n != 1 {
		t.Errorf("HTTP/3 was tried %d times", n)
	}
	fast.before = nil
	w.after.Store(0)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if n := fast.accepts.Load(); n != 1 {
		t.Errorf("%d connections over QUIC", n)
	}
}

// A connection that comes up late is used by later exchanges.
func TestHTTP3Late(t *testing.T) {
	leak.Check(t)
	fast := startHTTP3(t)
	p := preferring(t, fast)
	release := make(chan struct{})
	fast.before = func(context.Context) error {
		<-release
		return nil
	}
	var asked atomic.Int64
	fast.set(func(q *dns.Msg) []byte {
		asked.Add(1)
		return packed(good(q))
	})
	u := use(t, p)
	w := u.(*overHTTP).fast
	w.pool.patience = time.Millisecond
	query := ask(t, "a.test", 4)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if asked.Load() != 0 || p.accepts.Load() != 1 {
		t.Error("the first exchange was not over TCP")
	}
	close(release)
	await(t, w.pool.ready)
	resp, err = u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if asked.Load() != 1 {
		t.Error("the second exchange was not over HTTP/3")
	}
	// When the server is gone, TCP takes over.
	w.lines.c.ListenPacket = func(context.Context, flow.Addr) (net.PacketConn, net.Addr, error) {
		return nil, nil, errors.New("no datagrams here")
	}
	fast.restart()
	resp, err = u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if asked.Load() != 1 {
		t.Error("the third exchange was not over TCP")
	}
}

// A server that is about to leave gets no new requests, and answers those it has.
func TestHTTP3GoAway(t *testing.T) {
	leak.Check(t)
	p := startHTTP3(t)
	asked, release := make(chan struct{}), make(chan struct{})
	p.set(func(q *dns.Msg) []byte {
		if strings.HasPrefix(q.Question[0].Name, "slow.") {
			close(asked)
			<-release
		}
		return packed(good(q))
	})
	u := use(t, p)
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		query := ask(t, "slow.test", 4)
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
	}()
	<-asked
	p.leave()
	for end := time.Now().Add(5 * time.Second); p.accepts.Load() == 1 && time.Now().Before(end); { // until the client has heard it
		query := ask(t, "a.test", 5)
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
	}
	close(release)
	<-slow
	if n := p.accepts.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
