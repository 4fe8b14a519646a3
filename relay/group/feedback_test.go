package group_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/outbound/socks"
)

// TestFailuresAskForACheck counts what is asked for, on a clock of its own.
func TestFailuresAskForACheck(t *testing.T) {
	refused := fmt.Errorf("proxy: %w", syscall.ECONNREFUSED)
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		checks := 0
		c := group.Config{Members: append(members("a b"), outbound.NewDirect(outbound.Info{Name: "d", Type: "Direct"}, nil))}
		c.Check = func() { checks++ }
		g := group.NewFallback(c)
		a, b, d := c.Members[0], c.Members[1], c.Members[2]
		f := func(n int, m outbound.Outbound, err error, want int) {
			t.Helper()
			for range n {
				group.Tell([]outbound.Outbound{g, m}, err)
			}
			if checks != want {
				t.Errorf("%d checks; want %d", checks, want)
			}
			checks = 0
		}
		f(4, a, broken, 0)
		f(1, a, broken, 1)
		f(4, a, broken, 0) // counted from the start again
		time.Sleep(5*time.Second + 1)
		f(1, a, broken, 0) // those before are too long ago
		f(3, a, broken, 0)
		f(4, b, broken, 0) // each member for itself
		f(1, b, nil, 0)
		f(4, b, broken, 0) // it had worked
		f(1, a, broken, 1)
		time.Sleep(time.Second)
		f(1, a, refused, 1)
		f(100, a, refused, 0) // not more than one a second
		time.Sleep(time.Second)
		f(100, a, refused, 1)
		time.Sleep(time.Second)
		f(9, d, refused, 0) // the target's fault
		f(9, a, context.Canceled, 0)
		f(9, a, fmt.Errorf("socks: %w", flow.ErrNoUDP), 0)
		f(9, a, flow.ErrDropped, 0)
		f(9, a, flow.ErrLoop, 0)
		f(9, member("gone", false), refused, 0)
		f(9, b, context.DeadlineExceeded, 1)

		quiet := group.NewLoadBalance(group.Config{Members: c.Members}) // nobody checks
		quiet.DialFailed(a, refused)
		group.Tell(nil, refused)
		group.Tell([]outbound.Outbound{a}, refused)
	})
}

// TestDialTellsTheGroups on the way to a node that refuses connections.
func TestDialTellsTheGroups(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	_ = ln.Close()
	node := socks.New(socks.Config{
		Info:   outbound.Info{Name: "n", Type: "Socks5", UDP: true},
		Server: outbound.Server{Addr: flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: port}, Dialer: new(outbound.Dialer)},
	})
	checks := make(chan string, 9)
	config := func(name string, m outbound.Outbound) group.Config {
		return group.Config{Name: name, Members: []outbound.Outbound{m}, Check: func() { checks <- name }}
	}
	var g outbound.Outbound = group.NewLoadBalance(config("inner", node))
	g = group.NewSelect(config("none of its business", g))
	g = group.NewURLTest(config("outer", g))
	if _, err := g.Dial(t.Context(), to("a.test")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	if len(checks) != 2 || <-checks != "outer" || <-checks != "inner" {
		t.Error("not both groups have asked for a check")
	}
}
