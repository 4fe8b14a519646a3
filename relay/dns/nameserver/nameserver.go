// Package nameserver reads how a configuration writes a name server: an address, how it is spoken to,
// and behind a # what else is to be said.
package nameserver

import (
	"net/netip"
	"net/url"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Scheme is how a name server is spoken to.
type Scheme uint8

// The schemes.
const (
	UDP Scheme = iota // and TCP, where an answer does not fit
	TCP
	TLS    // RFC 7858
	HTTPS  // RFC 8484
	HTTP   // RFC 8484 without TLS
	QUIC   // RFC 9250
	System // the servers that the system uses
	DHCP   // the servers that the network of an interface offers
	RCode  // an answer without records
)

// Server is one name server as the configuration has it.
type Server struct {
	Scheme Scheme
	Addr   flow.Addr     // of the server: a name or an address, and the port
	Path   string        // of HTTPS and HTTP, with the query
	User   *url.Userinfo // of HTTPS and HTTP, sent as Basic; nil: none. A secret, as Path is
	Device string        // of DHCP
	RCode  uint8         // of RCode

	Via          string // a proxy, a group or an interface; Rules is where rules lead; "" is straight
	H3           bool   // HTTP/3 alone
	SkipVerify   bool
	Subnet       netip.Prefix // RFC 7871, where valid
	SubnetAlways bool         // also where the question has one
	NoIPv4       bool         // A is not asked
	NoIPv6       bool         // AAAA is not asked
	NoTypes      []uint16     // neither are these
}

// Rules is the Via of a server that is reached where the rules lead.
const Rules = "RULES"
