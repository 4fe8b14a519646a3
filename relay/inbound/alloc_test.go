//go:build !race

package inbound_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// TestPacketsAllocateNothing sends datagrams there and back: listener, rules passed, table, socket.
func TestPacketsAllocateNothing(t *testing.T) {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	target := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	_, c := start(t, nil).associate(t)
	msg := append(socks.AppendDatagram(nil, flow.Addr{IP: target.Addr(), Port: target.Port()}), "payload"...)
	b := make([]byte, 2048)
	trip := func() {
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		trip()
	}
	if n := testing.AllocsPerRun(200, trip); n != 0 {
		t.Errorf("%v allocations a datagram there and back", n)
	}
}

// TestRequestsAllocateLittle bounds what a plain HTTP request on an open connection costs.
func TestRequestsAllocateLittle(t *testing.T) {
	origin := record(t, ok)
	p := start(t, nil)
	c := p.dial(t)
	req := []byte(fmt.Sprintf("GET http://%s/ HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", origin.addr))
	answer := make([]byte, len(ok))
	trip := func() {
		if _, err := c.Write(req); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		trip()
	}
	const originsOwn = 5 // the recorder's own string, copies and growth
	if n := testing.AllocsPerRun(100, trip); n > 4+originsOwn {
		t.Errorf("%v allocations a request", n)
	}
}
