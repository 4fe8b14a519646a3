package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// socksPeer is a SOCKS5 server that remembers who asked for what. Whoever gives a name gives any password.
type socksPeer struct {
	port  string
	serve func(c net.Conn, user, target string) // owns nothing; nil connects to the target

	mu    sync.Mutex
	asked []string // user@target; user may be ""
}

// startSocks serves on loopback until the test ends, and then waits for all connections to end.
func startSocks(t *testing.T, serve func(c net.Conn, user, target string)) *socksPeer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &socksPeer{serve: serve}
	_, p.port, _ = net.SplitHostPort(ln.Addr().String())
	var live sync.WaitGroup
	live.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			live.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				p.handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		live.Wait()
	})
	return p
}

func (p *socksPeer) handle(c net.Conn) {
	user, target, err := greet(c)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, user+"@"+target)
	p.mu.Unlock()
	var out net.Conn
	if p.serve == nil {
		if out, err = net.Dial("tcp", target); err != nil {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		defer out.Close()
	}
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return
	}
	if p.serve != nil {
		p.serve(c, user, target)
		return
	}
	go func() { _, _ = io.Copy(out, c); _ = out.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(c, out)
}

// greet reads what a client of SOCKS5 says (RFC 1928, RFC 1929).
func greet(c net.Conn) (user, target string, err error) {
	b := make([]byte, 512)
	read := func(n int) []byte {
		if err == nil {
			_, err = io.ReadFull(c, b[:n])
		}
		return b[:n]
	}
	methods := slices.Clone(read(int(read(2)[1])))
	if err != nil {
		return "", "", err
	}
	if slices.Contains(methods, 2) {
		_, _ = c.Write([]byte{5, 2})
		user = string(read(int(read(2)[1])))
		read(int(read(1)[0]))
		_, _ = c.Write([]byte{1, 0})
	} else {
		_, _ = c.Write([]byte{5, 0})
	}
	var host string
	switch head := read(4); head[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 4:
		host = net.IP(read(16)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	default:
		err = errors.Join(err, fmt.Errorf("address type %d", head[3]))
	}
	port := binary.BigEndian.Uint16(read(2))
	return user, net.JoinHostPort(host, strconv.Itoa(int(port))), err
}

// requests are those so far.
func (p *socksPeer) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}
