// Package group has the outbounds that are made of other outbounds, and how each chooses among them.
package group

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// ErrNoMember means that a choice names nobody in the group.
var ErrNoMember = errors.New("no such member")

// Group is an outbound that is made of outbounds. Its methods may be called from any goroutine.
type Group interface {
	outbound.Outbound
	// Config is what the group was made of; it is not to be changed.
	Config() *Config
	// Members are those there are now, in order, at least one; the list is not to be changed.
	Members() []outbound.Outbound
	// SetMembers replaces the members, of which there is at least one: an empty list changes nothing.
	// Choices and pins are kept by name. The group keeps the list.
	SetMembers(list []outbound.Outbound)
	// Pick is the member that carries f, and counts as use. It is asked once for a flow: it may be
	// somebody's turn. It allocates nothing.
	Pick(f *flow.Flow) outbound.Outbound
	// Peek is the member that Pick would return, as far as that can be told: it is nobody's turn, and it
	// does not count as use.
	Peek(f *flow.Flow) outbound.Outbound
	// UDP says whether the group carries UDP as things are.
	UDP() bool
	// LastUsed is when Pick was last asked, in whole seconds since the group was made; zero is never.
	LastUsed() time.Time
}

// Chooser is a group that has one choice for all flows: select, url-test, fallback.
type Chooser interface {
	// Now is the choice. It does not count as use.
	Now() outbound.Outbound
}

// Pinner is a group that chooses by itself until a member is pinned: url-test, fallback.
type Pinner interface {
	// Pin makes name the choice while it is alive; it fails with ErrNoMember.
	Pin(name string) error
	// Unpin takes the pin out.
	Unpin()
	// Fixed is the pinned name, "" for none. It need not be a member, nor alive.
	Fixed() string
}

// Wisher is a group whose choice or pin outlives it: select, url-test, fallback.
type Wisher interface {
	// Wish is what somebody chose or pinned by name, "" where a pin was taken out; it need not be a
	// member now. With false nobody ever did.
	Wish() (name string, ok bool)
	// SetWish makes name the choice or the pin, now or when it becomes a member.
	SetWish(name string)
}

// Successor is a group that may go on where another of its name has ended: url-test.
type Successor interface {
	// Follow takes over what old has found out by itself, where it is a group of the same kind. It is called
	// before the first Pick; nil and others than groups change nothing.
	Follow(old outbound.Outbound)
}

// Feedback is a group that wants to hear how dials through its members went: url-test, fallback,
// load-balance, and relay for the sake of those among its members. See Tell.
type Feedback interface {
	// DialFailed notes that member, as Pick returned it, could not be dialed through.
	DialFailed(member outbound.Outbound, err error)
	// DialWorked notes that it could.
	DialWorked(member outbound.Outbound)
}

// Tests is what is known of members; relay/health keeps it.
type Tests interface {
	// Result says whether a member answers, by the tests of url, and how fast: milliseconds, 65535
	// where that is not known. It allocates nothing.
	Result(i *outbound.Info, url string) (alive bool, delay uint16)
	// Changed counts what was learnt: a decision made at another count may be old.
	Changed() uint64
}

// Config is one group. It has at least one member.
type Config struct {
	Name       string
	Members    []outbound.Outbound // at first
	Default    string              // select: the member chosen at first; "" is the first one
	DisableUDP bool
	Hidden     bool
	Icon       string
	TestURL    string // members are judged by the tests of it
	Expected   string // the status that the tests want, for the API to show
	Empty      string // the name of the member that stands in for none

	// Tests are asked about members; nil is that all are alive, and none is faster.
	Tests Tests
	// Check asks for a check of the members, and does not wait for it; nil is that nobody checks.
	Check func()
	// Unpinned is told, with no lock held, that a pin has gone with the member that it was of. It is called
	// on the way of a flow and does not wait; nil is that nobody wants to know.
	Unpinned  func()
	MaxFailed int           // dials that fail within Timeout before a check; 0 is 5
	Timeout   time.Duration // 0 is 5 s
	Tolerance time.Duration // url-test: what another must be faster by; in milliseconds
	Strategy  Strategy      // load-balance
}

