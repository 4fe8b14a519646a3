package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// listening is an address that a configuration listens on.
type listening struct {
	key, host string
	port      string
	inbound   bool
}

// listens are the addresses that c listens on over TCP: nothing listens over UDP alone.
func (c *Config) listens() []listening {
	list := make([]listening, 0, 6)
	host := "127.0.0.1"
	if c.AllowLAN {
		host = strings.Trim(c.BindAddress, "[]")
	}
	for _, p := range []struct {
		key  string
		port int
	}{{"port", c.Port}, {"socks-port", c.SocksPort}, {"mixed-port", c.MixedPort}} {
		if p.port > 0 {
			list = append(list, listening{p.key, host, fmt.Sprint(p.port), true})
		}
	}
	add := func(key, addr string) {
		host, port, err := net.SplitHostPort(addr)
		if err == nil && port != "0" && port != "" {
			list = append(list, listening{key, host, port, false})
		}
	}
	add("external-controller", c.Controller.Addr)
	add("external-controller-tls", c.Controller.TLSAddr)
	if c.DNS.Enable {
		add("dns.listen", c.DNS.Listen)
	}
	return list
}

// checkPorts reports addresses that two things cannot both listen on.
func (c *Config) checkPorts(d *decoder) {
	list := c.listens()
	for i, l := range list {
		for _, other := range list[:i] {
			if l.inbound && other.inbound || l.port != other.port || !overlap(l.host, other.host) {
				continue // two inbound ports are compared as numbers
			}
			d.report(Error, d.places[l.key], l.key, fmt.Sprintf("port %s is that of %s already", l.port, other.key), "")
			break
		}
	}
}

// overlap says whether two hosts, bound on one port, are in each other's way.
func overlap(a, b string) bool {
	x, y := bound(a), bound(b)
	switch {
	case a == b:
		return true
	case !x.IsValid() || !y.IsValid(): // a name: whoever binds it will see
		return false
	}
	return x == y || x.IsUnspecified() && (x.Is6() || y.Is4()) || y.IsUnspecified() && (y.Is6() || x.Is4())
}

// bound is the address of a host that is listened on; one that is not given is all of them.
func bound(host string) netip.Addr {
	switch host {
	case "", "*":
		return netip.IPv6Unspecified()
	case "localhost":
		host = "127.0.0.1"
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}
