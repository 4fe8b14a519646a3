package outbound

import (
	"context"
	"fmt"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// Rematch carries nothing: the engine gives the flow a name and matches it again, by the rules or by
// a list of sub-rules.
type Rematch struct {
	info      Info
	name, sub string
}

// NewRematch makes a node that leads to the rules again. name is what the rule REMATCH-NAME then
// sees, and sub the list of sub-rules; either may be empty.
func NewRematch(info Info, name, sub string) *Rematch { return &Rematch{info, name, sub} }

// Info implements Outbound.
func (r *Rematch) Info() *Info { return &r.info }

// Rematch returns the flow's new name, "" for the one it has, and the sub-rules to go on with, "" for
// the rules.
func (r *Rematch) Rematch() (name, subRule string) { return r.name, r.sub }

// Dial implements Outbound: it fails. Only outside of rule mode does anything dial it.
func (r *Rematch) Dial(context.Context, *flow.Flow) (flow.Conn, error) { return nil, r.err() }

// DialPacket implements Outbound: it fails.
func (r *Rematch) DialPacket(context.Context, *flow.Flow) (flow.PacketConn, error) {
	return nil, r.err()
}

func (r *Rematch) err() error {
	return fmt.Errorf("proxy %q: type rematch leads to the rules, and there are none in this mode", r.info.Name)
}
