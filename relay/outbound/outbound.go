// Package outbound is what the engine dials through: the interface, the settings every kind shares,
// and the kinds that need no protocol: direct, reject and those this version cannot dial.
package outbound

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Outbound opens connections to a flow's target.
type Outbound interface {
	// Info is what the API shows; it never changes.
	Info() *Info
	// Dial connects to f.To. It gives up when ctx ends. The caller closes the connection.
	Dial(ctx context.Context, f *flow.Flow) (flow.Conn, error)
	// DialPacket makes an association for datagrams of f, or fails with flow.ErrNoUDP.
	DialPacket(ctx context.Context, f *flow.Flow) (flow.PacketConn, error)
}

// Info describes an outbound. Type is the API's word.
type Info struct {
	Name, Type  string
	ID          string // of this loaded object; empty for groups
	UDP         bool
	UOT         bool // carries UDP over TCP
	XUDP        bool
	TFO         bool
	MPTCP       bool
	SMux        bool
	Interface   string
	RoutingMark int
	DialerProxy string
	Provider    string // the provider it came from
}

// NewID makes the id of a loaded outbound: a random UUID.
func NewID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Unbuilt is a node whose protocol this version cannot speak. It is listed, and says so when it
// is used.
type Unbuilt struct {
	info Info
	word string
}

// NewUnbuilt makes a node of the configuration's type word.
func NewUnbuilt(info Info, word string) *Unbuilt { return &Unbuilt{info: info, word: word} }

// Info implements Outbound.
func (u *Unbuilt) Info() *Info { return &u.info }

// Dial implements Outbound: it fails.
func (u *Unbuilt) Dial(context.Context, *flow.Flow) (flow.Conn, error) { return nil, u.err() }

// DialPacket implements Outbound: it fails.
func (u *Unbuilt) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, u.err()
}

func (u *Unbuilt) err() error {
	return fmt.Errorf("proxy %q: type %s is not supported yet", u.info.Name, u.word)
}
