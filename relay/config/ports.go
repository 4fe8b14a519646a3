package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Listening is an address that a configuration listens on over TCP.
type Listening struct {
	Key     string // of the configuration
	Addr    string
	UDP     bool // over UDP as well
	host    string
	port    int
	inbound bool
}

// Listens are the addresses that c listens on: nothing listens over UDP alone.
func (c *Config) Listens() []Listening {
	list := make([]Listening, 0, 6)
	host := "127.0.0.1"
	if c.AllowLAN {
		if host = strings.Trim(c.BindAddress, "[]"); host == "*" {
			host = ""
		}
	}
	for _, p := range []struct {
		key  string
		port int
		udp  bool
	}{{"port", c.Port, false}, {"socks-port", c.SocksPort, true}, {"mixed-port", c.MixedPort, true}} {
		if p.port > 0 {
			addr := net.JoinHostPort(host, strconv.Itoa(p.port))
			list = append(list, Listening{p.key, addr, p.udp, host, p.port, true})
		}
	}
	add := func(key, addr string, udp bool) {
		host, text, err := net.SplitHostPort(addr)
		port, _ := strconv.Atoi(text)
		if err == nil && port != 0 {
			list = append(list, Listening{key, addr, udp, host, port, false})
		}
	}
	add("external-controller", c.Controller.Addr, false)
	add("external-controller-tls", c.Controller.TLSAddr, false)
	if c.DNS.Enable {
		add("dns.listen", c.DNS.Listen, true)
	}
	return list
}

// checkPorts reports addresses that two things cannot both listen on.
func (c *Config) checkPorts(d *decoder) {
	list := c.Listens()
	for i, l := range list {
		for _, other := range list[:i] {
			if l.inbound && other.inbound || l.port != other.port || !overlap(l.host, other.host) {
				continue // two inbound ports are compared as numbers
			}
			d.report(Error, d.places[l.Key], l.Key, fmt.Sprintf("port %d is that of %s already", l.port, other.Key), "")
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
