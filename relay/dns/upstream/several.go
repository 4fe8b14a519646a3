package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/flow"
)

const (
	// turnTime is how long a server is waited for where another one follows; its question is sent twice.
	turnTime = 2 * time.Second
	// maxServers is how many servers of a list are asked.
	maxServers = 8
	dnsPort    = 53
)

var errNoServers = errors.New("there are no name servers but this one")

// several asks servers over UDP in the order of a list that may change.
type several struct {
	config Config

	mu      sync.Mutex
	closed  bool
	addrs   []netip.Addr
	servers []Upstream // of addrs
}

// set makes addrs, which differ, the list. A server that stays keeps its connections.
func (v *several) set(addrs []netip.Addr) {
	if own := v.config.Own; own != nil {
		addrs = slices.DeleteFunc(slices.Clone(addrs), func(ip netip.Addr) bool { return own(netip.AddrPortFrom(ip, dnsPort)) })
	}
	addrs = addrs[:min(len(addrs), maxServers):min(len(addrs), maxServers)]
	v.mu.Lock()
	if v.closed || slices.Equal(addrs, v.addrs) {
		v.mu.Unlock()
		return
	}
	servers := make([]Upstream, len(addrs)) // a new slice: exchanges have the old one
	for i, ip := range addrs {
		if at := slices.Index(v.addrs, ip); at >= 0 {
			servers[i] = v.servers[at]
		} else {
			servers[i] = newUDP(&nameserver.Server{Addr: flow.Addr{IP: ip, Port: dnsPort}}, v.config)
		}
	}
	gone := slices.DeleteFunc(slices.Clone(v.servers), func(u Upstream) bool { return slices.Contains(servers, u) })
	v.addrs, v.servers = addrs, servers
	v.mu.Unlock()
	closeAll(gone)
}

func (v *several) list() (servers []Upstream, closed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.servers, v.closed
}

// Exchange asks one server after the other. One that cannot answer is as good as none, but what it says
// is returned where no other can.
func (v *several) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	for {
		servers, closed := v.list()
		if closed {
			return nil, ErrClosed
		}
		resp, err := askInTurn(ctx, servers, query)
		if now, closed := v.list(); closed || !errors.Is(err, ErrClosed) || slices.Equal(now, servers) {
			return resp, err
		}
	}
}

func askInTurn(ctx context.Context, servers []Upstream, query []byte) (resp []byte, err error) {
	for i, u := range servers {
		r, e := askFor(ctx, u, query, i == len(servers)-1)
		switch {
		case e != nil && err != nil:
			err = fmt.Errorf("%w; %w", err, e)
		case e != nil:
			err = e
		case canAnswer(r):
			return r, nil
		default:
			resp = r
		}
		if ctx.Err() != nil {
			break
		}
	}
	if resp == nil && err == nil {
		err = errNoServers
	}
	if resp != nil {
		err = nil
	}
	return resp, err
}

// askFor asks u, for no longer than its turn where it is not the last one.
func askFor(ctx context.Context, u Upstream, query []byte, last bool) ([]byte, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, turnTime)
		defer cancel()
	}
	return u.Exchange(ctx, query)
}

// canAnswer says whether the response code is about the question and not about the server.
func canAnswer(resp []byte) bool {
	switch resp[3] & 0xf {
	case wire.ServerFailure, wire.NotImplemented, wire.Refused:
		return false
	}
	return true
}

// Close ends all that is asked.
func (v *several) Close() error {
	v.mu.Lock()
	v.closed = true
	servers := v.servers
	v.mu.Unlock()
	closeAll(servers)
	return nil
}

func closeAll(servers []Upstream) {
	for _, u := range servers {
		u.Close()
	}
}
