//go:build linux

package soak

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// patience is how long anything may take: everything is on one machine, which is busy.
const patience = 20 * time.Second

// ways are names whose flows go in different ways. Where may is there, a switch may end them.
var ways = []struct {
	name string
	may  bool
}{
	{"a.direct.test", false},
	{"a.kept.test", false},
	{"a.switched.test", true},
	{"a.drained.test", true},
	{"a.auto.test", true},
	{"a.spread.test", true},
}

func (s *soak) traffic() []task {
	tasks := times(4, every(20*time.Millisecond, s.tunnel))
	tasks = append(tasks, s.staying("a.direct.test"), s.staying("a.kept.test"))
	tasks = append(tasks, s.leaving("a.switched.test"), s.leaving("a.drained.test"))
	tasks = append(tasks, times(2, every(20*time.Millisecond, s.request()))...)
	return append(tasks, s.datagrams)
}

// dial opens a tunnel to the echo server under a name, by SOCKS or CONNECT.
func (s *soak) dial(ctx context.Context, byHTTP bool, host string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.d.Mixed)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	ask, want := []byte("\x05\x01\x00"), "\x05\x00"
	if byHTTP {
		ask = fmt.Appendf(nil, "CONNECT %s:%d HTTP/1.1\r\nHost: %[1]s\r\n\r\n", host, s.o.echo)
		want = "HTTP/1.1 200 Connection established\r\n\r\n"
	}
	err = exchange(c, ask, want)
	if err == nil && !byHTTP {
		a := flow.Addr{Port: s.o.echo}
		if a.IP, err = netip.ParseAddr(host); err != nil {
			a.Host = host
		}
		err = exchange(c, socks.AppendAddr([]byte("\x05\x01\x00"), a), "\x05\x00\x00")
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 7)) // an address of four bytes
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open %s: %w", host, err)
	}
	return c, nil
}

// exchange sends ask and wants exactly want.
func exchange(c net.Conn, ask []byte, want string) error {
	if _, err := c.Write(ask); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		return fmt.Errorf("answered %q, %w", got[:n], err)
	}
	return nil
}

// errWrong is that bytes came back that were not sent.
var errWrong = errors.New("the echo is not what was sent")

// trip sends size random bytes and wants them back.
func trip(c net.Conn, size int) error {
	sent := make([]byte, size)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rand.Uint64())
	_, _ = rand.NewChaCha8(seed).Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		wrote <- err
	}()
	got := make([]byte, size)
	n, err := io.ReadFull(c, got)
	if err != nil {
		_ = c.Close() // the other half would wait
	}
	err = errors.Join(err, <-wrote)
	if !bytes.Equal(got[:n], sent[:n]) {
		return errWrong
	}
	return err
}

