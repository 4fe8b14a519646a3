package impl

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/logs"
)

func TestIsClear(t *testing.T) {
	f := func(lines string, want bool) {
		t.Helper()
		if got := isClear([]byte(lines)); got != want {
			t.Errorf("%q: %v", lines, got)
		}
	}
	f("\r\n", true)
	f("", true)
	f("Host: x\r\n\r\n", true)
	f("Host: x\r\nContent-Length: 5\r\nX-Y: a b\tc\r\n\r\n", true)
	f("Host: x\r\nX: 1\r\nX: 2\r\n\r\n", true)
	f("Host:x\r\nTransfer-Encoding: chunked\r\n\r\n", true)
	f("\r\nHost: x\r\n\r\n", false)
	f("Host: x\r\n\rA: b\r\n\r\n", false)
	f("Host: x\n\n", false)
	f("Host: x\r\nA: b\nC: d\r\n\r\n", false)
	f("Host: x\r\nA: b\n\r\n", false)
	f("Host: x\r\nA: b\r\n c\r\n\r\n", false)
	f("Host: x\r\nA: b\r\n\tc: d\r\n\r\n", false)
	f("Host : x\r\n\r\n", false)
	f("A B: x\r\n\r\n", false)
	f("Host\r\n\r\n", false)
	f("host: x\r\nHOST: x\r\n\r\n", false)
	f("Content-Length: 1\r\ncontent-length: 1\r\n\r\n", false)
	f("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false)
	f("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", false)
	f("Authorization: a\r\nAuthorization: a\r\n\r\n", false)
	f("Origin: a\r\norigin: b\r\n\r\n", false)
}

// TestSlowClients sends a byte a second, of a head and of a body: the time for a whole request ends both.
func TestSlowClients(t *testing.T) {
	c := New(Options{Hub: logs.NewHub(io.Discard, slog.LevelInfo)})
	serve := func(conn net.Conn) { _ = c.http.ServeConn(conn) }
	first, last := net.Pipe() // what fasthttp keeps for good begins here, and not in a bubble
	go serve(last)
	_, _ = io.WriteString(first, "GET / HTTP/0.9\r\n\r\n")
	_, _ = io.ReadAll(first)
	for name, request := range map[string][2]string{ // what is sent at once, and what is not
		"a head": {"GET /version HTTP/1.1\r\nHost: localhost\r\n", "X: " + strings.Repeat("x", 1000)},
		"a body": {"PATCH /configs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", strings.Repeat(" ", 1000)},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				serve(server)
				_ = server.Close()
			}()
			go func() { _, _ = io.Copy(io.Discard, client) }()
			began := time.Now()
			_, err := io.WriteString(client, request[0])
			for i := 0; err == nil && i < len(request[1]); i++ {
				time.Sleep(time.Second)
				_, err = io.WriteString(client, request[1][i:i+1])
			}
			<-ended
			if took := time.Since(began); took < readTimeout || took > readTimeout+2*time.Second {
				t.Errorf("%s: the connection ends after %v; want %v", name, took, readTimeout)
			}
			_ = client.Close()
			synctest.Wait()
		})
	}
}

func FuzzIsClear(f *testing.F) {
	f.Add([]byte("Host: x\r\nContent-Length: 1\r\n\r\n"))
	f.Add([]byte("\r\nA"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		if bare := bytes.ReplaceAll(lines, []byte("\r\n"), nil); isClear(lines) && (bytes.ContainsAny(bare, "\r\n") || bytes.Contains(lines, []byte("\n "))) {
			t.Errorf("%q is not clear", lines)
		}
	})
}
