package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Proxy is one node.
type Proxy struct {
	Pos           Pos
	Name          string    `key:"name"`
	Type          string    `key:"type"`
	Server        string    `key:"server"`
	Port          uint16    // 0 where the type needs none
	UDP           bool      `key:"udp"`
	TFO           bool      `key:"tfo"`
	MPTCP         bool      `key:"mptcp"`
	InterfaceName string    `key:"interface-name"`
	RoutingMark   int       `key:"routing-mark" range:"0-4294967295"`
	IPVersion     string    `key:"ip-version" one:"dual ipv4 ipv6 ipv4-prefer ipv6-prefer"`
	DialerProxy   string    `key:"dialer-proxy"`
	SMux          bool      // smux.enabled
	UoT           bool      // UDP goes over TCP
	XUDP          bool      // xudp packet encoding
	Login         NodeLogin // of http and socks5
	Rematch       Rematch   // of rematch
}

// Rematch are the keys of a node that leads to the rules again.
type Rematch struct {
	Name    string `key:"target-rematch-name"`
	SubRule string `key:"target-sub-rule"`
}

// NodeLogin are the keys that http and socks5 nodes have beyond the common ones.
type NodeLogin struct {
	Username       string            `key:"username"`
	Password       string            `key:"password" secret:"yes"`
	TLS            bool              `key:"tls"`
	SNI            string            `key:"sni"`
	SkipCertVerify bool              `key:"skip-cert-verify"`
	Fingerprint    string            `key:"fingerprint"`
	Headers        map[string]string `key:"headers"`
}

// nodeCommon are the keys of nodes that are read by hand.
type nodeCommon struct {
	Port       int    `key:"port" range:"1-65535"`
	SMux       smux   `key:"smux"`
	UDPOverTCP bool   `key:"udp-over-tcp"`
	XUDP       bool   `key:"xudp"`
	Encoding   string `key:"packet-encoding"`
	Benchmark  later  `key:"benchmark-url"` // of old subscriptions
}

type smux struct {
	Enabled bool  `key:"enabled"`
	Rest    later `key:"protocol"`
}

func (s *smux) decode(v value) {
	for _, e := range v.entries() {
		if e.key.Value == "enabled" && e.val.resolve() {
			s.Enabled, _ = e.val.boolean()
		}
	}
}

// nodeTypes are the types of the family and the keys each must have.
var nodeTypes = map[string]struct {
	built bool
	must  string
}{
	"direct": {built: true}, "reject": {built: true}, "dns": {built: true},
	"http": {true, "server port"}, "socks5": {true, "server port"},
	"ss": {must: "server port cipher password"}, "ssr": {must: "server port cipher password obfs protocol"},
	"trojan": {must: "server port password"}, "vmess": {must: "server port uuid alterId cipher"},
	"vless": {must: "server port uuid"}, "hysteria": {must: "server"}, "hysteria2": {must: "server"},
	"tuic": {must: "server port"}, "wireguard": {}, "snell": {must: "server port psk"},
	"ssh": {must: "server port"}, "mieru": {must: "server"}, "anytls": {must: "server port password"},
	"sudoku": {}, "masque": {}, "trusttunnel": {}, "tailscale": {}, "openvpn": {}, "zerotier": {},
	"shadowquic": {}, "rematch": {built: true},
}

// NodeTypes are the types a node may have, sorted.
func NodeTypes() []string { return slices.Clone(nodeTypeNames) }

var nodeTypeNames = slices.Sorted(maps.Keys(nodeTypes))

// decode reads one node. What is known of a type that is not built yet is only what it must have.
func (p *Proxy) decode(v value) {
	v.weak = true
	p.Pos = v.pos()
	if v.n.Kind != yaml.MappingNode {
		v.fail("want a map, got %s", v.got())
		return
	}
	keys := make(map[string]value)
	for _, e := range v.entries() {
		keys[e.key.Value] = e.val
	}
	if t, ok := keys["type"]; ok && t.resolve() {
		p.Type = strings.ToLower(t.n.Value)
	}
	kind, known := nodeTypes[p.Type]
	var common nodeCommon
	var login NodeLogin
	switch p.Type {
	case "http", "socks5":
		v.object(false, p, &common, &login)
	case "direct", "reject":
		v.object(false, p, &common)
	case "rematch":
		v.object(false, p, &common, &p.Rematch)
	default:
		v.object(true, p, &common)
	}
	p.Type = strings.ToLower(p.Type)
	p.Port, p.Login, p.SMux = uint16(common.Port), login, common.SMux.Enabled
	p.XUDP = common.XUDP || common.Encoding == "xudp"
	p.UoT = common.UDPOverTCP || slices.Contains([]string{"trojan", "vmess", "vless"}, p.Type)
	p.implied()
	p.check(v, keys, known, kind.must)
}

// implied sets what a type says by itself.
func (p *Proxy) implied() {
	switch p.Type {
	case "direct", "dns", "reject", "rematch", "hysteria", "hysteria2", "tuic", "wireguard":
		p.UDP = true
	case "http":
		p.UDP = false
	}
}

