package health

import (
	"bufio"
	"context"
	"crypto/x509"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// node is an outbound whose connections lead to a server in the same bubble.
type node struct {
	outbound.Unbuilt
	info    outbound.Info
	dial    time.Duration   // how long it takes
	answers []time.Duration // each request's; the last one is that of all others, none is no answer
	fail    error
	bug     bool
	busy    *gauge

	mu     sync.Mutex
	starts []time.Time
	to     flow.Addr
}

// gauge counts what is open, and the most there was.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) add() {
	if n := g.now.Add(1); n > g.most.Load() {
		g.most.Store(n) // racing adds may lose: tests in a bubble take turns
	}
}

func fast(name string) *node {
	return &node{info: outbound.Info{Name: name}, answers: []time.Duration{10 * time.Millisecond}, busy: new(gauge)}
}

func (n *node) Info() *outbound.Info { return &n.info }

func (n *node) Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error) {
	n.mu.Lock()
	n.starts = append(n.starts, time.Now())
	n.to = f.To
	n.mu.Unlock()
	if n.bug {
		panic("a bug")
	}
	time.Sleep(n.dial)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n.fail != nil {
		return nil, n.fail
	}
	ours, theirs := net.Pipe()
	n.busy.add()
	go n.serve(theirs)
	return &pipe{Conn: ours, busy: n.busy}, nil
}

func (n *node) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for i := 0; ; i++ {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		if len(n.answers) == 0 {
			_, _ = in.ReadByte() // until it is closed
			return
		}
		time.Sleep(n.answers[min(i, len(n.answers)-1)])
		if _, err := c.Write([]byte("HTTP/1.1 204 No Content\r\nA: b\r\n\r\n")); err != nil {
			return
		}
	}
}

// since is when the tests began, in milliseconds after t.
func (n *node) since(t time.Time) (ms []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.starts {
		ms = append(ms, int(s.Sub(t).Milliseconds()))
	}
	return ms
}

func (n *node) count() int { return len(n.since(time.Time{})) }

type pipe struct {
	net.Conn
	busy *gauge
}

func (*pipe) CloseWrite() error { return nil }

// Close is called once: whoever dialed closes.
func (p *pipe) Close() error {
	p.busy.now.Add(-1)
	return p.Conn.Close()
}

// direct is a real outbound that finds every name on this machine.
func direct() *outbound.Direct {
	return outbound.NewDirect(outbound.Info{Name: "d"}, &outbound.Dialer{
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
		},
	})
}

// at is the URL of a server under another name.
func at(s *httptest.Server, name, rest string) string {
	u, _ := url.Parse(s.URL)
	return u.Scheme + "://" + name + ":" + u.Port() + rest
}

func trusting(s *httptest.Server) Client {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return Client{UserAgent: "tester/1", Roots: roots}
}

// raw serves each connection with serve, and closes it.
func raw(t *testing.T, serve func(c net.Conn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var live sync.WaitGroup
	live.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			live.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		live.Wait() // every connection has ended, so the probes closed theirs
	})
	return "http://" + ln.Addr().String() + "/secret"
}

// says answers the first request with text and waits until the client has closed.
func says(text string) func(c net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, _ = c.Write([]byte(text))
		_, _ = in.WriteTo(new(strings.Builder))
	}
}

// all are the wants of a plan.
func all(wants ...Want) iter.Seq[Want] { return slices.Values(wants) }
