// Package vitals is how the relay is, in plain data: what /readyz and /metrics tell.
package vitals

import (
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/health"
)

// Phase is what the relay is about.
type Phase uint8

// The phases.
const (
	Starting Phase = iota
	Serving
	Stopping
)

// Vitals are those of one moment.
type Vitals struct {
	Phase     Phase
	Reloads   Reloads
	Inbounds  []Listener // that the configuration asks for
	DNS       DNS
	Geo       []Geo // that rules need
	Providers []Provider

	Flows  engine.Counts
	Names  dns.Counts
	Tests  health.Counts
	Panics []Panics
}

// Reloads is how changes of the configuration went.
type Reloads struct {
	Worked, Failed uint64    // files and payloads that were read and applied, or were not
	Err            error     // of the last of them; nil is that it worked
	Step           string    // of Err: what could not be done; "" is that the configuration is wrong
	FailedAt       time.Time // of Err
	AppliedAt      time.Time // when what runs was applied; also by a client that changes single settings
}

// Listener is a listening socket.
type Listener struct {
	Network, Addr string
	Serving       bool
}

// DNS is the DNS server.
type DNS struct {
	Enabled bool
	Listen  string // as configured; "" is nowhere
	Serving bool
}

// Geo is a kind of geo data that rules need.
type Geo struct {
	Name   string // of its file
	Loaded bool   // all that is needed of it has been read
}

// Provider is a proxy provider or a rule provider.
type Provider struct {
	Kind      string // "proxy" or "rule"
	Name      string
	Count     int       // nodes or rules
	Loaded    bool      // it has had a content, which may be empty
	UpdatedAt time.Time // zero for never
	TriedAt   time.Time // zero for never
	Err       error     // of the last attempt
}

// Panics counts bugs by where they were.
type Panics struct {
	Where string
	Count uint64
}
