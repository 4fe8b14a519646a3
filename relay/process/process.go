// Package process says which program of this machine is behind a connection, for the rules that
// ask for its name, its path or its user.
package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// ErrNotFound means that no open socket of this machine sends from that address: it belongs to
// another machine, or its process has closed it.
var ErrNotFound = errors.New("no such socket")

// ErrUnsupported means that this system has no way to tell.
var ErrUnsupported = fmt.Errorf("owners of sockets: %w", errors.ErrUnsupported)

// Owner is who is behind a local socket.
type Owner struct {
	UID  uint32 // the user that made the socket
	Path string // of the executable; "" where no process that we may look into holds the socket
}

// Name is the last element of Path.
func (o Owner) Name() string { return o.Path[strings.LastIndexByte(o.Path, '/')+1:] }

// Finder finds owners, and remembers a bounded number of them. All methods may be called
// concurrently.
type Finder struct{ finder }

// New makes a Finder. It holds no descriptors and needs no closing.
func New() *Finder { return &Finder{newFinder()} }

// Find says who owns the socket that sends from source to local. Both are as the client's system
// sees them; local may be unknown, or known in part, which costs more and can mistake one of
// several sockets on a port for another. Where a socket has many holders, it names one of them.
//
// Find is quick for sources of other machines and for sockets it has seen. For a new one it reads
// /proc, one call at a time, while others wait; all of them honour ctx.
func (f *Finder) Find(
	ctx context.Context, network flow.Network, source, local netip.AddrPort,
) (Owner, error) {
	o, err := f.find(ctx, network, source, local)
	if err != nil {
		return Owner{}, fmt.Errorf("owner of %s %s: %w", network, source, err)
	}
	return o, nil
}
