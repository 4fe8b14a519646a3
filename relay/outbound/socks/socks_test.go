package socks

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// server answers what it is told to, and keeps what it is sent.
type server struct {
	io.Reader
	sent bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) { return s.sent.Write(p) }

var to = flow.Addr{Host: "a.test", Port: 443}

func TestHandshake(t *testing.T) {
	f := func(user, answer, sent, bound, wantErr string) {
		t.Helper()
		p := New(Config{Username: user, Password: "pass"})
		rest := strings.NewReader(answer + "target")
		s := &server{Reader: iotest.OneByteReader(rest)}
		got, err := p.handshake(s, wire.Connect, to)
		if wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("%q: %v; want %s", answer, err, wantErr)
			}
			return
		}
		if err != nil || got.String() != bound || s.sent.String() != sent {
			t.Errorf("%q: %v, %v; sent %q", answer, got, err, s.sent.String())
		}
		if left, _ := io.ReadAll(rest); string(left) != "target" {
			t.Errorf("%q: %q left for the target's reader", answer, left)
		}
	}
	const ask = "\x05\x01\x00\x03\x06a.test\x01\xbb"
	f("", "\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50", "\x05\x01\x00"+ask, "1.2.3.4:80", "")
	f("me", "\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50", "\x05\x02\x00\x02"+ask, "1.2.3.4:80", "")
	f("me", "\x05\x02\x01\x00\x05\x00\x00\x03\x01b\x00\x50", "\x05\x02\x00\x02\x01\x02me\x04pass"+ask, "b:80", "")
	f("me", "\x05\x02\x01\x01", "", "", "refused username or password")
	f("", "\x05\x02", "", "", "wants authentication")
	f("", "\x05\xff", "", "", "wants authentication")
	f("", "HT", "", "", "does not speak SOCKS 5")
	f("", "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", "", "", "not allowed by its rules")
	f("", "\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00", "", "", "connection refused")
	p := New(Config{})
	for n := range len("\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00") {
		s := &server{Reader: strings.NewReader("\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00"[:n])}
		if _, err := p.handshake(s, wire.Connect, to); err == nil || !strings.Contains(err.Error(), "closed the connection") {
			t.Errorf("cut after %d: %v", n, err)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add("me", []byte("\x05\x02\x01\x00\x05\x00\x00\x03\x01b\x00\x50"))
	f.Add("", []byte("\x05\x00\x05\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, user string, answer []byte) {
		if len(user) > 255 {
			return
		}
		p := New(Config{Username: user})
		_, _ = p.handshake(&server{Reader: bytes.NewReader(answer)}, wire.UDPAssociate, to)
	})
}
