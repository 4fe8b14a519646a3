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
	n, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Find is Free for those who have no test.
func Find() (int, error) {
	tcp, udp, err := Listen()
	if err != nil {
		return 0, err
	}
	defer tcp.Close()
	defer udp.Close()
	return tcp.Addr().(*net.TCPAddr).Port, nil
}

// Listen takes a port of 127.0.0.1 for both.
func Listen() (tcp net.Listener, udp net.PacketConn, err error) {
	for range tries {
		addr := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))
		if tcp, err = net.Listen("tcp", addr); err != nil {
			continue
		}
		if udp, err = net.ListenPacket("udp", addr); err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close()
	}
	return nil, nil, fmt.Errorf("no port is free: %w", err)
}