// tunnel opens one, moves something and closes it in one of the ways that clients have.
func (s *soak) tunnel(ctx context.Context, n int) error {
	way := ways[rand.IntN(len(ways))]
	c, err := s.dial(ctx, n%2 == 0, way.name)
	if err == nil {
		defer c.Close()
		size := 1 + rand.IntN(4<<10)
		if n%16 == 0 {
			size = 1 << 20 // splice
		}
		err = trip(c, size)
	}
	s.done.tunnels.Add(1)
	if err != nil && way.may && !errors.Is(err, errWrong) {
		s.done.cut.Add(1)
		return nil
	}
	if err != nil {
		return fmt.Errorf("tunnel to %s: %w", way.name, err)
	}
	switch n % 3 {
	case 0: // half closed: the echo comes to its end
		_ = c.(*net.TCPConn).CloseWrite()
		if rest, err := io.ReadAll(c); (err != nil || len(rest) > 0) && !way.may {
			return fmt.Errorf("tunnel to %s: %d bytes behind the end, %w", way.name, len(rest), err)
		}
	case 1:
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

// staying keeps one tunnel for the whole run, over all changes.
func (s *soak) staying(host string) task {
	return func(ctx context.Context) error {
		c, err := s.dial(ctx, true, host)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer c.Close()
		return every(100*time.Millisecond, func(context.Context, int) error {
			_ = c.SetDeadline(time.Now().Add(patience))
			if err := trip(c, 100); err != nil {
				return fmt.Errorf("the tunnel to %s that was to stay: %w", host, err)
			}
			s.done.kept.Add(1)
			return nil
		})(ctx)
	}
}

// leaving uses tunnels until the daemon ends them, because their group goes another way.
func (s *soak) leaving(host string) task {
	return every(50*time.Millisecond, func(ctx context.Context, _ int) error {
		c, err := s.dial(ctx, false, host)
		if err != nil {
			return err
		}
		defer c.Close()
		for ctx.Err() == nil {
			_ = c.SetDeadline(time.Now().Add(patience))
			switch err := trip(c, 100); {
			case errors.Is(err, errWrong), errors.Is(err, os.ErrDeadlineExceeded):
				return fmt.Errorf("a tunnel to %s: %w", host, err)
			case err != nil:
				s.done.cut.Add(1)
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
}

// request sends plain HTTP requests through the mixed port over connections that are kept.
func (s *soak) request() func(context.Context, int) error {
	proxy := &url.URL{Scheme: "http", Host: s.d.Mixed}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy), IdleConnTimeout: time.Second}
	web, _ := url.Parse(s.o.web)
	hosts := []string{"b.direct.test", "b.kept.test", "b.bad.test"}
	c := &http.Client{Transport: tr, Timeout: patience}
	return func(ctx context.Context, n int) error {
		body := bytes.Repeat([]byte{byte(n)}, rand.IntN(8<<10))
		host := hosts[n%len(hosts)]
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+":"+web.Port()+"/echo", bytes.NewReader(body))
		if err != nil {
			return err
		}
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		s.done.requests.Add(1)
		switch {
		case err != nil:
			return err
		case host == "b.bad.test" && res.StatusCode == http.StatusForbidden:
			return nil
		case res.StatusCode != http.StatusOK || !bytes.Equal(got, body):
			return fmt.Errorf("POST to %s: %s, %d bytes of %d", host, res.Status, len(got), len(body))
		}
		return nil
	}
}

// datagrams sends datagrams by SOCKS, and has a new association every hundred.
func (s *soak) datagrams(ctx context.Context) error {
	return every(200*time.Millisecond, func(ctx context.Context, n int) error {
		var d net.Dialer
		control, err := d.DialContext(ctx, "tcp", s.d.Mixed)
		if err != nil {
			return err
		}
		defer control.Close()
		_ = control.SetDeadline(time.Now().Add(patience))
		if err := exchange(control, []byte("\x05\x01\x00"), "\x05\x00"); err != nil {
			return err
		}
		if err := exchange(control, socks.AppendAddr([]byte("\x05\x03\x00"), flow.Addr{IP: netip.IPv4Unspecified()}), "\x05\x00\x00\x01"); err != nil {
			return fmt.Errorf("UDP ASSOCIATE: %w", err)
		}
		var at [6]byte
		if _, err := io.ReadFull(control, at[:]); err != nil {
			return err
		}
		relay := netip.AddrPortFrom(netip.AddrFrom4([4]byte(at[:4])), uint16(at[4])<<8|uint16(at[5]))
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range 100 {
			if ctx.Err() != nil {
				return nil
			}
			if err := s.datagram(c, fmt.Sprint(n, " ", i)); err != nil {
				return err
			}
		}
		return nil
	})(ctx)
}

// datagram wants one back, or nothing.
func (s *soak) datagram(c *net.UDPConn, text string) error {
	to := flow.Addr{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: s.o.echo}
	if _, err := c.Write(append(socks.AppendDatagram(nil, to), text...)); err != nil {
		return err
	}
	s.done.datagrams.Add(1)
	b := make([]byte, 2048)
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	for {
		n, err := c.Read(b)
		if err != nil { // it is lost
			return nil
		}
		from, head, err := socks.ParseDatagram(b[:n])
		if err != nil || from != to {
			return fmt.Errorf("a datagram %q from %v: %w", b[:n], from, err)
		}
		if string(b[head:n]) == text {
			s.done.answers.Add(1)
			return nil
		} // a late one
	}
}
