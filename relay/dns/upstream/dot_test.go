package upstream

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestTLS(t *testing.T) { suite(t, startTLS) }

// startTLS runs a server for DNS over TLS.
func startTLS(t testing.TB) *peer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := ln.Addr()
	p := newPeer(t, nameserver.TLS, &to)
	kept := &keeping{Listener: accepting{ln, &p.accepts}}
	p.restart = kept.drop
	var live sync.WaitGroup
	live.Go(func() {
		for secure := tls.NewListener(kept, p.tls("dot")); ; {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			live.Go(func() { p.serve(&live, &dns.Conn{Conn: c}) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		kept.drop()
		live.Wait()
	})
	return p
}

// serve answers each query in a goroutine of its own.
func (p *peer) serve(live *sync.WaitGroup, c *dns.Conn) {
	defer c.Close()
	for {
		q, err := c.ReadMsg()
		if err != nil {
			return
		}
		live.Go(func() { c.Write(p.answer(q)) })
	}
}

// keeping closes the connections that it has accepted.
type keeping struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (k *keeping) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.mu.Lock()
		k.conns = append(k.conns, c)
		k.mu.Unlock()
	}
	return c, err
}

func (k *keeping) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		c.Close()
	}
	k.conns = nil
}

// Queries are padded, so that they all look the same, and sessions are taken up again.
func TestTLSDetails(t *testing.T) {
	leak.Check(t)
	p := startTLS(t)
	sizes := make(chan int, 1)
	p.set(func(q *dns.Msg) []byte {
		sizes <- q.Len()
		return packed(good(q))
	})
	u := use(t, p)
	query := ask(t, "padded.test", 3)
	resp, err := u.Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	if n := <-sizes; n != padBlock {
		t.Errorf("a query of %d bytes; want %d", n, padBlock)
	}
}
