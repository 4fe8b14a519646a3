// Package inbound accepts what clients send: HTTP proxy requests, SOCKS 4, 4a and 5, or both on
// one port. It admits clients, reads what they ask for, and hands flows to a Handler.
package inbound

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// Handler carries flows on. The engine is one.
type Handler interface {
	// Open routes f and connects to its target. The caller ends the stream. f belongs to the
	// handler from then on.
	Open(ctx context.Context, f *flow.Flow) (flow.Stream, error)
	// Packet carries one datagram of f, and the replies to r. It keeps neither p nor blocks.
	Packet(f flow.Flow, local netip.Addr, p []byte, r flow.Replier)
	// EndSources ends the UDP associations of the sources that gone picks.
	EndSources(gone func(netip.AddrPort, flow.Replier) bool)
	// Recovered notes a panic that ended a connection.
	Recovered(v any)
}

// Protocol is what a listener speaks.
type Protocol uint8

// The protocols. Mixed is HTTP and SOCKS, told apart by the first byte.
const (
	Mixed Protocol = iota
	HTTP
	SOCKS
)

// Service is how connections of a listener are served. It is immutable: a listener gets another
// one, and connections that are being served keep theirs.
type Service struct {
	Name     string // what the API shows, such as "DEFAULT-MIXED"
	Protocol Protocol
	Users    *Users // nil: nobody has to log in
	NoLogin  []netip.Prefix
	Allowed  []netip.Prefix // nil: everybody
	Refused  []netip.Prefix // wins over Allowed
	UDP      *PacketServer  // nil: no UDP ASSOCIATE
	Handler  Handler
}

// admits says whether a client at ip may connect at all.
func (s *Service) admits(ip netip.Addr) bool {
	return !contains(s.Refused, ip) && (s.Allowed == nil || contains(s.Allowed, ip))
}

// login says whether a client at ip has to log in.
func (s *Service) login(ip netip.Addr) bool {
	return s.Users != nil && !contains(s.NoLogin, ip)
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Users are those who may log in, by name. Passwords are kept as sums, so that a comparison takes
// the same time whatever is wrong.
type Users struct{ sums map[string][sha256.Size]byte }

// NewUsers makes a set from names and passwords.
func NewUsers(passwords map[string]string) *Users {
	u := &Users{sums: make(map[string][sha256.Size]byte, len(passwords))}
	for name, password := range passwords {
		u.sums[name] = sha256.Sum256([]byte(password))
	}
	return u
}

// Check says whether password is name's.
func (u *Users) Check(name, password string) bool {
	want, known := u.sums[name]
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
}

// Conns are the client connections of all listeners, so that a daemon that stops can end them and
// wait for their goroutines. The zero value is ready.
type Conns struct {
	mu     sync.Mutex
	closed bool
	live   map[*sysnet.TCPConn]struct{}
	wait   sync.WaitGroup
}

// run calls serve in a goroutine of its own and closes c when serve returns true, or else when end
// is called.
func (cs *Conns) run(c *sysnet.TCPConn, serve func(end func()) (ended bool)) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		_ = c.Close()
		return
	}
	if cs.live == nil {
		cs.live = make(map[*sysnet.TCPConn]struct{})
	}
	cs.live[c] = struct{}{}
	cs.wait.Add(1)
	end := func() { cs.remove(c) }
	go func() {
		if serve(end) {
			end()
		}
	}()
}

func (cs *Conns) remove(c *sysnet.TCPConn) {
	defer cs.wait.Done()
	_ = c.Close()
	cs.mu.Lock()
	delete(cs.live, c)
	cs.mu.Unlock()
}

// Wait waits until no connection is served, or ctx is done; then CloseAll is to follow. No listener runs.
func (cs *Conns) Wait(ctx context.Context) {
	none := make(chan struct{})
	go func() {
		cs.wait.Wait()
		close(none)
	}()
	select {
	case <-none:
	case <-ctx.Done():
	}
}

// CloseAll closes every connection, refuses new ones, and waits until none is served.
func (cs *Conns) CloseAll() {
	cs.mu.Lock()
	cs.closed = true
	for c := range cs.live {
		_ = c.Close()
	}
	cs.mu.Unlock()
	cs.wait.Wait()
}
