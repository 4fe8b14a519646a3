package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// network is a DHCP server whose offers the test makes.
type network struct {
	asked   chan struct{} // one for each discovery
	release chan struct{}

	mu    sync.Mutex
	now   time.Time
	offer offer
	err   error
}

func newNetwork(t testing.TB, c Config) (*network, *dhcp) {
	n := &network{asked: make(chan struct{}, 10), release: make(chan struct{}, 10), now: time.Now()}
	d := newDHCP(&nameserver.Server{Scheme: nameserver.DHCP, Device: "eth7"}, c)
	d.now = func() time.Time {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.now
	}
	d.find = func(ctx context.Context, device string) (offer, error) {
		if device != "eth7" {
			t.Errorf("discovery at %s", device)
		}
		n.asked <- struct{}{}
		select {
		case <-n.release:
		case <-ctx.Done():
			return offer{}, ctx.Err()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.offer, n.err
	}
	t.Cleanup(func() { d.Close() })
	return n, d
}

// offers sets what the next discoveries find, some time from now.
func (n *network) offers(after, lease time.Duration, err error, servers ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(after)
	n.offer, n.err = offer{lease: lease}, err
	for _, text := range servers {
		n.offer.servers = append(n.offer.servers, netip.MustParseAddr(text))
	}
}

// wait returns when no discovery goes on.
func wait(d *dhcp) {
	d.mu.Lock()
	finding := d.finding
	d.mu.Unlock()
	if finding != nil {
		<-finding
	}
}

func TestDHCPSharesADiscovery(t *testing.T) {
	leak.Check(t)
	n, d := newNetwork(t, playing(t, map[string]netip.AddrPort{"192.0.2.1:53": serveDNS(t, addrOf(t, "10.0.0.1"))}))
	n.offers(0, time.Hour, nil, "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "192.0.2.1")
	var asked []func() *dns.Msg
	for range 4 {
		asked = append(asked, begin(t, d, "a.example"))
	}
	<-n.asked
	ctx, cancel := context.WithCancel(patient(t))
	cancel()
	if _, err := d.Exchange(ctx, question(t, "a.example", dns.TypeA)); !errors.Is(err, context.Canceled) {
		t.Errorf("Exchange: %v", err)
	}
	n.release <- struct{}{}
	for _, answer := range asked {
		if got := firstA(t, answer()); got != "10.0.0.1" {
			t.Errorf("got %s", got)
		}
	}
	if len(n.asked) != 0 {
		t.Error("there was another discovery")
	}
	if list, _ := d.servers.list(); len(list) != 1 {
		t.Errorf("%d servers", len(list))
	}
}

func TestDHCPKeepsWhatItFound(t *testing.T) {
	leak.Check(t)
	n, d := newNetwork(t, playing(t, map[string]netip.AddrPort{
		"192.0.2.1:53": serveDNS(t, addrOf(t, "10.0.0.1")),
		"192.0.2.2:53": serveDNS(t, addrOf(t, "10.0.0.2")),
	}))
	f := func(discoveries int, want string) {
		t.Helper()
		first := len(d.servers.addrs) == 0 // then the exchange waits
		release := func() {
			for range discoveries {
				n.release <- struct{}{}
			}
		}
		if first {
			release()
		}
		if got := firstA(t, mustAsk(t, d, "a.example", dns.TypeA)); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
		if !first {
			release()
		}
		wait(d)
		if k := len(n.asked); k != discoveries {
			t.Errorf("%d discoveries; want %d", k, discoveries)
		}
		for range discoveries {
			<-n.asked
		}
	}
	n.offers(0, 10*time.Minute, nil, "192.0.2.1")
	f(1, "10.0.0.1")
	n.offers(10*time.Minute, 24*time.Hour, nil, "192.0.2.2")
	f(0, "10.0.0.1")
	n.offers(1, 24*time.Hour, nil, "192.0.2.2")
	f(1, "10.0.0.1") // the old list, until the new one is there
	f(0, "10.0.0.2")
	n.offers(maxLease+1, 0, errors.New("no carrier"))
	f(1, "10.0.0.2") // the last good one stays
	n.offers(findPause-1, 0, errors.New("no carrier"))
	f(0, "10.0.0.2")
	n.offers(1, 0, nil, "192.0.2.1")
	f(1, "10.0.0.2")
	f(0, "10.0.0.1")
	n.offers(minLease, 0, nil, "192.0.2.1") // as if the lease were longer
	f(0, "10.0.0.1")
	n.offers(1, 0, nil, "192.0.2.1")
	f(1, "10.0.0.1")
}

func TestDHCPSaysWhyThereAreNoServers(t *testing.T) {
	leak.Check(t)
	n, d := newNetwork(t, straight())
	n.release <- struct{}{}
	n.offers(0, 0, errors.New("no carrier"))
	failsWith(t, d, "dhcp://eth7: look for name servers at eth7: no carrier")
	n.offers(findPause-1, 0, nil)
	failsWith(t, d, "no carrier") // it is not asked again so soon
	if len(n.asked) != 1 {
		t.Errorf("%d discoveries", len(n.asked))
	}
	n.offers(1, 0, nil)
	n.release <- struct{}{}
	failsWith(t, d, "the DHCP server at eth7 names no name server")

	// Close ends a discovery.
	n.offers(findPause, 0, nil)
	<-n.asked
	<-n.asked
	go func() {
		<-n.asked
		d.Close()
	}()
	failsWith(t, d, ErrClosed.Error())
	failsWith(t, d, ErrClosed.Error())
}

// Servers that do not answer are a reason to look for others before the lease ends.
func TestDHCPDoubtsWhatDoesNotAnswer(t *testing.T) {
	leak.Check(t)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	n, d := newNetwork(t, playing(t, map[string]netip.AddrPort{
		"192.0.2.1:53": nobody.LocalAddr().(*net.UDPAddr).AddrPort(),
		"192.0.2.2:53": serveDNS(t, addrOf(t, "10.0.0.2")),
	}))
	n.offers(0, time.Hour, nil, "192.0.2.1")
	n.release <- struct{}{}
	failsWith(t, d, "connection refused")
	n.offers(findPause-1, time.Hour, nil, "192.0.2.2")
	failsWith(t, d, "connection refused")
	if len(n.asked) != 1 {
		t.Errorf("%d discoveries", len(n.asked))
	}
	n.offers(1, time.Hour, nil, "192.0.2.2")
	n.release <- struct{}{}
	d.Exchange(patient(t), question(t, "a.example", dns.TypeA)) // over the old list or the new one
	wait(d)
	if got := firstA(t, mustAsk(t, d, "a.example", dns.TypeA)); got != "10.0.0.2" {
		t.Errorf("got %s", got)
	}
}

func TestDHCPNeedsAnInterface(t *testing.T) {
	leak.Check(t)
	d := newDHCP(&nameserver.Server{Scheme: nameserver.DHCP, Device: "nosuch0"}, straight())
	defer d.Close()
	_, err := d.Exchange(patient(t), question(t, "a.example", dns.TypeA))
	if err == nil || !strings.HasPrefix(err.Error(), "dhcp://nosuch0: look for name servers at nosuch0: ") {
		t.Errorf("Exchange: %v", err)
	}
}
