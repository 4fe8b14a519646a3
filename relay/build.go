package relay

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	dnsproxy "github.com/switchyard-proxy/switchyard/relay/outbound/dns"
	httpproxy "github.com/switchyard-proxy/switchyard/relay/outbound/http"
	socksproxy "github.com/switchyard-proxy/switchyard/relay/outbound/socks"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/transport"
)

// Running is one configuration, built. It is immutable but for what its groups have chosen.
type Running struct {
	Config *config.Config
	// Outbounds are all of them by name, and Sorted by it.
	Outbounds map[string]outbound.Outbound
	Sorted    []outbound.Outbound
	// Groups are the groups as in the file, with GLOBAL last unless the file has it.
	Groups  []group.Group
	Program *rule.Program
	// RuleProviders are those of the file, in its order.
	RuleProviders []*ruleProvider

	naming   *naming
	snapshot *engine.Snapshot
	made     map[string]made
	built    []*builtGroup
	ruleSets map[string]*ruleProvider
	counters *rule.Counters
	geo      map[geoKey]bool // what the rules refer to
	usedSets map[string]bool // the rule providers that they refer to
	off      map[int]bool    // the rules that are switched off
}

// made remembers what an outbound was built of, so that one whose settings stay is kept.
type made struct {
	proxy config.Proxy
	base  dialing
	out   outbound.Outbound
}

// dialing are the settings of the whole file that decide how outbounds dial.
type dialing struct {
	ipv6, concurrent bool
	socket           sysnet.Options
	roots            string // the extra authorities
}

// builder makes one Running.
type builder struct {
	*Running
	relay   *Relay
	selves  *flow.Selves
	prev    *Running
	base    dialing
	roots   *x509.CertPool
	problem config.Diagnostics
	refused map[string]bool // rule providers that have been reported
}

// build makes what c says, beside what runs. It opens nothing.
func (r *Relay) build(c *config.Config, prev *Running, off map[int]bool) (*Running, error) {
	b := &builder{
		Running: &Running{Config: c, Outbounds: make(map[string]outbound.Outbound), made: make(map[string]made), off: off},
		relay:   r, prev: prev, base: dialingOf(c),
	}
	if r.engine != nil {
		b.selves = r.engine.Selves()
	}
	b.roots = authorities(c.TLS.CustomCertificates)
	b.builtIn()
	for i := range c.Proxies {
		b.proxy(i)
	}
	b.groups(r.selections(c, prev))
	slices.SortFunc(b.Sorted, func(x, y outbound.Outbound) int { return cmp.Compare(x.Info().Name, y.Info().Name) })
	b.ruleProviders()
	b.names()
	b.rules()
	if err := b.problem.Err(); err != nil {
		return nil, err
	}
	return b.Running, nil
}

// selections are the members that groups shall have, as somebody has chosen them: in what runs, else
// in what is stored. One that is no member now stays a wish, and comes true when it is one again.
func (r *Relay) selections(c *config.Config, prev *Running) map[string]string {
	chosen := map[string]string{}
	if c.Profile.StoreSelected {
		stored, err := r.store.Selections()
		if err != nil {
			r.log.Warn("stored choices cannot be read", slog.Any("err", err))
		}
		for name, member := range stored {
			chosen[name] = member
		}
	}
	if prev != nil {
		for _, g := range prev.Groups {
			if w, ok := g.(group.Wisher); ok {
				if wish, ok := w.Wish(); ok {
					chosen[g.Info().Name] = wish
				}
			}
		}
	}
	return chosen
}

func dialingOf(c *config.Config) dialing {
	d := dialing{ipv6: c.IPv6, concurrent: c.TCPConcurrent, roots: fmt.Sprint(c.TLS.CustomCertificates)}
	d.socket = sysnet.Options{Interface: c.InterfaceName, Mark: c.RoutingMark, KeepAlive: keepAlive(c)}
	return d
}

// authorities are the system's and the file's; nil is the system's alone.
func authorities(pems []string) *x509.CertPool {
	if len(pems) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, pem := range pems {
		pool.AppendCertsFromPEM([]byte(pem)) // config knows that it is one
	}
	return pool
}

func (b *builder) add(o outbound.Outbound) {
	name := o.Info().Name
	b.Outbounds[name] = o
	b.Sorted = append(b.Sorted, o)
}

// keep returns the outbound that ran under name, if it was made of the same, or makes it.
func (b *builder) keep(p config.Proxy, make func() outbound.Outbound) outbound.Outbound {
	p.Pos = config.Pos{}
	m := made{proxy: p, base: b.base}
	if b.prev != nil {
		old, ok := b.prev.made[p.Name]
		if ok && old.base == m.base && reflect.DeepEqual(old.proxy, m.proxy) {
			m.out = old.out
		}
	}
	if m.out == nil {
		m.out = make()
	}
	b.made[p.Name] = m
	return m.out
}

func (b *builder) builtIn() {
	for _, o := range []struct{ name, kind string }{
		{"DIRECT", "Direct"},
		{"REJECT", "Reject"},
		{"REJECT-DROP", "RejectDrop"},
		{"COMPATIBLE", "Compatible"},
		{"PASS", "Pass"},
	} {
		b.add(b.keep(config.Proxy{Name: o.name, Type: o.kind}, func() outbound.Outbound {
			info := outbound.Info{Name: o.name, Type: o.kind, ID: outbound.NewID(), UDP: true}
			switch o.kind {
			case "Reject":
				return outbound.NewReject(info, flow.ErrRejected)
			case "RejectDrop":
				return outbound.NewReject(info, flow.ErrDropped)
			case "Pass": // rules go on behind it; whoever dials through it goes nowhere
				return outbound.NewReject(info, flow.ErrRejected)
			}
			return outbound.NewDirect(info, b.dialer(&config.Proxy{}))
		}))
	}
}

