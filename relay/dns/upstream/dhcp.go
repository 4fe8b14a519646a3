package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
)

const (
	// findTime is how long the DHCP server of a network is waited for.
	findTime = 5 * time.Second
	// A list is good for as long as its lease, within these bounds.
	minLease = time.Minute
	maxLease = time.Hour
	// findPause is the time between two discoveries, at least.
	findPause = 30 * time.Second
	// defaultRoute is the Device that means the interface of the default route.
	defaultRoute = "system"
)

// offer is what a DHCP server says.
type offer struct {
	servers []netip.Addr
	lease   time.Duration
}

// dhcp asks the servers that the network of an interface offers (RFC 2132, section 3.8). It takes no lease.
type dhcp struct {
	server  *nameserver.Server
	find    func(ctx context.Context, device string) (offer, error)
	now     func() time.Time
	servers several

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	live sync.WaitGroup // a discovery

	mu      sync.Mutex
	closed  bool
	have    bool          // a list was found some time
	until   time.Time     // it is good until then
	next    time.Time     // no discovery before then
	err     error         // of the last discovery
	finding chan struct{} // closed when the discovery that goes on is over; nil: none goes on
}

func newDHCP(s *nameserver.Server, c Config) *dhcp {
	ctx, stop := context.WithCancel(context.Background())
	return &dhcp{server: s, find: findServers, now: time.Now, servers: several{config: c}, ctx: ctx, stop: stop}
}

// Exchange waits for a discovery only where none has found anything yet. A list that is out of date is
// used until a newer one is there.
func (d *dhcp) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	if err := d.ready(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", d.server, err)
	}
	resp, err := d.servers.Exchange(ctx, query)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // else another server was faster
			d.doubt()
		}
		return nil, fmt.Errorf("%s: %w", d.server, err)
	}
	return resp, nil
}

// Close ends all that is asked, and a discovery.
func (d *dhcp) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	d.live.Wait()
	return d.servers.Close()
}

// doubt lets the next exchange look for servers anew: those of the list do not answer.
func (d *dhcp) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Time{}
}

// ready returns when there is a list.
func (d *dhcp) ready(ctx context.Context) error {
	d.mu.Lock()
	now := d.now()
	switch {
	case d.closed:
		d.mu.Unlock()
		return ErrClosed
	case d.finding == nil && now.After(d.until) && !now.Before(d.next):
		d.finding = make(chan struct{})
		d.live.Go(d.discover)
	}
	have, finding, err := d.have, d.finding, d.err
	d.mu.Unlock()
	if have {
		return nil
	}
	if finding == nil {
		return err
	}
	select {
	case <-finding:
	case <-ctx.Done():
		return fmt.Errorf("look for name servers: %w", ctx.Err())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.have {
		return nil
	}
	return d.err
}

// discover asks the network once.
func (d *dhcp) discover() {
	ctx, cancel := context.WithTimeout(d.ctx, findTime)
	defer cancel()
	o, err := d.look(ctx)
	if err == nil {
		d.servers.set(o.servers)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.finding)
	d.finding = nil
	now := d.now()
	d.next = now.Add(findPause)
	if d.err = err; err != nil {
		if d.closed {
			d.err = ErrClosed
		}
		return
	}
	d.have = true
	d.until = now.Add(min(max(o.lease, minLease), maxLease))
}

func (d *dhcp) look(ctx context.Context) (offer, error) {
	device := d.server.Device
	if device == defaultRoute {
		var err error
		if device, err = defaultDevice(); err != nil {
			return offer{}, fmt.Errorf("look for the default route: %w", err)
		}
	}
	o, err := d.find(ctx, device)
	if err != nil {
		return o, fmt.Errorf("look for name servers at %s: %w", device, err)
	}
	o.servers = slices.DeleteFunc(o.servers, func(ip netip.Addr) bool {
		return !ip.Is4() || ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	})
	o.servers = distinct(o.servers)
	if len(o.servers) == 0 {
		return o, fmt.Errorf("the DHCP server at %s names no name server", device)
	}
	return o, nil
}

// errRights is an error of findServers.
var errRights = errors.New("DHCP needs root or the capability CAP_NET_RAW")

// distinct returns addrs without repetitions, in their order.
func distinct(addrs []netip.Addr) []netip.Addr {
	var once []netip.Addr
	for _, ip := range addrs {
		if !slices.Contains(once, ip) {
			once = append(once, ip)
		}
	}
	return once
}
