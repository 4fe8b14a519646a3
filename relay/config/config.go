// Package config reads a configuration of the Clash.Meta family into plain, validated data. It
// knows the family's whole schema, says everything that is wrong at once, each with its place and
// the nearest known name, and builds nothing.
package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Mode is what decides where a flow goes.
type Mode string

// The modes.
const (
	ModeRule   Mode = "rule"
	ModeGlobal Mode = "global"
	ModeDirect Mode = "direct"
)

// ParseMode reads a mode in any case.
func ParseMode(s string) (Mode, bool) {
	m := Mode(strings.ToLower(s))
	return m, m == ModeRule || m == ModeGlobal || m == ModeDirect
}

// LogLevel is how much is logged.
type LogLevel string

// The log levels.
const (
	LogDebug   LogLevel = "debug"
	LogInfo    LogLevel = "info"
	LogWarning LogLevel = "warning"
	LogError   LogLevel = "error"
	LogSilent  LogLevel = "silent"
)

// ParseLogLevel reads a log level in any case.
func ParseLogLevel(s string) (LogLevel, bool) {
	l := LogLevel(strings.ToLower(s))
	return l, slices.Contains([]LogLevel{LogDebug, LogInfo, LogWarning, LogError, LogSilent}, l)
}

// Config is one configuration. Its fields are the keys of the file; a nil slice is a key that is
// absent. A configuration that is in use is never changed: Clone makes one that may be.
type Config struct {
	File  string // for messages
	Paths Paths  // set by whoever reads the file

	Inbounds
	General
	Controller      Controller      // keys of the top level
	TLS             TLS             `key:"tls"`
	Profile         Profile         `key:"profile"`
	Geo             Geo             // keys of the top level
	Upgrade         Upgrade         `key:"upgrade"`
	Experimental    Experimental    `key:"experimental"`
	ClashForAndroid ClashForAndroid `key:"clash-for-android"`

	Proxies        []Proxy         `key:"proxies"`
	Groups         []Group         `key:"proxy-groups" weak:"yes"`
	ProxyProviders []ProxyProvider `key:"proxy-providers,named" weak:"yes"`
	HealthChecks   int             `key:"health-check-concurrency" range:"1-1024"` // tests of nodes at a time
	Rules          []Rule          `key:"rules"`
	SubRules       SubRules        `key:"sub-rules"`
	RuleProviders  []RuleProvider  `key:"rule-providers,named" weak:"yes"`

	DNS       DNS        `key:"dns"`
	Hosts     Hosts      `key:"hosts"`
	Sniffer   Sniffer    `key:"sniffer"`
	TUN       TUN        `key:"tun"`
	TUIC      TUICServer `key:"tuic-server"`
	Listeners []Listener `key:"listeners" weak:"yes"`
	Tunnels   []Tunnel   `key:"tunnels"`
	NTP       NTP        `key:"ntp"`
	IPTables  IPTables   `key:"iptables"`

	places map[string]Pos // those of the decoder
}

// Inbounds are the listening ports and who may use them.
type Inbounds struct {
	Port             int            `key:"port" range:"0-65535"`
	SocksPort        int            `key:"socks-port" range:"0-65535"`
	MixedPort        int            `key:"mixed-port" range:"0-65535"`
	RedirPort        int            `key:"redir-port" range:"0-65535"`
	TProxyPort       int            `key:"tproxy-port" range:"0-65535"`
	SSConfig         string         `key:"ss-config" secret:"yes"`
	VmessConfig      string         `key:"vmess-config" secret:"yes"`
	Authentication   []User         `key:"authentication" secret:"yes"`
	SkipAuthPrefixes []netip.Prefix `key:"skip-auth-prefixes"`
	LANAllowed       []netip.Prefix `key:"lan-allowed-ips"`    // nil: everybody
	LANDisallowed    []netip.Prefix `key:"lan-disallowed-ips"` // wins over LANAllowed
	AllowLAN         bool           `key:"allow-lan"`
	BindAddress      string         `key:"bind-address"`
	InboundTFO       bool           `key:"inbound-tfo"`
	InboundMPTCP     bool           `key:"inbound-mptcp"`
}

// General are the settings of the whole daemon.
type General struct {
	Mode                    Mode          `key:"mode" one:"rule global direct"`
	LogLevel                LogLevel      `key:"log-level" one:"debug info warning error silent"`
	IPv6                    bool          `key:"ipv6"`
	UnifiedDelay            bool          `key:"unified-delay"`
	TCPConcurrent           bool          `key:"tcp-concurrent"`
	FindProcessMode         string        `key:"find-process-mode" one:"always strict off"`
	InterfaceName           string        `key:"interface-name"`
	RoutingMark             int           `key:"routing-mark" range:"0-4294967295"`
	GlobalClientFingerprint string        `key:"global-client-fingerprint"`
	GlobalUA                string        `key:"global-ua"`
	ETagSupport             bool          `key:"etag-support"`
	KeepAliveIdle           time.Duration `key:"keep-alive-idle"`
	KeepAliveInterval       time.Duration `key:"keep-alive-interval"`
	DisableKeepAlive        bool          `key:"disable-keep-alive"`
}

