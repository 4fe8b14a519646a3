//go:build linux

package soak

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// words are what ports get that their protocols do not have, or not at that place.
var words = []string{
	"", "\x00", "\x05", "\x05\xff", "\x05\x01\x00\x05\x07\x00\x01", "\x05\x01\x00\x05\x01\x00\x03\xff", "\x05\x01\x02\x01\x01a",
	"\x04\x01\x00\x50\x00\x00\x00\x01", "\x04\x09", "\x16\x03\x01\x02\x00\x01\x00", "GET", "GET / HTTP/9.9\r\n\r\n",
	"CONNECT a HTTP/1.1\r\n\r\n", "CONNECT :0 HTTP/1.1\r\nHost: x\r\n\r\n", "GET http:// HTTP/1.1\r\nHost: \r\n\r\n",
	"POST http://b.bad.test/ HTTP/1.1\r\nHost: b.bad.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST http://b.bad.test/ HTTP/1.1\r\nHost: b.bad.test\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
	"GET /proxies HTTP/1.1\r\nHost: evil.test\r\n\r\n", "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"PUT /configs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
	"PUT /configs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{",
	"GET /connections HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
	"GET /traffic?token=soak HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n\r\n\r\n", "\x00\x0c\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00",
	"\x00\x02ab", "\xff\xff", "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
	"\x12\x34\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff",
}

func (s *soak) nonsense() []task {
	controller := strings.TrimPrefix(s.d.BaseURL, "http://")
	var tasks []task
	for _, addr := range []string{s.d.Mixed, controller, s.dns, s.extra} {
		tasks = append(tasks, every(40*time.Millisecond, func(ctx context.Context, n int) error { return s.babble(ctx, "tcp", addr, n) }))
	}
	for _, addr := range []string{s.d.Mixed, s.dns} {
		tasks = append(tasks, every(20*time.Millisecond, func(ctx context.Context, n int) error { return s.babble(ctx, "udp", addr, n) }))
	}
	return tasks
}

// babble says something to a port, which need not be open now, and leaves in one of the ways there are.
func (s *soak) babble(ctx context.Context, network, addr string, n int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		if addr == s.extra {
			return nil
		}
		return err
	}
	defer c.Close()
	s.done.nonsense.Add(1)
	text := []byte(words[n%len(words)])
	switch n % 7 {
	case 3: // with some bits changed
		for range 1 + len(text)/10 {
			if len(text) > 0 {
				text[rand.IntN(len(text))] ^= byte(1 << rand.IntN(8))
			}
		}
	case 5: // too much of it
		text = append(text, strings.Repeat("A", 70_000)...)
	case 6:
		for range 300 {
			text = append(text, byte(rand.Uint32()))
		}
	}
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = c.Write(text) // it may be closed already
	if n%3 > 0 {
		_, _ = c.Read(make([]byte, 4096))
	}
	if t, ok := c.(*net.TCPConn); ok && n%3 == 2 {
		_ = t.SetLinger(0)
	}
	return nil
}
