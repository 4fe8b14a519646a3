//go:build linux

package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// signalHere sends this thread a signal, which is delivered before it returns.
func signalHere(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestStops: a signal that comes just before nobody hears any more is not lost.
func TestStops(t *testing.T) {
	for range 500 {
		s := newStops(t.Context())
		if s.deaf() {
			t.Fatal("nobody has sent a signal")
		}
		s.hear()
		signalHere(t)
		if !s.deaf() || s.Err() == nil {
			t.Fatal("a signal was lost")
		}
	}
	s := newStops(t.Context())
	signalHere(t)
	<-s.Done()
	if !s.deaf() {
		t.Error("a signal was lost")
	}
}
