package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// DNS is the resolver and its server.
type DNS struct {
	Enable                bool             `key:"enable"`
	Listen                string           `key:"listen" check:"listen"`
	IPv6                  bool             `key:"ipv6"`
	IPv6Timeout           time.Duration    `key:"ipv6-timeout" unit:"ms"`
	PreferH3              bool             `key:"prefer-h3"`
	UseHosts              bool             `key:"use-hosts"`
	UseSystemHosts        bool             `key:"use-system-hosts"`
	RespectRules          bool             `key:"respect-rules"`
	CacheAlgorithm        string           `key:"cache-algorithm"`
	CacheMaxSize          int              `key:"cache-max-size" range:"0-1000000"`
	ServeStale            time.Duration    `key:"serve-stale"` // how long answers are used beyond their time
	EnhancedMode          string           `key:"enhanced-mode" one:"fake-ip redir-host normal"`
	FakeIPRange           netip.Prefix     `key:"fake-ip-range"`
	FakeIPRange6          netip.Prefix     `key:"fake-ip-range6"`
	FakeIPTTL             int              `key:"fake-ip-ttl" range:"0-86400"`
	FakeIPFilter          []Ref            `key:"fake-ip-filter"`
	FakeIPFilterMode      string           `key:"fake-ip-filter-mode" one:"blacklist whitelist rule"`
	DefaultNameserver     []Ref            `key:"default-nameserver"`
	Nameserver            []Ref            `key:"nameserver"`
	Fallback              []Ref            `key:"fallback"`
	FallbackFilter        FallbackFilter   `key:"fallback-filter"`
	FallbackLazyQuery     bool             `key:"fallback-lazy-query"`
	Policy                NameserverPolicy `key:"nameserver-policy"`
	ProxyServerNameserver []Ref            `key:"proxy-server-nameserver"`
	ProxyServerPolicy     NameserverPolicy `key:"proxy-server-nameserver-policy"`
	DirectNameserver      []Ref            `key:"direct-nameserver"`
	DirectFollowPolicy    bool             `key:"direct-nameserver-follow-policy"`
}

// FallbackFilter says when the fallback servers' answer counts.
type FallbackFilter struct {
	GeoIP     bool           `key:"geoip"`
	GeoIPCode string         `key:"geoip-code"`
	IPCIDR    []netip.Prefix `key:"ipcidr"`
	Domain    []string       `key:"domain"`
	GeoSite   []string       `key:"geosite"`
}

// Listing is a name with the texts that belong to it.
type Listing struct {
	Name   string
	Values []string
	Pos    Pos
}

// listings reads a map from names to lists, in the order of the file; a single value is a list of
// one.
func listings(v value) []Listing {
	var all []Listing
	for _, e := range v.entries() {
		if !e.val.resolve() {
			continue
		}
		e.val.weak = true
		l := Listing{Name: e.key.Value, Pos: Pos{e.key.Line, e.key.Column}}
		for _, item := range e.val.items() {
			if s, ok := item.scalar(); ok {
				l.Values = append(l.Values, s)
			}
		}
		all = append(all, l)
	}
	return all
}

// NameserverPolicy says who resolves which names.
type NameserverPolicy []Listing

func (p *NameserverPolicy) decode(v value) { *p = listings(v) }

// Hosts are names with the addresses, or the other name, that they stand for.
type Hosts []Listing

func (h *Hosts) decode(v value) { *h = listings(v) }

func defaultDNS() DNS {
	return DNS{
		IPv6Timeout: 100 * time.Millisecond, UseHosts: true, UseSystemHosts: true, CacheAlgorithm: "lru",
		EnhancedMode: "redir-host", FakeIPRange: netip.MustParsePrefix("198.18.0.0/16"), FakeIPTTL: 1,
		DefaultNameserver: refs("114.114.114.114", "223.5.5.5", "8.8.8.8", "1.0.0.1"),
		FakeIPFilterMode:  "blacklist", FallbackFilter: FallbackFilter{GeoIP: true, GeoIPCode: "CN"},
	}
}

