//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// bulkRows move blocks one after the other over tunnels that are already open, so that every
// byte is accounted for when the work ends. CPU per byte is what they compare.
func bulkRows(p plan) []row {
	one := func(title, load string, conns int, size int64) row {
		return row{
			Group: "bulk",
			Title: title,
			Doors: []kind{viaSOCKS5, viaTCP, viaCONNECT},
			Job:   job{Load: load, Window: p.Window, Max: 10_000, Conns: conns, Size: size},
			Metrics: []metric{
				{Unit: "CPU s/GB", Of: cpuPerGB},
				{Unit: "GB/s", More: true, Of: gbPerSecond},
			},
		}
	}
	return []row{
		one("TCP bulk down, 1 tunnel", "down", 1, 128<<20),
		one("TCP bulk up, 1 tunnel", "up", 1, 128<<20),
		one("TCP bulk down, 64 tunnels", "down", 64, 8<<20),
		one("TCP bulk up, 64 tunnels", "up", 64, 8<<20),
	}
}

func cpuPerGB(s sample) float64 { return per(s.CPU.Seconds()*1e9, s.Bytes) }

func gbPerSecond(s sample) float64 { return per(float64(s.Bytes)/1e9, s.Elapsed.Seconds()) }

// bulk is the load "down" and "up". A tunnel whose block went wrong is not used again.
func bulk(j job, g gate) error {
	p := newPattern()
	conns := make([]net.Conn, j.Conns)
	bufs := make([][]byte, j.Conns)
	for i := range conns {
		c, err := j.Door.open()
		if err != nil {
			return err
		}
		defer c.Close()
		conns[i], bufs[i] = c, make([]byte, chunk)
	}
	block := func(w int, size int64) (int64, error) {
		c := conns[w]
		if err := c.SetDeadline(time.Now().Add(unitLimit)); err != nil {
			return 0, err
		}
		var err error
		if j.Load == "up" {
			err = blockUp(c, p, size)
		} else {
			err = blockDown(c, p, size, bufs[w])
		}
		if err != nil {
			c.Close() // the next unit of this worker fails too
		}
		return size, err
	}
	for w := range conns { // every tunnel has been in use: pipes and buffers are warm
		if _, err := block(w, 1<<20); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	r := repeat(j, func(w int, _ int64) (int64, error) { return block(w, j.Size) })
	return g.finish(r)
}

func blockDown(c net.Conn, p pattern, size int64, buf []byte) error {
	if _, err := c.Write(header(askDown, size)); err != nil {
		return err
	}
	return p.receive(c, size, buf)
}

func blockUp(c net.Conn, p pattern, size int64) error {
	if _, err := c.Write(header(askUp, size)); err != nil {
		return err
	}
	if err := p.send(c, size); err != nil {
		return err
	}
	var reply [8]byte
	if _, err := io.ReadFull(c, reply[:]); err != nil {
		return err
	}
	if got := int64(binary.BigEndian.Uint64(reply[:])); got != size {
		return fmt.Errorf("the origin acknowledged %d of %d bytes", got, size)
	}
	return nil
}
