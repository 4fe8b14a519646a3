//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// apiReaders is how many watch at once; the API lets 256 in.
const apiReaders = 200

// streamRows watch over WebSockets, each of which has a message every second; where there is one reader it has
// ten, so that there are enough.
func streamRows(p plan) []row {
	one := func(title, path, goal string, readers, flows int) row {
		messages := max(2, int(p.Window/time.Second))
		if readers == 1 {
			path, messages = path+"?interval=100", 10*messages
		}
		return row{
			Group: "api",
			Title: title,
			Doors: []kind{viaAPI},
			API:   true,
			Once:  p.Quick,
			Job:   job{Load: "stream", Max: messages, Conns: readers, Path: path, Flows: flows},
			Metrics: []metric{
				{Unit: "CPU µs/message", Goal: goal, Of: cpuMicros},
				{Unit: "CPU ms/s", Of: func(s sample) float64 { return per(float64(s.CPU)/1e6, s.Elapsed.Seconds()) }},
				{Unit: "encodings/s", Of: func(s sample) float64 { return per(float64(s.Encodes), s.Elapsed.Seconds()) }},
				{Unit: "KB", Of: func(s sample) float64 { return per(float64(s.Bytes)/1e3, s.Units) }},
				{Unit: "MB RSS in all", Of: func(s sample) float64 { return float64(s.Resident) / 1e6 }},
			},
		}
	}
	flows := idleTunnels()
	live := fmt.Sprintf("%d live", flows)
	return []row{
		one("WebSocket /connections, 1 reader, "+live, "/connections", "≤ 900", 1, flows),
		one(fmt.Sprintf("WebSocket /connections, %d readers, %s", apiReaders, live), "/connections", "≤ 100", apiReaders, flows),
		one(fmt.Sprintf("WebSocket /traffic, %d readers", apiReaders), "/traffic", "", apiReaders, 0),
	}
}

// streamLoad is the load "stream". Its unit is a message, of which each reader takes j.Max.
func streamLoad(j job, g gate) error {
	drop, err := j.holdFlows()
	defer drop()
	if err != nil {
		return err
	}
	readers := make([]*apiClient, j.Conns)
	for i := range readers {
		c, err := dialAPI(j.Door.Addr.String())
		if err != nil {
			return err
		}
		defer c.c.Close()
		if err := c.upgrade(j.Path); err != nil {
			return err
		}
		readers[i] = c
	}
	// each has every reader take n messages.
	each := func(n int) (bytes int64, err error) {
		var all sync.WaitGroup
		var sum atomic.Int64
		errs := make([]error, len(readers))
		for i, c := range readers {
			all.Go(func() {
				for range n {
					k, err := c.message()
					if err != nil {
						errs[i] = err
						return
					}
					sum.Add(k)
				}
			})
		}
		all.Wait()
		return sum.Load(), errors.Join(errs...)
	}
	if _, err := each(2); err != nil { // the first message comes at once, the second with all others
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	begin := time.Now()
	bytes, err := each(j.Max)
	if err != nil {
		return err
	}
	// The time begins with the messages before, and ends with the last ones.
	return g.finish(result{Units: int64(j.Max * j.Conns), Bytes: bytes, Elapsed: time.Since(begin).Round(100 * time.Millisecond)})
}

// upgrade asks for a WebSocket.
func (c *apiClient) upgrade(path string) error {
	if err := c.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.c, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path); err != nil {
		return err
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("%s answered %s", path, r.Status)
	}
	return nil
}

// message takes a message of one frame (RFC 6455, section 5.2), and returns its length.
func (c *apiClient) message() (int64, error) {
	if err := c.c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
		return 0, err
	}
	var head [10]byte
	if _, err := io.ReadFull(c.r, head[:2]); err != nil {
		return 0, err
	}
	const text, whole = 1, 0x80
	if head[0] != whole|text {
		return 0, fmt.Errorf("a frame that begins with %#x", head[:2])
	}
	n := int64(head[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(c.r, head[8:]); err != nil {
			return 0, err
		}
		n = int64(binary.BigEndian.Uint16(head[8:]))
	case 127:
		if _, err := io.ReadFull(c.r, head[2:]); err != nil {
			return 0, err
		}
		n = int64(binary.BigEndian.Uint64(head[2:]))
	}
	_, err := io.CopyN(io.Discard, c.r, n)
	return n, err
}