func refs(names ...string) []Ref {
	list := make([]Ref, len(names))
	for i, name := range names {
		list[i].Name = name
	}
	return list
}

// Sniffer finds names in first bytes.
type Sniffer struct {
	Enable              bool       `key:"enable"`
	Sniff               SniffPorts `key:"sniff"`
	OverrideDestination bool       `key:"override-destination"`
	ForceDNSMapping     bool       `key:"force-dns-mapping"`
	ParsePureIP         bool       `key:"parse-pure-ip"`
	ForceDomain         []string   `key:"force-domain"`
	SkipDomain          []string   `key:"skip-domain"`
	SkipSrcAddress      []string   `key:"skip-src-address"`
	SkipDstAddress      []string   `key:"skip-dst-address"`
	Sniffing            []string   `key:"sniffing"`
	PortWhitelist       []string   `key:"port-whitelist"`
}

// SniffPorts says where each protocol is looked for.
type SniffPorts struct {
	HTTP SniffProtocol `key:"HTTP"`
	TLS  SniffProtocol `key:"TLS"`
	QUIC SniffProtocol `key:"QUIC"`
}

// SniffProtocol is one of SniffPorts.
type SniffProtocol struct {
	Ports               []string `key:"ports"`
	OverrideDestination bool     `key:"override-destination"`
}

func defaultSniffer() Sniffer {
	return Sniffer{OverrideDestination: true, ForceDNSMapping: true, ParsePureIP: true}
}

// TUN is the virtual interface.
type TUN struct {
	Enable                 bool     `key:"enable"`
	Device                 string   `key:"device"`
	Stack                  string   `key:"stack" one:"gVisor System Mixed"`
	DNSHijack              []string `key:"dns-hijack"`
	AutoRoute              bool     `key:"auto-route"`
	AutoDetectInterface    bool     `key:"auto-detect-interface"`
	AutoRedirect           bool     `key:"auto-redirect"`
	AutoRedirectInputMark  int      `key:"auto-redirect-input-mark" range:"0-4294967295"`
	AutoRedirectOutputMark int      `key:"auto-redirect-output-mark" range:"0-4294967295"`
	StrictRoute            bool     `key:"strict-route"`
	MTU                    int      `key:"mtu" range:"0-65535"`
	GSO                    bool     `key:"gso"`
	GSOMaxSize             int      `key:"gso-max-size" range:"0-"`
	Inet4Address           []string `key:"inet4-address" weak:"yes"`
	Inet6Address           []string `key:"inet6-address" weak:"yes"`
	TableIndex             int      `key:"iproute2-table-index" range:"0-"`
	RuleIndex              int      `key:"iproute2-rule-index" range:"0-"`
	UDPTimeout             int      `key:"udp-timeout" range:"0-"` // seconds
	EndpointIndependentNAT bool     `key:"endpoint-independent-nat"`
	FileDescriptor         int      `key:"file-descriptor" range:"0-"`
	RouteAddress           []string `key:"route-address"`
	RouteAddressSet        []string `key:"route-address-set"`
	RouteExclude           []string `key:"route-exclude-address"`
	RouteExcludeSet        []string `key:"route-exclude-address-set"`
	Inet4Route             []string `key:"inet4-route-address"`
	Inet6Route             []string `key:"inet6-route-address"`
	Inet4RouteExclude      []string `key:"inet4-route-exclude-address"`
	Inet6RouteExclude      []string `key:"inet6-route-exclude-address"`
	IncludeInterface       []string `key:"include-interface"`
	ExcludeInterface       []string `key:"exclude-interface"`
	IncludeUID             []string `key:"include-uid"`
	IncludeUIDRange        []string `key:"include-uid-range"`
	ExcludeUID             []string `key:"exclude-uid"`
	ExcludeUIDRange        []string `key:"exclude-uid-range"`
	IncludeAndroidUser     []string `key:"include-android-user"`
	IncludePackage         []string `key:"include-package"`
	ExcludePackage         []string `key:"exclude-package"`
	IncludeMAC             []string `key:"include-mac-address"`
	ExcludeMAC             []string `key:"exclude-mac-address"`
}