// Controller is the API.
type Controller struct {
	Addr         string `key:"external-controller" check:"listen"`
	TLSAddr      string `key:"external-controller-tls" check:"listen"`
	Unix         string `key:"external-controller-unix"`
	Pipe         string `key:"external-controller-pipe"`
	CORS         CORS   `key:"external-controller-cors"`
	RoutingMark  int    `key:"external-controller-routing-mark" range:"0-4294967295"`
	DoHPath      string `key:"external-doh-server"`
	Secret       string `key:"secret" secret:"yes"`
	MetricsToken string `key:"metrics-token" secret:"yes"` // for /metrics alone; an addition of ours
	UI           string `key:"external-ui"`
	UIName       string `key:"external-ui-name"`
	UIURL        string `key:"external-ui-url" check:"url" secret:"yes"`
	// Kept says that these settings, and the certificate, are those that run: files they name are not read again.
	Kept bool
}

// CORS says which web pages may use the API.
type CORS struct {
	AllowOrigins        []string `key:"allow-origins"` // one * may stand for anything in each
	AllowPrivateNetwork bool     `key:"allow-private-network"`
	AllowOriginsSet     bool     // somebody wrote AllowOrigins down
}

// TLS are certificates: of the API, and authorities to trust. Each is PEM or, but for the
// authorities, the path of a file.
type TLS struct {
	Certificate        string   `key:"certificate" secret:"yes"`
	PrivateKey         string   `key:"private-key" secret:"yes"`
	ECHKey             string   `key:"ech-key" secret:"yes"`
	ClientAuthType     string   `key:"client-auth-type"`
	ClientAuthCert     string   `key:"client-auth-cert" secret:"yes"`
	CustomCertificates []string `key:"custom-certifactes" secret:"yes"` // the family's spelling
}

// Profile is what survives a restart.
type Profile struct {
	StoreSelected bool `key:"store-selected"`
	StoreFakeIP   bool `key:"store-fake-ip"`
}

// Geo is the geo data.
type Geo struct {
	Mode           bool    `key:"geodata-mode"`
	Loader         string  `key:"geodata-loader"`
	Matcher        string  `key:"geosite-matcher"`
	AutoUpdate     bool    `key:"geo-auto-update"`
	UpdateInterval int     `key:"geo-update-interval" range:"0-87600"` // hours
	URLs           GeoURLs `key:"geox-url"`
}

// GeoURLs are where geo data is downloaded from.
type GeoURLs struct {
	GeoIP   string `key:"geoip" check:"url"`
	MMDB    string `key:"mmdb" check:"url"`
	ASN     string `key:"asn" check:"url"`
	GeoSite string `key:"geosite" check:"url"`
}

// Upgrade is where the daemon's own releases are. It is an addition of ours.
type Upgrade struct {
	URL       string `key:"url" check:"url" secret:"yes"`
	PublicKey string `key:"public-key" check:"minisign"` // that they are signed with
}

// Experimental are switches of the family that change nothing here.
type Experimental struct {
	Fingerprints     []string `key:"fingerprints"`
	QUICGoDisableGSO bool     `key:"quic-go-disable-gso"`
	QUICGoDisableECN bool     `key:"quic-go-disable-ecn"`
	IP4PConvert      bool     `key:"dialer-ip4p-convert"`
}

// ClashForAndroid are keys of one app.
type ClashForAndroid struct {
	AppendSystemDNS   bool   `key:"append-system-dns"`
	UISubtitlePattern string `key:"ui-subtitle-pattern"`
}

// User may use the inbounds.
type User struct{ Name, Password string }

// decode reads "name:password".
func (u *User) decode(v value) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	name, password, found := strings.Cut(s, ":")
	if !found || name == "" {
		v.d.report(Error, v.pos(), v.path, `want "name:password"`, "")
		return
	}
	u.Name, u.Password = name, password
}

// Ref is the name of a node or group, and where it stands.
type Ref struct {
	Name string
	Pos  Pos
}

func (r *Ref) decode(v value) {
	if s, ok := v.scalar(); ok {
		r.Name, r.Pos = s, v.pos()
	}
}

// Default is what a file means that says nothing.
func Default() *Config {
	c := &Config{}
	c.BindAddress = "*"
	c.Mode, c.LogLevel = ModeRule, LogInfo
	c.IPv6, c.ETagSupport = true, true
	c.FindProcessMode = "strict"
	c.Controller.CORS = CORS{AllowOrigins: []string{"*"}, AllowPrivateNetwork: true}
	c.Profile.StoreSelected = true
	c.HealthChecks = 16
	c.Geo.Loader, c.Geo.Matcher, c.Geo.UpdateInterval = "memconservative", "succinct", 24
	const geoData = "https://github.com/MetaCubeX/meta-rules-dat/releases/download/latest/"
	c.Geo.URLs = GeoURLs{
		GeoIP: geoData + "geoip.dat", MMDB: geoData + "geoip.metadb", ASN: geoData + "GeoLite2-ASN.mmdb", GeoSite: geoData + "geosite.dat",
	}
	c.DNS, c.Sniffer, c.TUN, c.TUIC, c.NTP = defaultDNS(), defaultSniffer(), defaultTUN(), defaultTUIC(), defaultNTP()
	return c
}

// Clone copies c. Lists are shared: whoever changes one puts a new one in its place.
func (c *Config) Clone() *Config {
	n := *c
	return &n
}
