// Package flow is the vocabulary every other package of the relay shares: what a flow is, where it
// comes from and goes to, and the two kinds of connection that carry it.
package flow

import (
	"net/netip"
	"strconv"
	"strings"
)

// Network is the transport of a flow.
type Network uint8

// The transports a flow can have.
const (
	TCP Network = iota + 1
	UDP
)

// String returns the API's word: "tcp" or "udp".
func (n Network) String() string {
	switch n {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "invalid"
}

// Kind is the kind of inbound that accepted a flow.
type Kind uint8

// The kinds of inbound. HTTP is a plain proxy request, HTTPS a CONNECT, Inner the daemon itself.
const (
	HTTP Kind = iota + 1
	HTTPS
	SOCKS4
	SOCKS5
	Inner
)

var kindNames = [...]string{HTTP: "HTTP", HTTPS: "HTTPS", SOCKS4: "Socks4", SOCKS5: "Socks5", Inner: "Inner"}

// Kinds is how many there are, with the zero Kind.
const Kinds = len(kindNames)

// String returns the API's word for k, such as "Socks5".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// ParseKind reads the API's word in any case; 0 is none.
func ParseKind(s string) Kind {
	for k, name := range kindNames {
		if name != "" && strings.EqualFold(s, name) {
			return Kind(k)
		}
	}
	return 0
}

// Addr is where a flow goes: a host name or an address, and a port. Host is normalized (see
// ParseHost) and empty when the target was given as an address. A name and an address may both be
// set: then IP is what the name resolved to.
type Addr struct {
	Host string
	IP   netip.Addr
	Port uint16
}

// String returns host:port, with the name where there is one and brackets around IPv6.
func (a Addr) String() string {
	if a.Host != "" {
		return a.Host + ":" + strconv.Itoa(int(a.Port))
	}
	return netip.AddrPortFrom(a.IP, a.Port).String()
}

// AddrPort returns the address and port; it is valid only where IP is.
func (a Addr) AddrPort() netip.AddrPort { return netip.AddrPortFrom(a.IP, a.Port) }

// Flow is one TCP connection or one UDP association between a source and a target, as an inbound
// saw it. The inbound fills it, the engine adds what it looks up, and from the moment the flow is
// tracked nobody writes it any more.
type Flow struct {
	Network Network
	Kind    Kind
	Source  netip.AddrPort // who connected
	Local   netip.AddrPort // the address of ours it connected to
	Inbound string         // the listener's name, such as "DEFAULT-MIXED"
	User    string         // the authenticated user, or SOCKS4's user-id
	To      Addr           // where it wants to go

	LookedUp bool // To.Host was resolved, whether or not that found an address
	DNSMode  DNSMode
	DSCP     uint8
	Process  Process
	Rematch  string // the name that a node of type rematch gave it
}

// DNSMode is how DNS had a hand in the target of a flow.
type DNSMode uint8

// The modes.
const (
	DNSNormal    DNSMode = iota
	DNSFakeIP            // the client was given a fake address, which stood for To.Host
	DNSMapped            // the client was given To.IP for To.Host
	DNSFromHosts         // the configuration says that To.Host is at To.IP
)

var dnsModes = [...]string{"normal", "fake-ip", "redir-host", "hosts"}

// String returns the API's word.
func (m DNSMode) String() string { return dnsModes[m] }

// Target is what an outbound connects to: To, or its address alone where the name is only known here.
func (f *Flow) Target() Addr {
	if (f.DNSMode == DNSMapped || f.DNSMode == DNSFromHosts) && f.To.IP.IsValid() {
		return Addr{IP: f.To.IP, Port: f.To.Port}
	}
	return f.To
}

// Process is who opened a flow. The zero Process is one that nobody has looked for.
type Process struct {
	LookedUp bool // somebody has, whether or not that found anything
	Found    bool
	NoUser   bool // UID is not known
	UID      uint32
	Path     string // of the executable; "" where only the user is known
	Fold     string // Path in lower case
}

// FoundProcess is a process that was found.
func FoundProcess(uid uint32, path string) Process {
	return Process{LookedUp: true, Found: true, UID: uid, Path: path, Fold: strings.ToLower(path)}
}

// Name is the last part of Path.
func (p *Process) Name() string { return base(p.Path) }

// FoldName is Name in lower case.
func (p *Process) FoldName() string { return base(p.Fold) }

func base(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// Place is where an address is, as geo data has it. The zero Place is one that nobody has looked up.
type Place struct {
	Countries []string // codes in lower case; nil where they were not looked up
	System    string   // the autonomous system: its number and name; "" where not looked up
}
