//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// job is what a load process does. It travels to it as JSON on its standard input.
type job struct {
	Load   string        `json:"load"` // a name of loadNamed
	Door   door          `json:"door"`
	Window time.Duration `json:"window_ns"` // no unit of work starts later than this
	Max    int           `json:"max"`       // nor are there more than these
	Conns  int           `json:"conns"`     // how many work at the same time
	Size   int64         `json:"size"`      // bytes of a unit, where the load has such
	Path   string        `json:"path,omitempty"`
	Flows  int           `json:"flows,omitempty"` // are held open meanwhile
}

// result is what a load process did. A unit that went wrong is an error, and not a unit.
type result struct {
	Units   int64         `json:"units"`
	Bytes   int64         `json:"bytes"`
	Elapsed time.Duration `json:"elapsed_ns"`
	P50     time.Duration `json:"p50_ns"` // of the units
	P99     time.Duration `json:"p99_ns"`
	Errors  int64         `json:"errors"`
	First   string        `json:"first_error,omitempty"`
}

// A load does one job: it prepares, waits at the gate, works, and finishes. What it holds open
// stays so until finish returns.
type load func(j job, g gate) error

func loadNamed(name string) (load, error) {
	switch name {
	case "down", "up":
		return bulk, nil
	case "connect":
		return connect, nil
	case "http":
		return get, nil
	case "idle":
		return idle, nil
	case "dns":
		return askNames, nil
	case "api":
		return apiLoad, nil
	case "stream":
		return streamLoad, nil
	}
	return nil, fmt.Errorf("unknown load %q", name)
}

// A gate lets the bench look at the proxy right before the work and right after it.
type gate struct {
	start  func() error       // blocks until the bench has looked
	finish func(result) error // hands over the result, blocks until the bench has looked again
}

// loadMain is the load process.
func loadMain() error {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(line, &j); err != nil {
		return err
	}
	do, err := loadNamed(j.Load)
	if err != nil {
		return err
	}
	wait := func(v any) error { // the bench answers each line with one, or with the end
		if err := out.Encode(v); err != nil {
			return err
		}
		if _, err := in.ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}
	return do(j, gate{
		start:  func() error { return wait("ready") },
		finish: func(r result) error { return wait(r) },
	})
}

// unit does one unit of work on behalf of worker and returns its bytes. n counts the units of
// all workers.
type unit func(worker int, n int64) (int64, error)

// errorLimit ends a worker whose units keep failing.
const errorLimit = 5

// repeat has j.Conns workers do units until the window is over or j.Max have started.
func repeat(j job, do unit) result {
	var started, failed, moved atomic.Int64
	var first atomic.Pointer[string]
	var all sync.WaitGroup
	times := make([][]time.Duration, j.Conns)
	begin := time.Now()
	for w := range j.Conns {
		all.Go(func() {
			for errs := 0; errs < errorLimit; {
				now := time.Now()
				n := started.Add(1)
				if n > int64(j.Max) || now.Sub(begin) > j.Window {
					return
				}
				k, err := do(w, n)
				if err != nil {
					errs++
					failed.Add(1)
					text := err.Error()
					first.CompareAndSwap(nil, &text)
					continue
				}
				moved.Add(k)
				times[w] = append(times[w], time.Since(now))
			}
		})
	}
	all.Wait()
	r := result{Elapsed: time.Since(begin), Bytes: moved.Load(), Errors: failed.Load()}
	if text := first.Load(); text != nil {
		r.First = *text
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	r.Units = int64(len(sorted))
	if n := len(sorted); n > 0 {
		r.P50, r.P99 = sorted[n/2], sorted[n*99/100]
	}
	return r
}