// dialer makes the sockets of p.
func (b *builder) dialer(p *config.Proxy) *outbound.Dialer {
	d := &outbound.Dialer{
		Socket: b.base.socket, IPv6: b.base.ipv6, Concurrent: b.base.concurrent,
		Family: families[p.IPVersion], Lookup: b.relay.lookup(forServer), Selves: b.selves,
	}
	if p.Type == "" || p.Type == "direct" {
		d.Lookup = b.relay.lookup(forDirect)
	}
	d.Socket.FastOpen, d.Socket.Multipath = p.TFO, p.MPTCP
	if p.InterfaceName != "" {
		d.Socket.Interface = p.InterfaceName
	}
	if p.RoutingMark != 0 {
		d.Socket.Mark = p.RoutingMark
	}
	if p.DialerProxy != "" {
		d.Via = b.relay.byName(p.DialerProxy)
	}
	return d
}

var errGone = errors.New("dialer-proxy: no such proxy or group")

// byName finds an outbound by name in what runs when it dials: an outbound that is kept must not
// hold a node or a group of a configuration that is gone.
func (r *Relay) byName(name string) func() (outbound.Outbound, error) {
	return func() (outbound.Outbound, error) {
		if o := r.current.Load().Outbounds[name]; o != nil {
			return o, nil
		}
		return nil, fmt.Errorf("%w: %q", errGone, name)
	}
}

var families = map[string]outbound.Family{
	"": outbound.Dual, "dual": outbound.Dual, "ipv4": outbound.IPv4Only, "ipv6": outbound.IPv6Only,
	"ipv4-prefer": outbound.IPv4First, "ipv6-prefer": outbound.IPv6First,
}

// proxy builds node i of the file.
func (b *builder) proxy(i int) {
	p := &b.Config.Proxies[i]
	b.add(b.keep(*p, func() outbound.Outbound {
		info := outbound.Info{
			Name: p.Name, Type: typeNames[p.Type], ID: outbound.NewID(), UDP: p.UDP, UOT: p.UoT, XUDP: p.XUDP,
			TFO: p.TFO, MPTCP: p.MPTCP, SMux: p.SMux,
			Interface: p.InterfaceName, RoutingMark: p.RoutingMark, DialerProxy: p.DialerProxy,
		}
		switch p.Type {
		case "direct":
			info.UDP = true
			return outbound.NewDirect(info, b.dialer(p))
		case "reject":
			info.UDP = true
			return outbound.NewReject(info, flow.ErrRejected)
		case "dns":
			info.UDP = true
			return dnsproxy.New(info, b.relay.answerDNS, serveDNS)
		case "rematch":
			return outbound.NewRematch(info, p.Rematch.Name, p.Rematch.SubRule)
		case "http":
			info.UDP = false
			return httpproxy.New(httpproxy.Config{
				Info: info, Server: b.server(i), Headers: p.Login.Headers,
				Username: p.Login.Username, Password: p.Login.Password,
			})
		case "socks5":
			return socksproxy.New(socksproxy.Config{
				Info: info, Server: b.server(i),
				Username: p.Login.Username, Password: p.Login.Password,
			})
		}
		return outbound.NewUnbuilt(info, p.Type)
	}))
}

// server is where node i is, and how to get there; a host that is no host is a problem of the file.
func (b *builder) server(i int) outbound.Server {
	p := &b.Config.Proxies[i]
	s := outbound.Server{Addr: flow.Addr{Port: p.Port}, Dialer: b.dialer(p)}
	var err error
	if s.Addr.Host, s.Addr.IP, err = flow.ParseHost(p.Server); err != nil {
		b.report(p.Pos, fmt.Sprintf("proxies[%d].server", i), "want a host name or an address")
	}
	if !p.Login.TLS {
		return s
	}
	if fingerprint := p.Login.Fingerprint; fingerprint != "" {
		if _, err := transport.ParseFingerprint(fingerprint); err != nil {
			b.report(p.Pos, fmt.Sprintf("proxies[%d].fingerprint", i), err.Error())
		}
	}
	t := &transport.TLS{
		ServerName: cmp.Or(p.Login.SNI, p.Server), SkipVerify: p.Login.SkipCertVerify,
		Fingerprint: p.Login.Fingerprint, Roots: b.roots,
	}
	s.Layer = t.Client
	return s
}

func (b *builder) report(at config.Pos, path, message string) {
	b.problem = append(b.problem, config.Diagnostic{
		Severity: config.Error, File: b.Config.File, Line: at.Line, Column: at.Column, Path: path, Message: message,
	})
}

var modes = map[config.Mode]engine.Mode{
	config.ModeRule: engine.ByRule, config.ModeGlobal: engine.Global, config.ModeDirect: engine.Direct,
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

// systemLookup asks the system's resolver.
func systemLookup(ctx context.Context, host string, ipv6 bool) ([]netip.Addr, error) {
	network := "ip"
	if !ipv6 {
		network = "ip4"
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// logLevel turns the file's word into slog's.
func logLevel(l config.LogLevel) slog.Level {
	switch l {
	case config.LogDebug:
		return slog.LevelDebug
	case config.LogWarning:
		return slog.LevelWarn
	case config.LogError:
		return slog.LevelError
	case config.LogSilent:
		return logs.Silent
	}
	return slog.LevelInfo
}
