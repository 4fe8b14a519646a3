package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the clock by which systemd orders reloads.
func monotonic() (time.Duration, bool) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
