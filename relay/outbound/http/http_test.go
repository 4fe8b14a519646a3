package http

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// server answers what it is told to, and keeps what it is sent.
type server struct {
	io.Reader
	sent bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) { return s.sent.Write(p) }

var target = flow.Addr{Host: "a.test", Port: 443}

func TestConnect(t *testing.T) {
	p := New(Config{Username: "me", Password: "pass", Headers: map[string]string{"X-B": "2", "X-A": "1"}})
	f := func(answer, early, wantErr string) {
		t.Helper()
		for _, r := range []io.Reader{strings.NewReader(answer), iotest.OneByteReader(strings.NewReader(answer))} {
			s := &server{Reader: r}
			got, err := p.connect(s, target)
			switch {
			case wantErr != "":
				if err == nil || !strings.Contains(err.Error(), wantErr) {
					t.Errorf("%q: %v; want %s", answer, err, wantErr)
				}
			case err != nil || !strings.HasPrefix(early, string(got)): // what was read; the rest stays in the socket
				t.Errorf("%q: %q, %v", answer, got, err)
			}
			const want = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n" +
				"Proxy-Authorization: Basic bWU6cGFzcw==\r\nX-A: 1\r\nX-B: 2\r\n\r\n"
			if s.sent.String() != want {
				t.Errorf("sent %q", s.sent.String())
			}
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", "", "")
	f("HTTP/1.0 200\r\nX: y\r\n\r\nhello", "hello", "")
	f("HTTP/1.1 407 No\r\n\r\n", "", "set username and password")
	f("HTTP/1.1 503 No\r\n\r\n", "", "answered 503")
	f("SSH-2.0-x\r\n\r\n", "", "does not speak HTTP")
	f("HTTP/1.1 20\r\n\r\n", "", "does not speak HTTP")
	f("", "", "closed the connection")
	f("HTTP/1.1 200 OK\r\n", "", "closed the connection")
	f("HTTP/1.1 200 OK\r\n"+strings.Repeat("x", maxHead), "", "too long")
}

func FuzzConnect(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nearly"))
	f.Add([]byte("HTTP/1.1 407"))
	p := New(Config{})
	f.Fuzz(func(t *testing.T, answer []byte) {
		early, err := p.connect(&server{Reader: bytes.NewReader(answer)}, target)
		if err == nil && !bytes.HasSuffix(answer, early) {
			t.Fatalf("%q: early %q", answer, early)
		}
	})
}
