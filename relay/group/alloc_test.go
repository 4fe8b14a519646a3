//go:build !race

package group_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// everyGroup is one of each kind with n members, of which the first half is dead.
func everyGroup(t testing.TB, n int) (groups map[string]group.Group, k *known) {
	k = new(known)
	var list []outbound.Outbound
	for i := range n {
		m := fmt.Sprintf("n%d", i)
		list = append(list, &node{info: outbound.Info{Name: m, Type: "Socks5", UDP: i%2 == 0}})
		k.forget(t, fmt.Sprintf("%s=%d", m, max(0, i-n/2)))
	}
	k.learn(t, "")
	c := group.Config{Name: "G", Members: list, TestURL: testURL, Tests: k}
	hashing, turns, sticky := c, c, c
	turns.Strategy, sticky.Strategy = group.RoundRobin, group.StickySessions
	sel := group.NewSelect(c)
	chain := c
	chain.Members = []outbound.Outbound{list[0], list[1], sel, group.NewURLTest(c), group.NewLoadBalance(hashing)}
	return map[string]group.Group{
		"select": sel, "url-test": group.NewURLTest(c), "fallback": group.NewFallback(c),
		"consistent-hashing": group.NewLoadBalance(hashing), "round-robin": group.NewLoadBalance(turns),
		"sticky-sessions": group.NewLoadBalance(sticky), "relay": group.NewRelay(chain),
	}, k
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, n := range []int{3, 1000} {
		groups, k := everyGroup(t, n)
		for kind, g := range groups {
			name := &flow.Flow{Network: flow.TCP, To: flow.Addr{Host: "www.a.co.uk", Port: 443}}
			addr := &flow.Flow{Network: flow.UDP, To: flow.Addr{IP: netip.MustParseAddr("2001:db8::1"), Port: 443}}
			f := func(what string, act func()) {
				t.Helper()
				if n := testing.AllocsPerRun(100, act); n != 0 {
					t.Errorf("%s, %s: %v allocations", kind, what, n)
				}
			}
			f("a name", func() { g.Pick(name) })
			f("an address, UDP", func() { g.Pick(addr); g.UDP() })
			f("who only looks", func() { g.Peek(name); g.Peek(addr) })
			f("something learnt", func() { k.changed.Add(1); g.Pick(name) })
			i := 0
			f("many sources", func() {
				i++
				name.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 1)
				g.Pick(name)
			})
			if h, ok := g.(group.Feedback); ok {
				m := g.Pick(name)
				f("a dial that worked", func() { h.DialWorked(m) })
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	groups, k := everyGroup(b, 1000)
	for kind, g := range groups {
		f := &flow.Flow{Network: flow.TCP, To: flow.Addr{Host: "www.a.co.uk", Port: 443}}
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				g.Pick(f)
			}
		})
		b.Run(kind+", something learnt", func(b *testing.B) {
			for b.Loop() {
				k.changed.Add(1)
				g.Pick(f)
			}
		})
	}
}
