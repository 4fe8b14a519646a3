//go:build linux

package main

import (
	"net"
	"time"
)

// idleRows hold tunnels open that have moved 100 bytes each way, and are quiet since.
func idleRows(plan) []row {
	n := idleTunnels()
	return []row{{
		Group: "idle",
		Title: "idle tunnel",
		Doors: []kind{viaSOCKS5, viaTCP, viaCONNECT},
		Job:   job{Load: "idle", Window: 10 * time.Second, Max: n, Conns: 8, Size: 100},
		Metrics: []metric{
			{Unit: "KB RSS", Of: func(s sample) float64 { return per(float64(s.RSS)/1024, s.Units) }},
			{Unit: "descriptors", Of: func(s sample) float64 { return per(float64(s.FDs), s.Units) }},
		},
	}}
}

// settle is how long tunnels are quiet before the bench looks: time for a daemon to notice.
const settle = time.Second

// idle is the load "idle".
func idle(j job, g gate) error {
	for n := range int64(warmUp) { // what a first connection allocates is no tunnel's
		if _, err := exchange(j, -n); err != nil {
			return err
		}
	}
	if err := g.start(); err != nil {
		return err
	}
	held := make([]net.Conn, j.Max+1)
	defer func() {
		for _, c := range held {
			if c != nil {
				c.Close()
			}
		}
	}()
	r := repeat(j, func(_ int, n int64) (int64, error) {
		c, err := j.Door.open()
		if err != nil {
			return 0, err
		}
		held[n] = c
		return 2 * j.Size, ping(c, j.Size, n)
	})
	time.Sleep(settle)
	return g.finish(r)
}
