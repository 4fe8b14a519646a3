package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/fakeip"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	dnsproxy "github.com/switchyard-proxy/switchyard/relay/outbound/dns"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// dnsService is what of DNS outlives a configuration: the listener, the leases' keepers, and the
// questions that are being asked.
type dnsService struct {
	log     *slog.Logger
	sockets *sysnet.Sockets // nil: nobody keeps account
	life    *dns.Life
	mapping *dns.Mapping

	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	address atomic.Pointer[netip.AddrPort] // that the listener has; nil: there is none

	// Changed under Relay.applying.
	live    *dnsListener
	pools   map[*fakeip.Pool]*keeper
	servers map[*dns.Server]bool
}

// dnsListener is the listener that serves, and its end.
type dnsListener struct {
	*dns.Listener
	addr   string
	cancel context.CancelFunc
	ended  chan struct{}
}

func newDNSService(log *slog.Logger) *dnsService {
	s := &dnsService{
		log: log, life: dns.NewLife(), mapping: dns.NewMapping(),
		pools: make(map[*fakeip.Pool]*keeper), servers: make(map[*dns.Server]bool),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// dnsChange is a prepared change.
type dnsChange struct {
	service *dnsService
	next    *naming
	fresh   *dnsListener // nil: none is new
	keep    bool         // the one that serves stays
	evict   func(*naming)
}

// fate says what a change to c does to the listener; no fate is that there is none before and after. From is
// where it listens now, and addr where it is going to.
func (s *dnsService) fate(c *config.Config) (fate config.Fate, from, addr string) {
	if c.DNS.Enable {
		addr = c.DNS.Listen
	}
	if s.live != nil {
		from = s.live.addr
	}
	switch {
	case addr == from && addr != "":
		return config.Kept, from, addr
	case addr == "" && from != "":
		return config.Closed, from, addr
	case from != "" && samePort(addr, from):
		return config.Replaced, from, addr
	case addr != "":
		return config.Opened, from, addr
	}
	return "", from, addr
}

// plan says what prepare and Commit would do to the sockets. It opens nothing.
func (s *dnsService) plan(c *config.Config) (list []config.Socket) {
	fate, from, addr := s.fate(c)
	for _, network := range []string{"udp", "tcp"} {
		p := config.Socket{Owner: "dns", Network: network, Addr: addr, Fate: fate}
		if fate == config.Closed || fate == config.Opened && from != "" {
			list = append(list, config.Socket{Owner: "dns", Network: network, Addr: from, Fate: config.Closed})
		}
		if fate == config.Replaced {
			p.From = from
		}
		if fate != config.Closed && fate != "" {
			list = append(list, p)
		}
	}
	return list
}

// prepare binds the address of c, unless it is bound already.
func (s *dnsService) prepare(c *config.Config, next *naming, evict func(*naming)) (*dnsChange, error) {
	change := &dnsChange{service: s, next: next, evict: evict}
	fate, _, addr := s.fate(c)
	switch fate {
	case config.Closed, "":
		return change, nil
	case config.Kept:
		change.keep = true
		return change, nil
	}
	o := sysnet.Options{Sockets: s.sockets, Owner: "dns"}
	l, err := dns.Listen(addr, o, s.log)
	if errors.Is(err, syscall.EADDRINUSE) && fate == config.Replaced && s.live.Share() == nil {
		o.ReusePort = true
		l, err = dns.Listen(addr, o, s.log)
	}
	switch {
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("dns.listen: %w: ports below 1024 need root or the capability net_bind_service", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("dns.listen: %w: another name server, such as systemd-resolved, may have it", err)
	case err != nil:
		return nil, fmt.Errorf("dns.listen: %w", err)
	}
	change.fresh = &dnsListener{Listener: l, addr: addr}
	return change, nil
}

func samePort(a, b string) bool {
	_, p, errA := net.SplitHostPort(a)
	_, q, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && p == q
}

// Abort frees what was bound.
func (d *dnsChange) Abort() {
	if d.fresh != nil {
		_ = d.fresh.Close()
	}
}

// Commit serves by the new configuration and retires what it has no more.
func (d *dnsChange) Commit() {
	s := d.service
	old := s.live
	switch {
	case d.keep:
		old.Use(d.next.handler)
		old = nil
	case d.fresh != nil:
		d.fresh.Use(d.next.handler)
		s.serve(d.fresh)
		s.live = d.fresh
	default:
		s.live = nil
		s.address.Store(nil)
	}
	if old != nil {
		old.cancel()
		<-old.ended // a port that is gone is gone when the change is answered
	}
	s.keepServers(d.next)
	d.evict(d.next) // what the old handler may have leased last, too
}

// adopt gives new pools the leases that were made before, and has all of them keep theirs. It comes before
// anybody uses the configuration that they are of.
func (d *dnsChange) adopt() {
	s := d.service
	s.endPools(d.next)
	for p, old := range d.next.inherits {
		if old != nil {
			p.TakeOver(old)
		} else {
			logLeases(s.log, p.Load())
		}
	}
	for _, p := range d.next.pools {
		if s.pools[p] == nil {
			s.keepPool(p)
		}
	}
}

func (s *dnsService) serve(l *dnsListener) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(s.ctx)
	l.ended = make(chan struct{})
	addr := l.Addr()
	s.address.Store(&addr)
	s.running.Go(func() {
		defer close(l.ended)
		l.Serve(ctx)
	})
	s.log.Info("DNS server listening at " + l.Addr().String())
}

// keeper is what stores the leases of a pool.
type keeper struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func (s *dnsService) keepPool(p *fakeip.Pool) {
	k := &keeper{ended: make(chan struct{})}
	var ctx context.Context
	ctx, k.cancel = context.WithCancel(s.ctx)
	s.pools[p] = k
	s.running.Go(func() {
		defer close(k.ended)
		logLeases(s.log, p.Serve(ctx))
	})
}

// endPools has the pools that n has no more store their leases a last time.
func (s *dnsService) endPools(n *naming) {
	used := make(map[*fakeip.Pool]bool, len(n.pools))
	for _, p := range n.pools {
		used[p] = true
	}
	for p, k := range s.pools {
		if !used[p] {
			k.cancel()
			<-k.ended
			delete(s.pools, p)
		}
	}
}

// own says whether an address is that of the listener.
func (s *dnsService) own(a netip.AddrPort) bool {
	l := s.address.Load()
	if l == nil || l.Port() != a.Port() {
		return false
	}
	switch {
	case !l.Addr().IsUnspecified():
		return l.Addr() == a.Addr()
	case l.Addr().Is4() && !a.Addr().Is4():
		return false
	case a.Addr().IsLoopback(), a.Addr().IsUnspecified():
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr() == a.Addr()
	})
}

// serverRest is how long a name server that is used no more may still answer what it was asked.
const serverRest = 6 * time.Second

// keepServers closes the name servers that n has no more, once they have answered.
func (s *dnsService) keepServers(n *naming) {
	used := make(map[*dns.Server]bool, len(n.upstreams))
	for _, u := range n.upstreams {
		used[u] = true
		s.servers[u] = true
	}
	var gone []*dns.Server
	for u := range s.servers {
		if !used[u] {
			gone = append(gone, u)
			delete(s.servers, u)
		}
	}
	if len(gone) == 0 {
		return
	}
	s.running.Go(func() {
		timer := time.NewTimer(serverRest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		}
		closeServers(gone, s.log)
	})
}

func closeServers(list []*dns.Server, log *slog.Logger) {
	for _, u := range list {
		if err := u.Upstream.Close(); err != nil {
			log.Debug("close a name server", "server", u.Spec.String(), slog.Any("err", err))
		}
	}
}

// saveLeases stores what is known by now. No change is under way.
func (s *dnsService) saveLeases() {
	for p := range s.pools {
		logLeases(s.log, p.Save())
	}
}

// stop ends all of it. No change is under way.
func (s *dnsService) stop() {
	s.end()
	s.life.Close()
	var left []*dns.Server
	for u := range s.servers {
		left = append(left, u)
	}
	closeServers(left, s.log)
	s.running.Wait()
}

// QueryDNS resolves through name servers, the cache and policies included; hosts and fake addresses are
// left out. It returns a whole response, whose TTLs count down.
func (r *Relay) QueryDNS(ctx context.Context, name string, kind uint16) ([]byte, error) {
	n := r.current.Load().naming
	if n.handler == nil {
		return nil, dns.ErrDisabled
	}
	var q wire.Query
	if err := q.Set(name, kind); err != nil {
		return nil, err
	}
	f, err := n.main.Exchange(ctx, &q)
	if err != nil {
		return nil, err
	}
	return f.Plain(), nil
}

// AnswerDNS answers a message as the DNS server does; a nil answer is that it is none.
func (r *Relay) AnswerDNS(ctx context.Context, message []byte) ([]byte, error) {
	h := r.current.Load().naming.handler
	if h == nil {
		return nil, dns.ErrDisabled
	}
	return dns.Respond(ctx, h, message, false), nil
}

// FlushDNS forgets what name servers have answered.
func (r *Relay) FlushDNS() error {
	for _, c := range r.current.Load().naming.caches {
		c.Flush()
	}
	return nil
}

// FlushFakeIP forgets all fake addresses.
func (r *Relay) FlushFakeIP() error {
	var errs []error
	n := r.current.Load().naming
	for _, p := range n.pools {
		errs = append(errs, p.Flush())
	}
	r.evict(n)
	return errors.Join(errs...)
}

// serveDNS answers what comes over a stream.
func serveDNS(ctx context.Context, c net.Conn, answer dnsproxy.Answer) {
	dns.ServeStream(ctx, c, answer)
}

// answerDNS answers a message for the node of type dns. A bug ends one question.
func (r *Relay) answerDNS(ctx context.Context, message []byte, datagram bool) (answer []byte) {
	defer func() {
		if v := recover(); v != nil {
			r.engine.Recovered(v)
			answer = nil
		}
	}()
	h := r.current.Load().naming.handler
	if h == nil {
		return nil
	}
	return dns.Respond(ctx, h, message, datagram)
}
