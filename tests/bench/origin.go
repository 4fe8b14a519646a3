//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// addrs is where the origin listens.
type addrs struct {
	TCP  netip.AddrPort `json:"tcp"`  // speaks the protocol of payload.go
	HTTP netip.AddrPort `json:"http"` // GET /N answers N bytes of the pattern
	DNS  netip.AddrPort `json:"dns"`  // every name has the address namesAddr, over UDP and TCP
}

// origin is the process behind all proxies.
type origin struct {
	addrs addrs
	cmd   *exec.Cmd
	stdin io.Closer
}

// startOrigin starts it and waits for its addresses. It ends when its standard input does.
func startOrigin(ctx context.Context) (*origin, error) {
	cmd, err := self(ctx, "origin")
	if err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start origin: %w", err)
	}
	o := &origin{cmd: cmd, stdin: stdin}
	if err := json.NewDecoder(stdout).Decode(&o.addrs); err != nil {
		o.stop()
		return nil, fmt.Errorf("start origin: %w", err)
	}
	return o, nil
}

func (o *origin) stop() {
	o.stdin.Close()
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait() // it was killed: there is nothing to learn
}

// originMain is the origin process.
func originMain() error {
	a, closeAll, err := serveOrigin()
	if err != nil {
		return err
	}
	defer closeAll()
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveOrigin listens and serves until closeAll is called.
func serveOrigin() (a addrs, closeAll func(), err error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return addrs{}, nil, err
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tcp.Close()
		return addrs{}, nil, err
	}
	names, closeNames, err := serveNames()
	if err != nil {
		tcp.Close()
		web.Close()
		return addrs{}, nil, err
	}
	p := newPattern()
	go acceptAll(tcp, func(c net.Conn) { serveStream(c, p) })
	go acceptAll(web, func(c net.Conn) { serveHTTP(c, p) })
	a = addrs{TCP: addrOf(tcp), HTTP: addrOf(web), DNS: names}
	return a, func() { tcp.Close(); web.Close(); closeNames() }, nil
}

func addrOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// acceptAll gives each connection to serve, on a goroutine of its own, and closes it after that.
func acceptAll(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute)) // no measurement is so long
			serve(c)
		}()
	}
}

// serveStream answers requests until one of them is wrong or the client ends. What the client
// misses it counts as an error.
func serveStream(c net.Conn, p pattern) {
	var buf []byte // most streams are short: the large ones ask for a buffer
	head := make([]byte, headerSize, 256)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		var err error
		n := int64(binary.BigEndian.Uint64(head[1:]))
		switch head[0] {
		case askDown:
			err = p.send(c, n)
		case askUp:
			if buf == nil {
				buf = make([]byte, chunk)
			}
			if err = p.receive(c, n, buf); err == nil {
				_, err = c.Write(head[1:])
			}
		case askEcho:
			err = echo(c, head, n)
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func echo(c net.Conn, head []byte, n int64) error {
	if n < 0 || n > echoLimit {
		return fmt.Errorf("echo of %d bytes", n)
	}
	whole := append(head, make([]byte, n)...)
	if _, err := io.ReadFull(c, whole[headerSize:]); err != nil {
		return err
	}
	_, err := c.Write(whole)
	return err
}

// serveHTTP answers each GET /N with N bytes, head and body in one write.
func serveHTTP(c net.Conn, p pattern) {
	r := bufio.NewReader(c)
	var reply bytes.Buffer
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
		if err != nil || n < 0 || n > chunk || req.Method != http.MethodGet {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		reply.Reset()
		fmt.Fprintf(&reply, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"+
			"Content-Length: %d\r\n\r\n", n)
		reply.Write(p.at(0, int64(n)))
		if _, err := c.Write(reply.Bytes()); err != nil {
			return
		}
	}
}
