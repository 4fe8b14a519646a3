package outbound_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func addrs(text string) (list []netip.Addr) {
	for s := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func lookup(text string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) { return addrs(text), nil }
}

func TestFamilies(t *testing.T) {
	f := func(family outbound.Family, ipv6 bool, want string) {
		t.Helper()
		d := outbound.Dialer{Family: family, IPv6: ipv6, Lookup: lookup("2001:db8::1 192.0.2.1 192.0.2.2 2001:db8::2")}
		got, err := d.Resolve(t.Context(), "a.test")
		if want == "" && err == nil || want != "" && !slices.Equal(got, addrs(want)) {
			t.Errorf("family %d: %v, %v; want %s", family, got, err, want)
		}
	}
	f(outbound.Dual, true, "2001:db8::1 192.0.2.1 192.0.2.2 2001:db8::2")
	f(outbound.Dual, false, "192.0.2.1 192.0.2.2")
	f(outbound.IPv4Only, true, "192.0.2.1 192.0.2.2")
	f(outbound.IPv6Only, true, "2001:db8::1 2001:db8::2")
	f(outbound.IPv6Only, false, "")
	f(outbound.IPv4First, true, "192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2")
	f(outbound.IPv6First, true, "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2")
}

// TestRace dials a name whose first addresses refuse, one after another and all at once.
func TestRace(t *testing.T) {
	leak.Check(t)
	ln, err := sysnet.ListenTCP("127.0.0.9:0", sysnet.Options{})
	if err != nil {
		t.Skip(err) // a system with one loopback address
	}
	defer ln.Close()
	to := flow.Addr{Host: "a.test", Port: ln.AddrPort().Port()}
	for _, concurrent := range []bool{false, true} {
		d := outbound.Dialer{Concurrent: concurrent, Lookup: lookup("127.0.0.7 127.0.0.8 127.0.0.9")}
		c, err := d.Dial(t.Context(), to)
		if err != nil {
			t.Fatalf("concurrent %v: %v", concurrent, err)
		}
		if got := c.RemoteAddr().String(); got != ln.Addr().String() {
			t.Errorf("connected to %s", got)
		}
		_ = c.Close()
		d.Lookup = lookup("127.0.0.7 127.0.0.8")
		if _, err := d.Dial(t.Context(), to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("concurrent %v: %v; want refused", concurrent, err)
		}
	}
}

// TestDialUsesEveryAddress dials a flow whose name a rule has looked up: the first address refuses.
func TestDialUsesEveryAddress(t *testing.T) {
	ln, err := sysnet.ListenTCP("127.0.0.1:0", sysnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := outbound.Dialer{IPv6: true, Lookup: lookup("::1 127.0.0.1")}
	c, err := d.Dial(t.Context(), flow.Addr{Host: "a.test", IP: netip.IPv6Loopback(), Port: ln.AddrPort().Port()})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	d.IPv6 = false
	if _, err := d.Dial(t.Context(), flow.Addr{IP: netip.IPv6Loopback(), Port: 1}); err == nil || !strings.Contains(err.Error(), "switched off") {
		t.Error(err)
	}
}

// TestDialGivesUp ends with its context, also while it waits for a name.
func TestDialGivesUp(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	d := outbound.Dialer{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	if _, err := d.Dial(ctx, flow.Addr{Host: "a.test", Port: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUnbuiltSaysItsType(t *testing.T) {
	u := outbound.NewUnbuilt(outbound.Info{Name: "n", Type: "Vmess"}, "vmess")
	const want = `proxy "n": type vmess is not supported yet`
	if _, err := u.Dial(t.Context(), &flow.Flow{}); err == nil || err.Error() != want {
		t.Error(err)
	}
	if _, err := u.DialPacket(t.Context(), &flow.Flow{}); err == nil || err.Error() != want {
		t.Error(err)
	}
}

// far notes where it is to connect to.
type far struct {
	outbound.Outbound
	to flow.Addr
}

func (f *far) Dial(_ context.Context, fl *flow.Flow) (flow.Conn, error) {
	f.to = fl.Target()
	return nil, errors.New("far enough")
}

// TestDirectVia hands on the address that hosts has for a name: the far end does not know it.
func TestDirectVia(t *testing.T) {
	via := new(far)
	d := outbound.NewDirect(outbound.Info{}, &outbound.Dialer{Via: func() (outbound.Outbound, error) { return via, nil }})
	f := func(mode flow.DNSMode, want string) {
		t.Helper()
		fl := &flow.Flow{DNSMode: mode, To: flow.Addr{Host: "a.test", IP: netip.MustParseAddr("192.0.2.1"), Port: 1}}
		if _, err := d.Dial(t.Context(), fl); err == nil || via.to.String() != want {
			t.Errorf("%s: %v; want %s", mode, via.to, want)
		}
	}
	f(flow.DNSNormal, "a.test:1")
	f(flow.DNSFakeIP, "a.test:1")
	f(flow.DNSMapped, "192.0.2.1:1")
	f(flow.DNSFromHosts, "192.0.2.1:1")
}
