// Package port finds ports for programs that tests start, and that cannot be told to choose one.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports lie below those that systems choose by themselves: what is free now is not given to somebody
// else's connection a moment later.
const (
	lowest  = 11_000
	highest = 32_000
	tries   = 200
)

// Free returns a port of 127.0.0.1 that nobody has now, for TCP and UDP.
func Free(t testing.TB) int {
	t.Helper()
	for range tries {
		n := lowest + rand.IntN(highest-lowest)
		addr := fmt.Sprintf("127.0.0.1:%d", n)
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", addr)
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return n
		}
	}
	t.Fatal("no port is free")
	return 0
}
