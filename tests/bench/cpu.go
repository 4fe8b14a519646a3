//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process and its descendants use at one moment.
type usage struct {
	cpu time.Duration // since each of them started
	rss int64         // resident bytes
	fds int           // open descriptors
}

// usageOf sums over the tree below pid. A descendant that ended before is not counted: the peers
// that we run have none that end while we measure.
func usageOf(pid int) (usage, error) {
	var u usage
	for _, p := range tree(pid) {
		cpu, err := cpuTime(p)
		if err != nil {
			return usage{}, err
		}
		rss, err := resident(p)
		if err != nil {
			return usage{}, err
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p))
		if err != nil {
			return usage{}, err
		}
		u.cpu += cpu
		u.rss += rss
		u.fds += len(fds)
	}
	return u, nil
}

// cpuTime returns the CPU time of all threads of pid in nanoseconds, where /proc/PID/stat would
// only have ticks of 10 ms. The clock is the one that clock_getcpuclockid(3) computes: the
// complement of pid, and 2 for "as scheduled", for a whole process.
func cpuTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// resident reads smaps_rollup, which is exact; VmRSS lags behind by some pages per thread.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "Rss:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("smaps_rollup of process %d has no Rss", pid)
}

// tree returns pid and its descendants, 1,000 at most.
func tree(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < 1000; i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, f := range files {
			b, _ := os.ReadFile(f) // a thread may have ended meanwhile
			for field := range strings.FieldsSeq(string(b)) {
				if child, err := strconv.Atoi(field); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}
