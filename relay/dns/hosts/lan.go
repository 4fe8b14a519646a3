package hosts

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// lanTime is how long the addresses of the machine are believed to stay as they are.
const lanTime = 10 * time.Second

// lan knows the addresses that others may reach this machine at.
type lan struct {
	read  func() ([]net.Addr, error)
	known atomic.Pointer[machine]
}

// machine is the addresses that there were.
type machine struct {
	addrs []netip.Addr
	until time.Time
}

// addrs are the addresses now. When the machine does not tell they are those it told before.
func (l *lan) addrs() []netip.Addr {
	k := l.known.Load()
	now := time.Now()
	if k != nil && now.Before(k.until) {
		return k.addrs
	}
	next := &machine{until: now.Add(lanTime)}
	if all, err := l.read(); err == nil {
		next.addrs = reachable(all)
	} else if k != nil {
		next.addrs = k.addrs
	}
	l.known.Store(next)
	return next.addrs
}

// reachable leaves out loopback, and the link-local addresses of IPv6, which are of no use without the
// name of an interface that no answer can hold.
func reachable(all []net.Addr) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		switch {
		case !ip.IsValid(), ip.IsLoopback(), ip.IsMulticast(), ip.IsUnspecified(), slices.Contains(addrs, ip):
		case ip.Is6() && ip.IsLinkLocalUnicast():
		default:
			addrs = append(addrs, ip)
		}
	}
	return addrs
}