// maxSOCKSLogin is what a SOCKS 5 message has room for, in bytes (RFC 1929).
const maxSOCKSLogin = 255

// checkLogin refuses what its protocol could not carry, or would read as something else. It quotes
// nothing.
func (p *Proxy) checkLogin(v value) {
	l := &p.Login
	if p.Type == "socks5" && max(len(l.Username), len(l.Password)) > maxSOCKSLogin {
		v.fail("username and password of a socks5 node have %d bytes at the most", maxSOCKSLogin)
	}
	if p.Type == "http" && strings.Contains(l.Username, ":") {
		v.fail("the username of an http node cannot hold a colon")
	}
	for name, text := range l.Headers {
		if strings.ContainsAny(name, "\r\n: ") || strings.ContainsAny(text, "\r\n\x00") {
			v.fail("headers of an http node are one line each")
			return
		}
	}
}

func (p *Proxy) check(v value, keys map[string]value, known bool, must string) {
	if p.Name == "" {
		v.fail("want a name")
	}
	if p.Type == "" {
		v.fail("want a type")
		return
	}
	if !known {
		t := keys["type"]
		t.resolve()
		t.safe = true // it is a word, and no secret
		t.oneOf(p.Type, nodeTypeNames)
		return
	}
	p.checkLogin(v)
	var missing []string
	for _, key := range strings.Fields(must) {
		if k, ok := keys[key]; !ok || k.isNull() {
			missing = append(missing, key)
		}
	}
	if missing != nil {
		v.fail("a node of type %s needs %s", p.Type, strings.Join(missing, ", "))
	}
}

// Unbuilt says whether p is of a type that this version only lists.
func (p *Proxy) Unbuilt() bool { return !nodeTypes[p.Type].built }

// builtIn are the names that no node may have.
var builtIn = []string{"DIRECT", "REJECT", "REJECT-DROP", "PASS", "COMPATIBLE"}

// names checks that nodes and groups have names of their own, and returns all that a rule or a
// group may name.
func (c *Config) names(d *decoder) []string {
	all := slices.Clone(builtIn)
	seen := make(map[string]Pos, len(c.Proxies)+len(c.Groups))
	for _, name := range append(slices.Clone(builtIn), "PASS-RULE") {
		seen[name] = Pos{}
	}
	add := func(at Pos, path, name string) {
		if name == "" {
			return
		}
		if first, dup := seen[name]; dup {
			where := "is built in"
			if first.Line > 0 {
				where = fmt.Sprintf("is there already, in line %d", first.Line)
			}
			d.report(Error, at, path, fmt.Sprintf("the name %q %s", name, where), "")
			return
		}
		seen[name] = at
		all = append(all, name)
	}
	for i := range c.Proxies {
		add(c.Proxies[i].Pos, fmt.Sprintf("proxies[%d].name", i), c.Proxies[i].Name)
	}
	for i := range c.Groups {
		add(c.Groups[i].Pos, fmt.Sprintf("proxy-groups[%d].name", i), c.Groups[i].Name)
	}
	if _, own := seen["GLOBAL"]; !own {
		all = append(all, "GLOBAL")
	}
	return all
}

// checkDialers checks that dialer-proxy names something, and never leads back to itself.
func (c *Config) checkDialers(d *decoder, names []string) {
	known := set(names)
	next := c.members()
	for i := range c.Proxies {
		if p := &c.Proxies[i]; p.DialerProxy != "" {
			next[p.Name] = append(next[p.Name], p.DialerProxy)
		}
	}
	for i := range c.Proxies {
		p := &c.Proxies[i]
		path := fmt.Sprintf("proxies[%d].dialer-proxy", i)
		switch {
		case p.DialerProxy == "":
		case !known[p.DialerProxy]:
			d.report(Error, p.Pos, path, fmt.Sprintf("no proxy or group is called %q", p.DialerProxy), d.nearest(p.DialerProxy, names))
		}
	}
	c.checkDialerLoops(d, next)
}

// checkDialerLoops reports loops of nodes that dial through themselves, each at its first node.
func (c *Config) checkDialerLoops(d *decoder, next map[string][]string) {
	index, names := make(map[string]int), make([]string, 0, len(c.Proxies))
	for i := range c.Proxies {
		if p := &c.Proxies[i]; p.DialerProxy != "" {
			index[p.Name] = i
			names = append(names, p.Name)
		}
	}
	for _, loop := range circles(names, next) {
		first := len(c.Proxies)
		for _, name := range loop {
			if i, ok := index[name]; ok {
				first = min(first, i)
			}
		}
		if first < len(c.Proxies) { // else groups contain themselves, which is told of them
			p := &c.Proxies[first]
			d.report(Error, p.Pos, fmt.Sprintf("proxies[%d].dialer-proxy", first), "dials through itself: "+wayFrom(p.Name, loop, " -> "), "")
		}
	}
}

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
