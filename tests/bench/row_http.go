//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// httpRows send plain HTTP requests over connections that are kept open.
func httpRows(p plan) []row {
	one := func(title string, size int64) row {
		return row{
			Group: "http",
			Title: title,
			Doors: []kind{viaProxy, viaReverse},
			Job:   job{Load: "http", Window: p.Window, Max: 500_000, Conns: 16, Size: size},
			Metrics: []metric{
				{Unit: "CPU µs/request", Of: cpuMicros},
				{Unit: "requests/s", More: true, Of: perSecond},
				{Unit: "p50 ms", Of: p50},
				{Unit: "p99 ms", Of: p99},
			},
		}
	}
	return []row{
		one("plain HTTP GET, keep-alive, 1 KB", 1<<10),
		one("plain HTTP GET, keep-alive, 64 KB", 64<<10),
	}
}

// get is the load "http". Answers are read by net/http, which costs the load process a little
// and takes every form of an answer that HTTP has.
func get(j job, g gate) error {
	ask := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n", j.Size, j.Door.Origin.HTTP)
	if j.Door.Kind == viaProxy {
		ask = fmt.Appendf(nil, "GET http://%s/%d HTTP/1.1\r\nHost: %[1]s\r\n\r\n",
			j.Door.Origin.HTTP, j.Size)
	}
	want := newPattern().at(0, j.Size)
	clients := make([]*client, j.Conns)
	for w := range clients {
		c, err := j.Door.open()
		if err != nil {
			return err
		}
		defer c.Close()
		clients[w] = &client{c: c, r: bufio.NewReaderSize(c, 80<<10), body: make([]byte, j.Size)}
	}
	one := func(w int, _ int64) (int64, error) { return j.Size, clients[w].get(ask, want) }
	for n := range warmUp {
		if _, err := one(n%len(clients), 0); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	return g.finish(repeat(j, one))
}

// client is one connection that is kept open.
type client struct {
	c    net.Conn
	r    *bufio.Reader
	body []byte
}

// get sends ask and wants 200 with exactly the body want.
func (c *client) get(ask, want []byte) error {
	if err := c.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return err
	}
	if _, err := c.c.Write(ask); err != nil {
		return err
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", r.Status)
	}
	if _, err := io.ReadFull(r.Body, c.body); err != nil {
		return err
	}
	if n, err := r.Body.Read(c.body[:0:1]); n > 0 || (err != nil && err != io.EOF) {
		return fmt.Errorf("after the body: %d bytes, %w", n, err)
	}
	if !bytes.Equal(c.body, want) {
		return fmt.Errorf("wrong body")
	}
	return nil
}
