package relay

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	dnsproxy "github.com/switchyard-proxy/switchyard/relay/outbound/dns"
	httpproxy "github.com/switchyard-proxy/switchyard/relay/outbound/http"
	socksproxy "github.com/switchyard-proxy/switchyard/relay/outbound/socks"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/transport"
)

// maker makes outbounds of nodes. It may outlive the configuration that it was made for, and holds no more of
// it than nodes need.
type maker struct {
	relay  *Relay
	selves *flow.Selves
	base   dialing
	roots  *x509.CertPool
}

func newMaker(r *Relay, c *config.Config) maker {
	m := maker{relay: r, base: dialingOf(c), roots: authorities(c.TLS.CustomCertificates)}
	if r.engine != nil {
		m.selves = r.engine.Selves()
	}
	return m
}

// dialing are the settings of the whole file that decide how outbounds dial.
type dialing struct {
	ipv6, concurrent bool
	socket           sysnet.Options
	roots            string // the extra authorities
}

func dialingOf(c *config.Config) dialing {
	d := dialing{ipv6: c.IPv6, concurrent: c.TCPConcurrent, roots: fmt.Sprint(c.TLS.CustomCertificates)}
	d.socket = sysnet.Options{Interface: c.InterfaceName, Mark: c.RoutingMark, KeepAlive: keepAlive(c)}
	return d
}

// made remembers what an outbound was built of, so that one whose settings stay is kept.
type made struct {
	proxy config.Proxy
	base  dialing
	out   outbound.Outbound
}

// madeOf is what the node called name was made of; n may be nil.
func (n *Running) madeOf(name string) made {
	if n == nil {
		return made{}
	}
	return n.made[name]
}

// nodeError is a key of a node whose value is of no use.
type nodeError struct{ key, text string }

func (e *nodeError) Error() string { return e.key + ": " + e.text }

// kept is the outbound of old, if p is made of the same, or nil.
func (m *maker) kept(p config.Proxy, old made) outbound.Outbound {
	if old.out != nil && old.base == m.base && config.Same(&old.proxy, &p) {
		return old.out
	}
	return nil
}

// keep keeps the outbound of old, if p is made of the same, or makes it; provider is who has the node, "" the
// file. An error is a *nodeError.
func (m *maker) keep(p config.Proxy, old made, provider string) (made, error) {
	out := m.kept(p, old)
	var err error
	if out == nil {
		out, err = m.node(&p, provider)
	}
	return made{p, m.base, out}, err
}

// node makes the outbound of p.
func (m *maker) node(p *config.Proxy, provider string) (outbound.Outbound, error) {
	info := outbound.Info{
		Name: p.Name, Type: typeNames[p.Type], ID: outbound.NewID(), UDP: p.UDP, UOT: p.UoT, XUDP: p.XUDP,
		TFO: p.TFO, MPTCP: p.MPTCP, SMux: p.SMux, Provider: provider,
		Interface: p.InterfaceName, RoutingMark: p.RoutingMark, DialerProxy: p.DialerProxy,
	}
	switch p.Type {
	case "direct":
		info.UDP = true
		return outbound.NewDirect(info, m.dialer(p)), nil
	case "reject":
		info.UDP = true
		return outbound.NewReject(info, flow.ErrRejected), nil
	case "dns":
		info.UDP = true
		return dnsproxy.New(info, m.relay.answerDNS, serveDNS), nil
	case "rematch":
		return outbound.NewRematch(info, p.Rematch.Name, p.Rematch.SubRule), nil
	case "http":
		info.UDP = false
		server, err := m.server(p)
		return httpproxy.New(httpproxy.Config{
			Info: info, Server: server, Headers: p.Login.Headers,
			Username: p.Login.Username, Password: p.Login.Password,
		}), err
	case "socks5":
		server, err := m.server(p)
		return socksproxy.New(socksproxy.Config{
			Info: info, Server: server,
			Username: p.Login.Username, Password: p.Login.Password,
		}), err
	}
	return outbound.NewUnbuilt(info, p.Type), nil
}

// server is where a node is, and how to get there.
func (m *maker) server(p *config.Proxy) (s outbound.Server, err error) {
	s = outbound.Server{Addr: flow.Addr{Port: p.Port}, Dialer: m.dialer(p)}
	if s.Addr.Host, s.Addr.IP, err = flow.ParseHost(p.Server); err != nil {
		return s, &nodeError{"server", "want a host name or an address"}
	}
	if !p.Login.TLS {
		return s, nil
	}
	if fingerprint := p.Login.Fingerprint; fingerprint != "" {
		if _, err := transport.ParseFingerprint(fingerprint); err != nil {
			return s, &nodeError{"fingerprint", err.Error()}
		}
	}
	t := &transport.TLS{
		ServerName: cmp.Or(p.Login.SNI, p.Server), SkipVerify: p.Login.SkipCertVerify,
		Fingerprint: p.Login.Fingerprint, Roots: m.roots,
	}
	s.Layer = t.Client
	return s, nil
}

// dialer makes the sockets of p.
func (m *maker) dialer(p *config.Proxy) *outbound.Dialer {
	d := &outbound.Dialer{
		Socket: m.base.socket, IPv6: m.base.ipv6, Concurrent: m.base.concurrent,
		Family: families[p.IPVersion], Lookup: m.relay.lookup(forServer), Selves: m.selves,
	}
	if p.Type == "" || p.Type == "direct" {
		d.Lookup = m.relay.lookup(forDirect)
	}
	d.Socket.FastOpen, d.Socket.Multipath = p.TFO, p.MPTCP
	if p.InterfaceName != "" {
		d.Socket.Interface = p.InterfaceName
	}
	if p.RoutingMark != 0 {
		d.Socket.Mark = p.RoutingMark
	}
	if p.DialerProxy != "" {
		d.Via = m.relay.byName(p.DialerProxy)
	}
	return d
}

var errGone = errors.New("dialer-proxy: no such proxy or group")

// byName finds an outbound by name in what runs when it dials: an outbound that is kept must not
// hold a node or a group of a configuration that is gone.
func (r *Relay) byName(name string) func() (outbound.Outbound, error) {
	return func() (outbound.Outbound, error) {
		if o := r.Outbound(name); o != nil {
			return o, nil
		}
		return nil, fmt.Errorf("%w: %q", errGone, name)
	}
}

var families = map[string]outbound.Family{
	"": outbound.Dual, "dual": outbound.Dual, "ipv4": outbound.IPv4Only, "ipv6": outbound.IPv6Only,
	"ipv4-prefer": outbound.IPv4First, "ipv6-prefer": outbound.IPv6First,
}

// typeNames are the API's words for the types of the file.
var typeNames = map[string]string{
	"direct": "Direct", "reject": "Reject", "dns": "Dns", "ss": "Shadowsocks", "ssr": "ShadowsocksR",
	"snell": "Snell", "socks5": "Socks5", "http": "Http", "vmess": "Vmess", "vless": "Vless",
	"trojan": "Trojan", "hysteria": "Hysteria", "hysteria2": "Hysteria2", "wireguard": "WireGuard",
	"tuic": "Tuic", "ssh": "Ssh", "mieru": "Mieru", "anytls": "AnyTLS", "masque": "Masque",
	"sudoku": "Sudoku", "trusttunnel": "TrustTunnel", "tailscale": "Tailscale", "openvpn": "OpenVPN",
	"zerotier": "ZeroTier", "shadowquic": "ShadowQUIC", "rematch": "Rematch",
}
