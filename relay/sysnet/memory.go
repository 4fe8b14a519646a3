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
