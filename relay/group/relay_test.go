package group_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/outbound/socks"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// node says in its error which way it was dialed: "a>b" is b through a.
type node struct {
	info outbound.Info
	via  string
}

func (n *node) Info() *outbound.Info { return &n.info }

func (n *node) Dial(context.Context, *flow.Flow) (flow.Conn, error) {
	return nil, errors.New(n.via + n.info.Name)
}

func (n *node) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, errors.New(n.via + n.info.Name + " packets")
}

func (n *node) Through(via outbound.Outbound) outbound.Outbound {
	_, err := via.Dial(context.Background(), nil)
	return &node{n.info, err.Error() + ">"}
}

// nodes makes one for each word; "+" is UDP, "*" UDP over TCP, and words in capitals are of that type.
func nodes(words string) (list []outbound.Outbound) {
	for w := range strings.FieldsSeq(words) {
		i := outbound.Info{Name: strings.TrimRight(w, "+*"), Type: "Socks5"}
		i.UDP, i.UOT = strings.ContainsAny(w, "+*"), strings.Contains(w, "*")
		switch i.Name {
		case "DIRECT", "COMPATIBLE", "PASS", "REJECT", "DNS":
			i.Type, i.UDP = i.Name[:1]+strings.ToLower(i.Name[1:]), true
		}
		list = append(list, &node{info: i})
	}
	return list
}

func relay(members ...outbound.Outbound) *group.Relay {
	return group.NewRelay(group.Config{Name: "Rel", Members: members})
}

// chain is the way that the engine goes: the names, and what the last one says.
func chain(t *testing.T, o outbound.Outbound, f *flow.Flow) string {
	t.Helper()
	var way []string
	for range 64 {
		way = append(way, name(o))
		g, ok := o.(interface {
			Pick(f *flow.Flow) outbound.Outbound
		})
		if !ok {
			break
		}
		o = g.Pick(f)
	}
	_, err := o.Dial(t.Context(), f)
	return strings.Join(way, " ") + ": " + err.Error()
}

func TestRelay(t *testing.T) {
	f := func(words, want string) {
		t.Helper()
		g := relay(nodes(words)...)
		if got := chain(t, g, nil); got != want {
			t.Errorf("%s: %s; want %s", words, got, want)
		}
		_, err := g.Dial(t.Context(), nil)
		if _, end, _ := strings.Cut(want, ": "); err == nil || err.Error() != end {
			t.Errorf("%s: Dial %v; want %s", words, err, end)
		}
		if g.Pick(nil) != g.Pick(nil) {
			t.Errorf("%s: two ways that are one", words)
		}
	}
	f("a b", "Rel a b: a>b")
	f("a b c", "Rel a b c: a>b>c")
	f("a a", "Rel a a: a>a")
	f("DIRECT a COMPATIBLE b", "Rel a b: a>b")
	f("a DIRECT", "Rel a: a")
	f("DIRECT COMPATIBLE", "Rel DIRECT: DIRECT")
	f("a REJECT b", "Rel REJECT: REJECT")
	f("a PASS", "Rel PASS: PASS") // the flow goes on to the next rule
	f(strings.Repeat("a ", 16), "Rel "+strings.Repeat("a ", 15)+"a: "+strings.Repeat("a>", 15)+"a")
	f(strings.Repeat("a ", 17), `Rel Rel: group "Rel": a chain of more than 16 nodes`)

	one := nodes("a DIRECT")
	if relay(one...).Pick(nil) != one[0] {
		t.Error("a chain of one is that node, the same object")
	}
	fixed := relay(append(nodes("a"), member("b", false), nodes("c")[0])...)
	if got := chain(t, fixed, nil); got != `Rel a b c: proxy "b": type  cannot be reached through another proxy>c` {
		t.Error(got) // c is never reached: its connection is b's to make
	}
	fixed.SetMembers(nodes("c d"))
	if got := chain(t, fixed, nil); got != "Rel c d: c>d" {
		t.Error(got)
	}
}

func TestRelayOfGroups(t *testing.T) {
	sel := group.NewSelect(group.Config{Name: "S", Members: nodes("x y DIRECT")})
	inner := group.NewRelay(group.Config{Name: "R", Members: append(nodes("p"), sel)})
	outer := group.NewSelect(group.Config{Name: "O", Members: []outbound.Outbound{inner}})
	g := relay(append(nodes("a"), outer, sel)...)
	f := func(choice, want string) {
		t.Helper()
		_ = sel.Select(choice)
		for range 2 {
			if got := chain(t, g, nil); got != want {
				t.Errorf("%s: %s; want %s", choice, got, want)
			}
		}
	}
	f("x", "Rel a p x x: a>p>x>x")
	f("y", "Rel a p y y: a>p>y>y")
	f("DIRECT", "Rel a p: a>p")
	f("x", "Rel a p x x: a>p>x>x")
	if sel.LastUsed().IsZero() || inner.LastUsed().IsZero() || outer.LastUsed().IsZero() {
		t.Error("groups inside are used too")
	}

	turns := group.NewLoadBalance(group.Config{Name: "T", Strategy: group.RoundRobin, Members: nodes("x y")})
	g = relay(append(nodes("a"), turns)...)
	for _, want := range []string{"a>x", "a>y", "a>x"} {
		if _, err := g.Dial(t.Context(), nil); err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}

	deep := outbound.Outbound(group.NewSelect(group.Config{Members: nodes("DIRECT")}))
	for range 20 {
		deep = relay(deep, deep)
	}
	if _, err := deep.Dial(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "more than 16") {
		t.Errorf("a million steps to nowhere: %v", err)
	}
}

