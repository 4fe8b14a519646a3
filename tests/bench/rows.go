//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A row is one kind of work, measured through every peer that has a door for it.
type row struct {
	Group   string // what -only selects
	Title   string
	Doors   []kind // in order of preference: the first that a peer has is used
	API     bool   // Switchyard has much to tell of
	Once    bool   // in the first round only
	DNS     kind   // viaDNS or viaFakeIP: Switchyard has DNS too, and answers in this way
	Job     job    // what the load process does; its Door is filled in for each peer
	Metrics []metric
}

// A metric is one line of the table.
type metric struct {
	Unit string
	More bool   // more is better
	Goal string // what Switchyard should reach
	Of   func(sample) float64
}

// rows returns all of them, in the order of the table.
func rows(p plan) []row {
	if p.Rules {
		return connectRows(p)
	}
	return slices.Concat(bulkRows(p), connectRows(p), httpRows(p), idleRows(p), dnsRows(p), apiRows(p))
}

func groups(all []row) []string {
	var names []string
	for _, r := range all {
		if !slices.Contains(names, r.Group) {
			names = append(names, r.Group)
		}
	}
	return names
}

// choose returns the rows of the groups in only, or all when it is empty.
func choose(all []row, only string) ([]row, error) {
	if only == "" {
		return all, nil
	}
	known := groups(all)
	var chosen []row
	for name := range strings.SplitSeq(only, ",") {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("-only %s: want some of %s", name, strings.Join(known, ","))
		}
	}
	for _, r := range all {
		if slices.Contains(strings.Split(only, ","), r.Group) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

// idleTunnels returns how many tunnels to hold open: a peer may need six descriptors for each.
func idleTunnels() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 100
	}
	return int(min(2000, max(l.Cur, 1000)-400) / 6 * 6)
}

func cpuMicros(s sample) float64 { return per(float64(s.CPU)/1e3, s.Units) }

func perSecond(s sample) float64 { return per(float64(s.Units), s.Elapsed.Seconds()) }

func p50(s sample) float64 { return float64(s.P50) / float64(time.Millisecond) }

func p99(s sample) float64 { return float64(s.P99) / float64(time.Millisecond) }

// per divides, and is 0 where nothing was done.
func per[N int | int64 | float64](x float64, n N) float64 {
	if n == 0 {
		return 0
	}
	return x / float64(n)
}
