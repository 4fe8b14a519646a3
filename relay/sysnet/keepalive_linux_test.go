package sysnet

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keepAlive reads whether c sends keep-alives, after how many seconds, and how often.
func keepAlive(t *testing.T, c *TCPConn) (got [3]int) {
	t.Helper()
	err := onFD(c.Raw(), func(fd int) (err error) {
		for i, o := range [3][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		} {
			if got[i], err = unix.GetsockoptInt(fd, o[0], o[1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestKeepAlive reads the settings back from both ends of a connection.
func TestKeepAlive(t *testing.T) {
	f := func(k KeepAlive, want [3]int) {
		t.Helper()
		ln, err := ListenTCP("127.0.0.1:0", Options{KeepAlive: k})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		dialed, err := Dial(t.Context(), ln.AddrPort(), Options{KeepAlive: k})
		if err != nil {
			t.Fatal(err)
		}
		defer dialed.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		for _, c := range []*TCPConn{dialed, accepted} {
			if got := keepAlive(t, c); got != want && got[0]+want[0] > 0 { // off: the numbers do not matter
				t.Errorf("%+v: %v; want %v", k, got, want)
			}
		}
	}
	f(KeepAlive{}, [3]int{1, 15, 15})
	f(KeepAlive{Idle: 40 * time.Second, Interval: 7 * time.Second}, [3]int{1, 40, 7})
	f(KeepAlive{Off: true}, [3]int{})
}
