package sysnet

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// TestMutedListenerTakesNobody: clients of an address are served while another listener of ours comes on it, and
// goes without having accepted.
func TestMutedListenerTakesNobody(t *testing.T) {
	leak.Check(t)
	serves, err := ListenTCP("127.0.0.1:0", Options{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := serves.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	})
	addr := serves.Addr().String()
	other, err := ListenTCP(addr, Options{ReusePort: true, Muted: true})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			c, err := net.DialTimeout("tcp", addr, 10*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	_ = other.Close()
	clients.Wait()
	heard, err := ListenTCP(addr, Options{ReusePort: true, Muted: true})
	if err != nil {
		t.Fatal(err)
	}
	heard.Unmute()
	_ = serves.Close()
	all.Wait()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = heard.Close()
}
