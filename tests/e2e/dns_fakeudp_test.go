package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// udpEcho sends back what comes to one port of 127.0.0.1 and 127.0.0.2.
func udpEcho(t *testing.T) (port uint16) {
	t.Helper()
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		c, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", ip, port))
		if err != nil {
			t.Skip(err) // a system with one loopback address, or a port that is taken there
		}
		port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		ended := make(chan struct{})
		t.Cleanup(func() { _ = c.Close(); <-ended })
		go func() {
			defer close(ended)
			b := make([]byte, 64<<10)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(b[:n], from)
			}
		}()
	}
	return port
}

// sends sends a datagram through an association.
func sends(t *testing.T, c io.Writer, to flow.Addr, text string) {
	t.Helper()
	if _, err := c.Write(append(socks.AppendDatagram(nil, to), text...)); err != nil {
		t.Fatal(err)
	}
}

// receives is the next datagram of an association: from whom, and its text.
func receives(t *testing.T, c io.Reader) (from flow.Addr, text string) {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	from, head, err := socks.ParseDatagram(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	return from, string(b[head:n])
}

// echoed wants the answer from the address that is asked.
func echoed(t *testing.T, c io.ReadWriter, to flow.Addr, text string) {
	t.Helper()
	sends(t, c, to, text)
	if from, got := receives(t, c); from != to || got != text {
		t.Errorf("%q from %v; want %q from %v", got, from, text, to)
	}
}

// TestFakeIPOverUDP wants answers from the address that was asked.
func TestFakeIPOverUDP(t *testing.T) {
	port := udpEcho(t)
	up := newNameServer(t, "a.test. 60 IN A 127.0.0.1", "b.test. 60 IN A 127.0.0.2")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+fakeSection(up, ""))
	c := associate(t, d.Mixed)
	fake := func(name string) flow.Addr {
		return flow.Addr{IP: netip.MustParseAddr(address(t, addr, name)), Port: port}
	}
	for i := range 3 {
		echoed(t, c, fake("a.test"), fmt.Sprint("a", i))
		echoed(t, c, fake("b.test"), fmt.Sprint("b", i))
	}
	var hosts []string
	for _, l := range get[api.Connections](t, d, "/connections").Connections {
		if l.Metadata.Network == "udp" && l.Metadata.SourcePort == fmt.Sprint(c.LocalAddr().(*net.UDPAddr).Port) {
			hosts = append(hosts, l.Metadata.Host+" "+string(l.Metadata.DNSMode))
		}
	}
	slices.Sort(hosts)
	if want := []string{"a.test fake-ip", "b.test fake-ip"}; !slices.Equal(hosts, want) {
		t.Errorf("%q; want %q", hosts, want)
	}
	// A datagram to an address without a name is lost; those behind it are not.
	sends(t, c, flow.Addr{IP: netip.MustParseAddr("198.18.9.9"), Port: port}, "lost")
	echoed(t, c, fake("b.test"), "found")
}

// TestFakeIPOverUDPApart has two names that are the same server, and two whose servers only a proxy
// knows: answers for one are not taken for those of the other.
func TestFakeIPOverUDPApart(t *testing.T) {
	port := udpEcho(t)
	far := testkit.Start(t, "mixed-port: MIXED\nhosts: {a.far.test: 127.0.0.1, b.far.test: 127.0.0.2}\nrules: ['MATCH,DIRECT']\n")
	_, farPort, _ := net.SplitHostPort(far.Mixed)
	up := newNameServer(t, "*. 60 IN A 127.0.0.1")
	d, addr := startDNS(t, "mixed-port: MIXED\n"+fakeSection(up, "")+fmt.Sprintf(`
proxies: [{name: P, type: socks5, server: 127.0.0.1, port: %s, udp: true}]
rules: ['IP-CIDR,10.0.0.0/8,DIRECT', 'DOMAIN-SUFFIX,far.test,P', 'MATCH,DIRECT']
`, farPort)) // the first one has names looked up here, which says nothing of where they are there
	f := func(names ...string) {
		t.Helper()
		c := associate(t, d.Mixed)
		want := make(map[string]flow.Addr)
		for range 2 {
			for _, name := range names { // all are under way at the same time
				want[name] = flow.Addr{IP: netip.MustParseAddr(address(t, addr, name)), Port: port}
				sends(t, c, want[name], name)
			}
			for range names {
				if from, text := receives(t, c); want[text] != from {
					t.Errorf("the answer for %s is from %v; want %v", text, from, want[text])
				}
			}
		}
	}
	f("a.test", "b.test")
	f("a.far.test", "b.far.test")
	// One that a client knows by its real address, too.
	c, real := associate(t, d.Mixed), flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: port}
	for i := range 2 {
		echoed(t, c, flow.Addr{IP: netip.MustParseAddr(address(t, addr, "a.test")), Port: port}, fmt.Sprint("fake", i))
		echoed(t, c, real, fmt.Sprint("real", i))
	}
}