// untested stands in for tests where there are none.
type untested struct{}

// unknownDelay is what Tests say where no delay is known, in milliseconds.
const unknownDelay = 65535

func (untested) Result(*outbound.Info, string) (bool, uint16) { return true, unknownDelay }
func (untested) Changed() uint64                              { return 0 }

// crew is what all groups have: members, of which there is a new set when they change.
type crew struct {
	c    Config
	info outbound.Info
	set  atomic.Pointer[set]
	made time.Time
	used atomic.Int64 // seconds since made, and one more; 0 is never
}

// start fills in a new crew.
func (g *crew) start(c Config, kind string) {
	if c.Tests == nil {
		c.Tests = untested{}
	}
	g.c, g.info, g.made = c, outbound.Info{Name: c.Name, Type: kind}, time.Now()
	g.set.Store(newSet(c.Members))
}

// Config implements Group.
func (g *crew) Config() *Config { return &g.c }

// Info implements outbound.Outbound.
func (g *crew) Info() *outbound.Info { return &g.info }

// Members implements Group.
func (g *crew) Members() []outbound.Outbound { return g.set.Load().list }

// LastUsed implements Group.
func (g *crew) LastUsed() time.Time {
	if n := g.used.Load(); n > 0 {
		return g.made.Add(time.Duration(n-1) * time.Second)
	}
	return time.Time{}
}

// use notes that the group is used, and returns how long it has been there.
func (g *crew) use() time.Duration {
	now := time.Since(g.made)
	if n := int64(now/time.Second) + 1; g.used.Load() != n { // a write that changes nothing costs the others
		g.used.Store(n)
	}
	return now
}

// alive asks the tests about a member.
func (g *crew) alive(m *member) bool {
	alive, _ := g.c.Tests.Result(m.info, g.c.TestURL)
	return alive
}

// set is the members at one time. Only what is atomic in it changes, and failures under their lock.
type set struct {
	list   []outbound.Outbound
	all    []member
	byName map[string]int // the first of each name
	chosen atomic.Int32   // select, url-test and fallback: the choice
	seen   atomic.Uint64  // url-test and fallback: what Changed was at the choice
	until  atomic.Int64   // and how long it holds, in nanoseconds since the group was made; 0 is not
}

// member is one place in a set.
type member struct {
	out      outbound.Outbound
	info     *outbound.Info
	sub      carrier // where it is a group
	failures failures
}

func newSet(list []outbound.Outbound) *set {
	s := &set{list: list, all: make([]member, len(list)), byName: make(map[string]int, len(list))}
	for i, o := range list {
		m := &s.all[i]
		m.out, m.info = o, o.Info()
		m.sub, _ = o.(carrier)
		if _, dup := s.byName[m.info.Name]; !dup {
			s.byName[m.info.Name] = i
		}
	}
	return s
}

// index is where name is, or other.
func (s *set) index(name string, other int) int {
	if i, ok := s.byName[name]; ok {
		return i
	}
	return other
}

// carrier is a group of ours, asked whether it carries UDP.
type carrier interface {
	carries(looks int) (ok bool, left int)
}

// maxLooks bounds the members that are looked at to tell whether a group carries UDP. Groups in groups
// can have very many ways to the same nodes; who has not found out by then says yes, and the dial tells.
const maxLooks = 10_000

// carries says whether the member carries UDP, and how many looks are left.
func (m *member) carries(looks int) (ok bool, left int) {
	switch {
	case looks <= 0:
		return true, 0
	case m.sub != nil:
		return m.sub.carries(looks - 1)
	}
	return m.info.UDP, looks - 1
}