// TestRelayForgets chains when there are many.
func TestRelayForgets(t *testing.T) {
	many := make([]outbound.Outbound, 3000)
	for i := range many {
		many[i] = &node{info: outbound.Info{Name: fmt.Sprint(i), Type: "Socks5"}}
	}
	turns := group.NewLoadBalance(group.Config{Strategy: group.RoundRobin, Members: many})
	g := relay(nodes("a")[0], turns)
	for i := range many {
		if _, err := g.Dial(t.Context(), nil); err.Error() != fmt.Sprintf("a>%d", i) {
			t.Fatal(err)
		}
	}
}

func TestRelayUDP(t *testing.T) {
	f := func(want bool, members ...outbound.Outbound) {
		t.Helper()
		if relay(members...).UDP() != want {
			t.Errorf("%s: %v", names(members), !want)
		}
	}
	f(true, nodes("a+ b+")...)
	f(false, nodes("a b+")...)
	f(false, nodes("a+ b")...)
	f(true, nodes("a b* c+")...) // what a carries is TCP
	f(false, nodes("a b* c")...)
	f(true, nodes("DIRECT")...)
	f(true, nodes("a+ DIRECT")...)
	f(true, nodes("a")[0], group.NewSelect(group.Config{Members: nodes("b*")}))
	f(false, nodes("a")[0], group.NewSelect(group.Config{Members: nodes("b+")}))
	f(false, nodes("a+")[0], group.NewSelect(group.Config{Members: nodes("b+"), DisableUDP: true}))
	mute := group.NewRelay(group.Config{Members: nodes("a+ b+"), DisableUDP: true})
	if _, err := mute.DialPacket(t.Context(), nil); mute.UDP() || !errors.Is(err, flow.ErrNoUDP) {
		t.Errorf("disable-udp: %v", err)
	}
	if _, err := relay(nodes("a+ b+")...).DialPacket(t.Context(), nil); err.Error() != "a>b packets" {
		t.Error(err)
	}
}

// socksNode is a real node, and what it needs to be in a chain.
type socksNode struct {
	*socks.Proxy
	c socks.Config
}

func (n *socksNode) Through(via outbound.Outbound) outbound.Outbound {
	c := n.c
	d := *c.Server.Dialer
	d.Via = func() (outbound.Outbound, error) { return via, nil }
	c.Server.Dialer = &d
	return &socksNode{socks.New(c), c}
}

// socksServer is a proxy that notes where it is to connect to, and connects there.
func socksServer(t *testing.T, name string, note func(string)) *socksNode {
	t.Helper()
	at := listen(t, func(c net.Conn) {
		b := make([]byte, 300)
		_, _ = io.ReadFull(c, b[:3]) // one method
		_, _ = c.Write([]byte{wire.Version5, wire.NoAuth})
		for n := 0; ; n++ {
			if _, err := io.ReadFull(c, b[n:n+1]); err != nil {
				return
			}
			_, to, _, err := wire.ParseRequest(b[:n+1])
			if errors.Is(err, wire.ErrShort) {
				continue
			}
			note(name + " to " + to.String())
			far, err := net.Dial("tcp", to.String())
			if err != nil {
				return
			}
			defer far.Close()
			_, _ = c.Write(wire.AppendReply(nil, wire.Granted, to.AddrPort()))
			go func() { _, _ = io.Copy(far, c); _ = far.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(c, far)
			return
		}
	})
	c := socks.Config{
		Info:   outbound.Info{Name: name, Type: "Socks5"},
		Server: outbound.Server{Addr: at, Dialer: new(outbound.Dialer)},
	}
	return &socksNode{socks.New(c), c}
}

// listen serves connections until the test ends.
func listen(t *testing.T, serve func(net.Conn)) flow.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wait.Wait()
	})
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	return flow.Addr{IP: at.Addr(), Port: at.Port()}
}

// TestRelayOverSockets goes through three proxies to a server that sends back what it gets.
func TestRelayOverSockets(t *testing.T) {
	leak.Check(t)
	var mu sync.Mutex
	var noted []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		noted = append(noted, s)
	}
	target := listen(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	a, b, c := socksServer(t, "a", note), socksServer(t, "b", note), socksServer(t, "c", note)
	g := relay(a, b, c)
	conn, err := g.Dial(t.Context(), &flow.Flow{Network: flow.TCP, To: target})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("around"))
	_ = conn.CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "around" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := fmt.Sprintf("[a to %s b to %s c to %s]", b.c.Server.Addr, c.c.Server.Addr, target)
	if fmt.Sprint(noted) != want {
		t.Errorf("%s; want %s", noted, want)
	}
}
