package inbound_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// recorder is an origin that keeps the raw bytes of what it gets and answers each head it sees.
type recorder struct {
	addr string
	got  atomic.Pointer[string]
}

func record(t *testing.T, answer string) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: ln.Addr().String()}
	r.got.Store(new(string))
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var all strings.Builder
				b := make([]byte, 64<<10)
				for heads := 0; ; {
					n, err := c.Read(b)
					all.Write(b[:n])
					text := all.String()
					r.got.Store(&text)
					for ; heads < strings.Count(text, "\r\n\r\n"); heads++ {
						_, _ = io.WriteString(c, answer)
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return r
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestSmuggling sends what two parsers could read in two ways. Each is refused, and nothing of it
// reaches the origin.
func TestSmuggling(t *testing.T) {
	p := start(t, nil)
	f := func(name, head, body string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			origin := record(t, ok)
			c := p.dial(t)
			head := strings.ReplaceAll(head, "ORIGIN", origin.addr)
			_, _ = io.WriteString(c, head+"\r\n\r\n"+body+"GET http://"+origin.addr+"/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
			got, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || strings.Count(string(got), "HTTP/1.1 400") != 1 {
				t.Errorf("answered %q; want one 400", got)
			}
			if saw := *origin.got.Load(); saw != "" {
				t.Errorf("the origin saw %q", saw)
			}
		})
	}
	post := "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\n"
	f("two lengths", post+"Content-Length: 3\r\nContent-Length: 3", "abc")
	f("two different lengths", post+"Content-Length: 3\r\nContent-Length: 4", "abc")
	f("a list of lengths", post+"Content-Length: 3, 3", "abc")
	f("a signed length", post+"Content-Length: +3", "abc")
	f("a length in hex", post+"Content-Length: 0x3", "abc")
	f("an endless length", post+"Content-Length: 99999999999999999999", "abc")
	f("length and chunked", post+"Content-Length: 3\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
	f("chunked twice", post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
	f("another coding", post+"Transfer-Encoding: xchunked", "0\r\n\r\n")
	f("a list of codings", post+"Transfer-Encoding: gzip, chunked", "0\r\n\r\n")
	f("chunked in HTTP/1.0", "POST http://ORIGIN/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
	f("space before the colon", post+"Content-Length : 3", "abc")
	f("a folded line", post+"X: a\r\n Content-Length: 3", "abc")
	f("a bare CR", post+"X: a\rContent-Length: 3", "abc")
	f("a bare LF", post+"X: a\nContent-Length: 3", "abc")
	f("a NUL", post+"X: a\x00b", "")
	f("two hosts", post+"Host: y", "")
	f("no host", "GET http://ORIGIN/ HTTP/1.1", "")
	f("a space in the target", "GET http://ORIGIN/a b HTTP/1.1\r\nHost: x", "")
	f("no version", "GET http://ORIGIN/\r\nHost: x", "")
	f("HTTP/2", "PRI * HTTP/2.0", "")
	f("origin form", "GET / HTTP/1.1\r\nHost: ORIGIN", "")
	f("https", "GET https://ORIGIN/ HTTP/1.1\r\nHost: x", "")
	f("a field without a name", post+": x", "")
	f("a malformed chunk", post+"Transfer-Encoding: chunked", "zz\r\n\r\n")
	f("a chunk with a sign", post+"Transfer-Encoding: chunked", "+3\r\nabc\r\n0\r\n\r\n")
}

// TestRewriting shows what the origin gets of a request that is sound.
func TestRewriting(t *testing.T) {
	p := start(t, nil)
	f := func(name, send, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			origin := record(t, ok)
			c := p.dial(t)
			_, _ = io.WriteString(c, strings.ReplaceAll(send, "ORIGIN", origin.addr))
			_ = c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || !strings.HasSuffix(string(got), "ok") {
				t.Errorf("answered %q, %v", got, err)
			}
			want := strings.ReplaceAll(want, "ORIGIN", origin.addr)
			if saw := *origin.got.Load(); saw != want {
				t.Errorf("the origin saw %q; want %q", saw, want)
			}
		})
	}
	// The URL wins over Host; a name and password in it, and the fragment, go nowhere.
	f("authority", "GET http://user:pw@ORIGIN/a?b#c HTTP/1.1\r\nHost: other\r\nX: y\r\n\r\n",
		"GET /a?b HTTP/1.1\r\nHost: ORIGIN\r\nX: y\r\n\r\n")
	// Nothing of a path is changed.
	f("path", "GET http://ORIGIN/%2Fb/../c//d HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /%2Fb/../c//d HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")
	f("no path", "OPTIONS http://ORIGIN HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")
	// What belongs to the client's connection stays here, in whatever case it is written.
	f("hop by hop", "GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nproxy-authorization: Basic x\r\nPROXY-CONNECTION: keep-alive\r\n"+
		"Connection: keep-alive, X-Mine\r\nx-mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Yours: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ORIGIN\r\nX-Yours: 2\r\n\r\n")
	f("length", "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 3\r\n\r\nabc")
	// Extensions of chunks are dropped, trailers kept but for those that would change the message.
	f("chunks", "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
	f("h2c", "GET http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")
	f("Expect", "POST http://ORIGIN/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: ORIGIN\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
}

// TestAnswers shows what the client gets of what origins answer.
func TestAnswers(t *testing.T) {
	p := start(t, nil)
	f := func(name, method, version, answer, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			origin := record(t, answer)
			c := p.dial(t)
			_, _ = fmt.Fprintf(c, "%s http://%s/ %s\r\nHost: x\r\n\r\n", method, origin.addr, version)
			_ = c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || string(got) != want {
				t.Errorf("answered %q, %v; want %q", got, err, want)
			}
		})
	}
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	f("chunked", "GET", "HTTP/1.1", chunked, chunked)
	f("chunked for HTTP/1.0", "GET", "HTTP/1.0", chunked, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
	f("HEAD", "HEAD", "HTTP/1.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
	f("304", "GET", "HTTP/1.1", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
	f("interim", "GET", "HTTP/1.1", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+ok, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+ok)
	f("interim for HTTP/1.0", "GET", "HTTP/1.0", "HTTP/1.1 103 Early Hints\r\n\r\n"+ok, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	f("hop by hop", "GET", "HTTP/1.1", "HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nConnection: X\r\nX: 1\r\nY: 2\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nY: 2\r\nContent-Length: 0\r\n\r\n")
	f("kept for HTTP/1.0", "GET", "HTTP/1.0\r\nConnection: keep-alive", ok, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
	bad := func(name, answer string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			origin := record(t, answer)
			c := p.dial(t)
			_, _ = fmt.Fprintf(c, "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", origin.addr)
			if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 502 Bad Gateway\r\n") {
				t.Errorf("answered %q; want 502", got)
			}
		})
	}
	bad("length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	bad("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc")
	bad("not HTTP", "SSH-2.0-OpenSSH_9\r\n\r\n")
	bad("unasked switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")

	t.Run("until the end", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1000))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nabc")
			_ = c.Close()
		}()
		c := p.dial(t)
		_, _ = fmt.Fprintf(c, "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", ln.Addr())
		if got, _ := io.ReadAll(c); string(got) != "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc" {
			t.Errorf("answered %q", got)
		}
	})
	t.Run("early answer", func(t *testing.T) {
		origin := record(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		c := p.dial(t)
		_, _ = fmt.Fprintf(c, "POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc", origin.addr)
		got, _ := io.ReadAll(c)
		if string(got) != "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" {
			t.Errorf("answered %q", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	p := start(t, nil)
	f := func(send, want string) {
		t.Helper()
		c := p.dial(t)
		_, _ = io.WriteString(c, send)
		if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 "+want) {
			t.Errorf("%.60q: answered %q; want %s", send, got, want)
		}
	}
	f("GET http://a.rejected/ HTTP/1.1\r\nHost: x\r\n\r\n", "403")
	f("CONNECT a.rejected:443 HTTP/1.1\r\nHost: x\r\n\r\n", "403")
	f("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n", "502")
	f("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n", "502")
	f("CONNECT nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "400")
	f("CONNECT a:0 HTTP/1.1\r\nHost: x\r\n\r\n", "400")
	f("GET http://x/ HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("y", 40<<10), "431")
}

// TestStaleUpstream shows that an origin which ends idle connections costs no request: neither one
// that may be sent again, nor one that may not.
func TestStaleUpstream(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	closed := make(chan struct{}, 16)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1000))
			_, _ = io.WriteString(c, ok)
			_ = c.Close()
			closed <- struct{}{}
		}
	}()
	c := start(t, nil).dial(t)
	for range 5 {
		for _, request := range []string{"GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n", "POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"} {
			exchange(t, c, fmt.Sprintf(request, ln.Addr()), []byte(ok))
			<-closed
		}
	}
}
