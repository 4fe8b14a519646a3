package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHostileBodies sends bodies that do not end, or not where they say. Those who do not know the
// secret, and foreign pages where there is none, cannot make the daemon keep much of them.
func TestHostileBodies(t *testing.T) {
	const endless = 256 << 20
	f := func(d *fortress, name, head string, chunk []byte, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", d.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			var writing sync.WaitGroup
			var sent int
			writing.Go(func() {
				_, err := io.WriteString(c, strings.ReplaceAll(head, "HOST", d.addr))
				for err == nil && sent < endless {
					var n int
					n, err = c.Write(chunk)
					sent += n
				}
			})
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != want || !res.Close {
				t.Errorf("%+v, %v; want %d", res, err, want)
			}
			_ = c.Close()
			writing.Wait()
			if sent > 32<<20 {
				t.Errorf("the daemon took %d bytes", sent)
			}
		})
	}
	chunk := append(append([]byte("10000\r\n"), bytes.Repeat([]byte{'x'}, 1<<16)...), "\r\n"...)
	const foreign = "Origin: http://attacker.test\r\n"
	put := func(fields string) string { return "PUT /configs HTTP/1.1\r\nHost: HOST\r\n" + fields + "\r\n" }
	open, guarded := newFortress(t, ""), newFortress(t, "secret: "+hostileSecret+"\n")
	f(open, "endless chunks of a foreign page", put(foreign+"Transfer-Encoding: chunked\r\n"), chunk, 413)
	f(open, "a long body of a foreign page", put(foreign+"Content-Length: 60000000\r\n"), chunk, 413)
	f(open, "a long body for a foreign host", strings.ReplaceAll(put("Content-Length: 60000000\r\n"), "HOST", "attacker.test"), chunk, 413)
	f(open, "a body longer than any", put("Content-Length: 99999999999\r\n"), chunk, 413)
	f(guarded, "endless chunks", put("Transfer-Encoding: chunked\r\n"), chunk, 413)
	f(guarded, "a long body", put("Content-Length: 60000000\r\n"), chunk, 413)
	f(guarded, "endless fields", "GET /version HTTP/1.1\r\nHost: HOST\r\n", []byte(strings.Repeat("X: y\r\n", 1000)), 431)
	f(guarded, "an endless field", "GET /version HTTP/1.1\r\nHost: HOST\r\nX: ", bytes.Repeat([]byte{'x'}, 1<<16), 431)
	f(guarded, "an endless line", "GET /", bytes.Repeat([]byte{'x'}, 1<<16), 431)
	f(guarded, "an endless size of a chunk", put("Transfer-Encoding: chunked\r\n"), bytes.Repeat([]byte{'0'}, 1<<16), 400)

	// A body that ends too early is no request.
	for _, request := range []string{
		put("Content-Length: 100\r\n") + `{"payload":"mode: direct"}`,
		put("Transfer-Encoding: chunked\r\n") + "1a\r\n" + `{"payload":"mode: direct"}` + "\r\n",
		put("Content-Length: 26")[:40],
	} {
		c, err := net.Dial("tcp", open.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, strings.ReplaceAll(request, "HOST", open.addr))
		_ = c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c); err != nil || strings.HasPrefix(string(b), "HTTP/1.1 2") {
			t.Errorf("%q: %q, %v", request, b, err)
		}
		_ = c.Close()
	}
	open.untouched(t)
	guarded.untouched(t)
}

// TestHostileProtocols speaks TLS where HTTP is spoken, and the other way round.
func TestHostileProtocols(t *testing.T) {
	f := newFortress(t, "")
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	hello := make(chan error, 1)
	secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "attacker.test\nHost: x"})
	go func() { hello <- secure.Handshake() }()
	time.AfterFunc(100*time.Millisecond, func() { _ = raw.(*net.TCPConn).CloseWrite() })
	if err := <-hello; err == nil {
		t.Error("the plain port speaks TLS")
	}
	_ = raw.Close()

	plain, err := net.Dial("tcp", f.Listening(t, "tls"))
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(plain, "GET /configs HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if b, err := io.ReadAll(plain); err != nil || strings.Contains(string(b), "{") {
		t.Errorf("the TLS port speaks plain: %q, %v", b, err)
	}
	_ = plain.Close()
	old, err := tls.Dial("tcp", f.Listening(t, "tls"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		t.Error("TLS 1.1 is spoken")
		_ = old.Close()
	}
	f.untouched(t)
}

// TestHostileCrowd opens 5,000 connections and says nothing. Those that are too many are sent away,
// the Unix socket and the proxy serve on, and all is well when the crowd has gone.
func TestHostileCrowd(t *testing.T) {
	f := newFortress(t, "secret: "+hostileSecret+"\n")
	host := page(t)
	const crowd, most = 5000, 4096
	conns := make([]net.Conn, 0, crowd)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range crowd {
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Skipf("%d connections: %v", len(conns), err)
		}
		conns = append(conns, c)
	}
	refused := 0
	for _, c := range conns[most:] {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 503 ") {
			t.Fatalf("connection %d: %q, %v", most+refused+1, b, err)
		}
		refused++
	}
	if got, text := f.send(t, "unix", getting("/version", "Host: x")); len(got) != 1 || got[0] != 200 {
		t.Errorf("the Unix socket: %v %q", got, text)
	}
	_ = connect(t, f.Mixed, host).Close()
	for _, c := range conns {
		_ = c.Close()
	}
	conns = nil
	for deadline := time.Now().Add(10 * time.Second); ; {
		got, text := f.send(t, "tcp", getting("/version", "Host: HOST", "Authorization: Bearer SECRET"))
		if len(got) == 1 && got[0] == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the crowd has gone, and the API says %v %s", got, fmt.Sprintf("%q", text))
		}
	}
}