func defaultTUN() TUN {
	return TUN{Stack: "gVisor", DNSHijack: []string{"0.0.0.0:53"}, AutoRoute: true, AutoDetectInterface: true}
}

// TUICServer is the old form of a tuic listener.
type TUICServer struct {
	Enable                bool              `key:"enable"`
	Listen                string            `key:"listen"`
	Token                 []string          `key:"token" secret:"yes"`
	Users                 map[string]string `key:"users" secret:"yes"`
	Certificate           string            `key:"certificate" secret:"yes"`
	PrivateKey            string            `key:"private-key" secret:"yes"`
	ECHKey                string            `key:"ech-key" secret:"yes"`
	CongestionController  string            `key:"congestion-controller"`
	MaxIdleTime           int               `key:"max-idle-time" range:"0-"`
	AuthenticationTimeout int               `key:"authentication-timeout" range:"0-"`
	ALPN                  []string          `key:"alpn"`
	MaxUDPRelayPacketSize int               `key:"max-udp-relay-packet-size" range:"0-"`
	CWND                  int               `key:"cwnd" range:"0-"`
}

func defaultTUIC() TUICServer {
	return TUICServer{MaxIdleTime: 15000, AuthenticationTimeout: 1000, ALPN: []string{"h3"}, MaxUDPRelayPacketSize: 1500}
}

// NTP sets the clock of protocols that need one.
type NTP struct {
	Enable        bool   `key:"enable"`
	Server        string `key:"server"`
	Port          int    `key:"port" range:"1-65535"`
	Interval      int    `key:"interval" range:"1-"` // minutes
	DialerProxy   string `key:"dialer-proxy"`
	WriteToSystem bool   `key:"write-to-system"`
}

func defaultNTP() NTP { return NTP{Server: "time.apple.com", Port: 123, Interval: 30} }

// IPTables sets up transparent proxying.
type IPTables struct {
	Enable           bool     `key:"enable"`
	InboundInterface string   `key:"inbound-interface"`
	Bypass           []string `key:"bypass"`
	DNSRedirect      bool     `key:"dns-redirect"`
}

// later is a part of a section that is not built yet: it may be there, and nothing is read of it.
type later struct{}

func (*later) decode(value) {}

// Listener is one entry of listeners.
type Listener struct {
	Pos        Pos
	Name, Type string
}

func (l *Listener) decode(v value) {
	l.Pos = v.pos()
	for _, e := range v.entries() {
		if !e.val.resolve() || e.val.n.Kind != yaml.ScalarNode {
			continue
		}
		switch e.key.Value {
		case "name":
			l.Name = e.val.n.Value
		case "type":
			l.Type = strings.ToLower(e.val.n.Value)
			e.val.oneOf(l.Type, listenerTypes)
		}
	}
	if l.Type == "" {
		v.fail("want a type")
	}
}

var listenerTypes = strings.Fields(`http socks mixed redir tproxy tunnel tun shadowsocks vmess vless trojan
	hysteria2 tuic anytls mieru sudoku snell trusttunnel shadowquic`)

// oneOf reports a word that is none of those that are known.
func (v value) oneOf(word string, known []string) {
	if !slices.Contains(known, word) {
		v.d.report(Error, v.pos(), v.path, "unknown type "+v.got(), v.d.nearest(word, known))
	}
}

// Tunnel is one entry of tunnels.
type Tunnel struct {
	Pos     Pos
	Network []string `key:"network"`
	Address string   `key:"address" check:"listen"`
	Target  string   `key:"target"`
	Proxy   string   `key:"proxy"`
}

func (t *Tunnel) decode(v value) {
	if v.n.Kind != yaml.ScalarNode {
		v.object(false, t)
		return
	}
	t.Pos = v.pos()
	part := strings.Split(v.n.Value, ",")
	if len(part) < 3 || len(part) > 4 {
		v.fail("want network,address,target[,proxy], got %s", v.got())
		return
	}
	t.Network, t.Address, t.Target = strings.Split(part[0], "/"), part[1], part[2]
	if len(part) == 4 {
		t.Proxy = part[3]
	}
}
