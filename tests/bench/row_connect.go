//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// connectRows open a connection, move 100 bytes each way and close it.
func connectRows(p plan) []row {
	one := func(title string, doors ...kind) row {
		return row{
			Group: "connect",
			Title: title,
			Doors: doors,
			Job:   job{Load: "connect", Window: p.Window, Max: 100_000, Conns: 16, Size: 100},
			Metrics: []metric{
				{Unit: "CPU µs", Of: cpuMicros},
				{Unit: "per second", More: true, Of: perSecond},
				{Unit: "p50 ms", Of: p50},
				{Unit: "p99 ms", Of: p99},
			},
		}
	}
	if p.Rules {
		return []row{one("new connection behind rules, SOCKS5 by name, 100 B each way", viaName)}
	}
	return []row{
		one("new connection, SOCKS5 by IP, 100 B each way", viaSOCKS5, viaTCP),
		one("new connection, HTTP CONNECT, 100 B each way", viaCONNECT),
	}
}

// warmUp is how many units are done before the bench looks.
const warmUp = 200

// connect is the load "connect".
func connect(j job, g gate) error {
	for n := range int64(warmUp) {
		if _, err := exchange(j, -n); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	r := repeat(j, func(_ int, n int64) (int64, error) { return exchange(j, n) })
	return g.finish(r)
}

// exchange is one connection. Its bytes hold n, so that one that gets the answer of another is
// found out.
func exchange(j job, n int64) (int64, error) {
	c, err := j.Door.open()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return 2 * j.Size, ping(c, j.Size, n)
}

// ping sends size bytes that hold n and wants them back.
func ping(c net.Conn, size, n int64) error {
	ask := header(askEcho, size-headerSize)
	ask = binary.BigEndian.AppendUint64(ask, uint64(n))
	ask = append(ask, make([]byte, size-int64(len(ask)))...)
	if _, err := c.Write(ask); err != nil {
		return err
	}
	reply := make([]byte, size)
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if !bytes.Equal(ask, reply) {
		return errors.New("the echo is not what was sent")
	}
	return nil
}
