//go:build linux

package soak

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/port"
)

// origins are what there is on the other side of the daemon, all on loopback.
type origins struct {
	echo  uint16 // sends back what comes, over TCP and UDP
	web   string // the URL of a web server, which has lists for providers too
	names string // a name server: every name has 127.0.0.1
	nodes [2]uint16
	asked atomic.Int64 // requests for lists
}

func newOrigins(t *testing.T) *origins {
	o := new(origins)
	tcp, udp, err := port.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	o.echo = portOf(tcp)
	go serve(tcp, func(c net.Conn) { _, _ = io.Copy(c, c) })
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(b[:n], from)
		}
	}()
	for i := range o.nodes {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		o.nodes[i] = portOf(ln)
		go serve(ln, node)
	}
	o.names = serveNames(t)
	web := httptest.NewServer(o)
	t.Cleanup(web.Close)
	o.web = web.URL
	return o
}

func portOf(ln net.Listener) uint16 { return ln.Addr().(*net.TCPAddr).AddrPort().Port() }

// serve has each connection of ln to itself until do returns.
func serve(ln net.Listener, do func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			do(c)
		}()
	}
}

// node is a proxy that knows CONNECT, and for which all names are this machine.
func node(c net.Conn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return
	}
	to, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 No\r\n\r\n")
		return
	}
	defer to.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, to)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(to, in)
	_ = to.(*net.TCPConn).CloseWrite()
	<-back
}

// serveNames is a name server that knows all names.
func serveNames(t *testing.T) string {
	tcp, udp, err := port.Listen()
	if err != nil {
		t.Fatal(err)
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 2},
				A:   netip.AddrFrom4([4]byte{127, 0, 0, 1}).AsSlice(),
			}}
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		go func() { _ = s.ActivateAndServe() }()
	}
	t.Cleanup(func() { _, _ = udp.Close(), tcp.Close() })
	return udp.LocalAddr().String()
}

// ServeHTTP answers requests for pages, and those for lists in many ways, of which every other is a good one.
func (o *origins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/204":
		w.WriteHeader(http.StatusNoContent)
		return
	case "/echo":
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
		return
	}
	list := o.nodeList
	if r.URL.Path == "/sites" {
		list = siteList
	}
	n := int(o.asked.Add(1))
	text := list(n)
	switch n % 8 {
	case 1:
		http.Error(w, "not now", http.StatusInternalServerError)
	case 3: // less than it promises
		w.Header().Set("Content-Length", fmt.Sprint(len(text)+100))
		_, _ = io.WriteString(w, text)
	case 5:
		_, _ = io.WriteString(w, "proxies: [{{{")
	case 7:
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(rand.IntN(500)) * time.Millisecond):
		}
		_, _ = io.WriteString(w, text)
	default:
		_, _ = io.WriteString(w, text)
	}
}

// nodeList is another list each time, whose nodes stay or go.
func (o *origins) nodeList(n int) string {
	var b strings.Builder
	b.WriteString("proxies:\n")
	for i := range 3 + n%5 {
		fmt.Fprintf(&b, "- {name: p%d, type: http, server: 127.0.0.1, port: %d}\n", (n/3+i)%11, o.nodes[i%2])
	}
	return b.String()
}

func siteList(n int) string {
	var b strings.Builder
	b.WriteString("+.auto.test\n")
	for i := range 200 + 100*(n%5) {
		fmt.Fprintf(&b, "+.s%d.example.test\n", i)
	}
	return b.String()
}
