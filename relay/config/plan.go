package config

import (
	"errors"
	"time"
)

// ErrStale means that the configuration is no longer the one that a change was made for.
var ErrStale = errors.New("the configuration has changed since it was read")

// Fate is what a change of configuration does to something.
type Fate string

// The fates. Listening sockets are Kept, Opened, Closed or Replaced: by another one on the same port. Nodes,
// groups and providers are Kept, Rebuilt, Added or Removed.
const (
	Kept     Fate = "kept"
	Opened   Fate = "opened"
	Closed   Fate = "closed"
	Replaced Fate = "replaced"
	Rebuilt  Fate = "rebuilt"
	Added    Fate = "added"
	Removed  Fate = "removed"
)

// Plan is what a change of configuration would do.
type Plan struct {
	Warnings       Diagnostics // what is to be said of the candidate, which is no error
	Sockets        []Socket
	Nodes          Fates // those of the file, and what is built in
	Groups         Fates
	ProxyProviders Fates
	RuleProviders  Fates
	RulesBefore    int
	RulesAfter     int
	CountersKept   bool // the rules stay, and go on counting
	Settings       []Difference
	Flows          Flows
}

// Socket is what a change does to a listening socket.
type Socket struct {
	Owner   string // "inbounds", "dns" or "controller"
	Network string // "tcp", "udp", "unix" or "pipe"
	Addr    string
	From    string // of a Replaced one: the address until now
	Fate    Fate
}

// Fates are things by name and by what a change does to them, each in the order of its file.
type Fates struct{ Kept, Rebuilt, Added, Removed []string }

// Add notes what happens to the thing called name.
func (n *Fates) Add(name string, f Fate) {
	switch f {
	case Kept:
		n.Kept = append(n.Kept, name)
	case Rebuilt:
		n.Rebuilt = append(n.Rebuilt, name)
	case Added:
		n.Added = append(n.Added, name)
	case Removed:
		n.Removed = append(n.Removed, name)
	}
}

// Difference is a key whose value differs between the configuration that runs and a candidate.
type Difference struct {
	Key           string
	Before, After string // "" where Shown is false
	Shown         bool   // the values hold no secret
	Applied       bool   // false: the change leaves the value as it is
}

// Flows is what a change does to the connections that are open. Those that go through something that is Removed
// or Rebuilt, and those that came in by a TCP listener that ends, live on.
type Flows struct {
	Total   int
	Through FlowList // what is removed or rebuilt
	Inbound FlowList // came in by what is closed or replaced
	Ended   []EndedFlows
}

// FlowList is a number of connections, and the ids of the first of them.
type FlowList struct {
	Count int
	IDs   []string
}

// MaxFlowIDs bounds the ids of a FlowList.
const MaxFlowIDs = 100

// Add counts a connection. id is asked for its id if that is wanted.
func (l *FlowList) Add(id func() string) {
	if l.Count++; l.Count <= MaxFlowIDs {
		l.IDs = append(l.IDs, id())
	}
}

// EndedFlows are connections that a change ends, and why.
type EndedFlows struct {
	FlowList
	Reason string
	After  time.Duration // how long they have from the change on
}
