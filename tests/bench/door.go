//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// kind is a way through a proxy.
type kind string

const (
	viaTCP     kind = "tcp"     // a fixed relay to the origin, or no proxy at all
	viaSOCKS5  kind = "socks5"  // RFC 1928 without authentication, the origin by its address
	viaName    kind = "name"    // SOCKS5, the origin as localhost
	viaCONNECT kind = "connect" // a tunnel of HTTP
	viaProxy   kind = "proxy"   // plain HTTP, the request with an absolute URL
	viaReverse kind = "reverse" // plain HTTP, the proxy knows the origin
	viaDNS     kind = "dns"     // a name server that forwards to the origin
	viaFakeIP  kind = "fake-ip" // a name server that gives fake addresses
	viaAPI     kind = "api"     // the controller
)

// door is a way through one proxy to the origin.
type door struct {
	Kind   kind           `json:"kind"`
	Addr   netip.AddrPort `json:"addr"`  // where to connect to
	Proxy  netip.AddrPort `json:"proxy"` // beside it, SOCKS5 of the same peer
	Origin addrs          `json:"origin"`
}

// unitLimit bounds one unit of work, so that a proxy that hangs is an error.
const unitLimit = 15 * time.Second

// open connects and, for the tunnels, asks for the origin. Its connections are bounded in time.
func (d door) open() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", d.Addr.String(), unitLimit)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		c.Close()
		return nil, err
	}
	switch d.Kind {
	case viaSOCKS5:
		ip := d.Origin.TCP.Addr().As4()
		err = askSOCKS5(c, append([]byte{1}, ip[:]...), d.Origin.TCP.Port())
	case viaName:
		err = askSOCKS5(c, []byte("\x03\x09localhost"), d.Origin.TCP.Port())
	case viaCONNECT:
		err = askCONNECT(c, d.Origin.TCP)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", d.Kind, err)
	}
	return c, nil
}

// askSOCKS5 greets, waits and asks, as most clients do. host is an address of RFC 1928, section 5.
func askSOCKS5(c net.Conn, host []byte, port uint16) error {
	var b [10]byte
	if _, err := c.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] != 0 {
		return fmt.Errorf("greeting answered with % x", b[:2])
	}
	ask := append([]byte{5, 1, 0}, host...)
	if _, err := c.Write(append(ask, byte(port>>8), byte(port))); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if b[0] != 5 || b[1] != 0 || b[3] != 1 {
		return fmt.Errorf("request answered with % x", b)
	}
	return nil
}

func askCONNECT(c net.Conn, to netip.AddrPort) error {
	ask := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", to)
	if _, err := io.WriteString(c, ask); err != nil {
		return err
	}
	var reply [2048]byte
	n := 0
	for !bytes.HasSuffix(reply[:n], []byte("\r\n\r\n")) {
		if n == len(reply) {
			return fmt.Errorf("answer of more than %d bytes", n)
		}
		k, err := c.Read(reply[n:])
		n += k
		if err != nil {
			return fmt.Errorf("answer ends after %d bytes: %w", n, err)
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(reply[:n])), &http.Request{
		Method: http.MethodConnect,
	})
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", r.Status)
	}
	return nil
}
