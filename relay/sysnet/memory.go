package sysnet

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// MemoryInUse is the resident memory of this process in bytes, or what the Go runtime holds where
// the system does not tell.
func MemoryInUse() int64 {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := bytes.Fields(b); len(f) > 1 {
			if pages, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

// OpenFiles is how many descriptors this process has open; ok is false where the system does not tell.
func OpenFiles() (n int, ok bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err == nil // d itself is one of them
}
