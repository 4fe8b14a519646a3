package group_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/outbound/socks"
)

// checks notes which groups ask for a check; each does so at the first failure.
type checks struct{ asked []string }

func (c *checks) config(name string, members ...outbound.Outbound) group.Config {
	return group.Config{
		Name: name, Members: members, MaxFailed: 1,
		Check: func() { c.asked = append(c.asked, name) },
	}
}

func (c *checks) wants(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(c.asked, " "); got != want {
		t.Errorf("%q ask for a check; want %q", got, want)
	}
	c.asked = nil
}

// deadNode is a real node at a port where nobody listens.
func deadNode(t *testing.T, name string) *socksNode {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	_ = ln.Close()
	c := socks.Config{
		Info:   outbound.Info{Name: name, Type: "Socks5"},
		Server: outbound.Server{Addr: flow.Addr{IP: at.Addr(), Port: at.Port()}, Dialer: new(outbound.Dialer)},
	}
	return &socksNode{socks.New(c), c}
}

// rudeNode is a node whose server hangs up when it is spoken to.
func rudeNode(t *testing.T, name string) *socksNode {
	t.Helper()
	c := deadNode(t, name).c
	c.Server.Addr = listen(t, func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 3)) })
	return &socksNode{socks.New(c), c}
}

// TestRelayTellsTheGroupOfTheHop that could not be dialed, over real sockets: each hop in turn is the one.
func TestRelayTellsTheGroupOfTheHop(t *testing.T) {
	port := deadNode(t, "target").c.Server.Addr.Port
	live := func(name string) outbound.Outbound { return socksServer(t, name, func(string) {}) }
	f := func(first, second, third outbound.Outbound, want string) {
		t.Helper()
		c := new(checks)
		inner := group.NewFallback(c.config("inner", second))
		g := relay(
			group.NewURLTest(c.config("first", first)),
			relay(group.NewSelect(c.config("quiet", inner))),
			group.NewLoadBalance(c.config("third", third)),
		)
		if _, err := g.Dial(t.Context(), &flow.Flow{Network: flow.TCP, To: flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: port}}); err == nil {
			t.Fatal("dialed")
		}
		c.wants(t, want)
	}
	f(deadNode(t, "a"), live("b"), live("c"), "first")
	// A proxy that cannot connect to the next one ends the connection: it has failed, as far as can be seen.
	f(live("a"), deadNode(t, "b"), live("c"), "first")
	f(live("a"), live("b"), deadNode(t, "c"), "inner")
	f(live("a"), live("b"), live("c"), "third") // the target refuses, and so does the last hop
	f(live("a"), rudeNode(t, "b"), live("c"), "inner")
}

// TestRelayTellsWhoMeansTheHop goes through what is told without sockets.
func TestRelayTellsWhoMeansTheHop(t *testing.T) {
	c := new(checks)
	n := nodes("a b c d")
	sel := group.NewSelect(group.Config{Name: "S", Members: nodes("DIRECT")})
	one := group.NewFallback(c.config("one", n[0]))
	two := group.NewURLTest(c.config("two", n[1], n[2]))
	lb := group.NewLoadBalance(c.config("lb", n[2], n[3]))
	g := relay(sel, one, two, lb)
	refused := syscall.ECONNREFUSED
	tell := func(err error) {
		t.Helper()
		way := []outbound.Outbound{g}
		for {
			p, ok := way[len(way)-1].(interface {
				Pick(*flow.Flow) outbound.Outbound
			})
			if !ok {
				break
			}
			way = append(way, p.Pick(to("x.test")))
		}
		group.Tell(way, err)
	}
	tell(refused) // nothing says which hop it was: the last
	c.wants(t, "lb")
	tell(nil)
	c.wants(t, "")

	// What nobody leads to now is nobody's fault.
	two.SetMembers(nodes("e"))
	g.DialFailed(n[1], refused)
	c.wants(t, "")
	g.DialFailed(n[0], refused)
	c.wants(t, "one")

	// A chain of one node, by a group.
	lone := relay(sel, group.NewFallback(c.config("lone", n[0])))
	if m := lone.Pick(nil); m != n[0] {
		t.Fatalf("%v", m)
	}
	lone.DialFailed(n[0], refused)
	c.wants(t, "lone")

	// A group whose choice is a chain hears of the chain.
	over := group.NewFallback(c.config("over", relay(one)))
	relay(over).DialFailed(n[0], errors.New("broken"))
	if got := strings.Join(c.asked, " "); got != "one over" && got != "over" { // one has asked this second
		t.Error(got)
	}
	c.asked = nil

	// Groups in groups without end are left.
	deep := outbound.Outbound(one)
	for range 40 {
		deep = relay(deep, deep)
	}
	deep.(*group.Relay).DialWorked(n[0])
}
