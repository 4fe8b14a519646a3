//go:build !race && linux

package sysnet

import (
	"net"
	"net/netip"
	"testing"
)

// TestBatchAllocatesNothing for datagrams and their answers.
func TestBatchAllocatesNothing(t *testing.T) {
	f := func(bound string) {
		t.Helper()
		server, b := newBatch(t, bound, 8)
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.AddrPort().Port())
		clients := []*net.UDPConn{client(t, to), client(t, to)}
		question, buf := []byte("question"), make([]byte, 64)
		if n := testing.AllocsPerRun(100, func() {
			for _, c := range clients {
				if _, err := c.Write(question); err != nil {
					t.Fatal(err)
				}
			}
			for got := 0; got < len(clients); {
				n, err := b.Receive()
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					if !b.From(i).IsValid() || b.Local(i).IsValid() != server.pktinfo {
						t.Fatal(b.From(i), b.Local(i))
					}
					b.Answer(i, append(b.Reply(i), b.Packet(i)...))
				}
				b.Flush()
				got += n
			}
			for _, c := range clients {
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", bound, n)
		}
	}
	f("127.0.0.1:0")
	f("0.0.0.0:0")
	f("[::]:0")
}
