package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/inbound"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// socket is what the two kinds of listening socket have in common.
type socket interface {
	Use(*inbound.Service)
	Share() error
	Close() error
}

// key names a listening socket: what stays the same keeps its socket, whatever inbound uses it.
type key struct {
	network string // "tcp" or "udp"
	addr    string
	tfo     bool
	mptcp   bool
	keep    sysnet.KeepAlive
}

// listening is one socket and its end.
type listening struct {
	socket
	port   uint16
	cancel context.CancelFunc // nil until it serves
	ended  chan struct{}      // closed when it serves no more
}

// inbounds are the listening sockets of the configuration that runs.
type inbounds struct {
	engine  *engine.Engine
	log     *slog.Logger
	conns   inbound.Conns
	flows   context.Context
	end     context.CancelFunc
	accept  context.Context // within flows
	deaf    context.CancelFunc
	sockets *sysnet.Sockets                    // nil: nobody keeps account
	live    map[key]*listening                 // changed under Relay.applying
	shown   atomic.Pointer[map[key]*listening] // live, for those who do not wait for a change
	serve   sync.WaitGroup
}

func newInbounds(e *engine.Engine, log *slog.Logger) *inbounds {
	in := &inbounds{engine: e, log: log, live: make(map[key]*listening)}
	in.flows, in.end = context.WithCancel(context.Background())
	in.accept, in.deaf = context.WithCancel(in.flows)
	return in
}

// want is one inbound of a configuration.
type want struct {
	protocol inbound.Protocol
	name     string
	port     int
}

func wanted(c *config.Config) []want {
	all := []want{
		{inbound.HTTP, "DEFAULT-HTTP", c.Port},
		{inbound.SOCKS, "DEFAULT-SOCKS", c.SocksPort},
		{inbound.Mixed, "DEFAULT-MIXED", c.MixedPort},
	}
	on := all[:0]
	for _, w := range all {
		if w.port != 0 {
			on = append(on, w)
		}
	}
	return on
}

// bindAddr is the address for a port: loopback, unless the LAN is let in.
func bindAddr(c *config.Config, port int) string {
	host := "127.0.0.1"
	if c.AllowLAN {
		host = strings.Trim(c.BindAddress, "[]")
		if host == "*" {
			host = ""
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// slot is a listening socket that a configuration asks for.
type slot struct {
	key  key
	port uint16
}

// slots are the sockets of w at one address: its TCP port, and the UDP port beside it.
func (w want) slots(c *config.Config, addr string) []slot {
	port := uint16(w.port)
	list := []slot{{key{network: "tcp", addr: addr, tfo: c.InboundTFO, mptcp: c.InboundMPTCP, keep: keepAlive(c)}, port}}
	if w.protocol != inbound.HTTP {
		list = append(list, slot{key{network: "udp", addr: addr}, port})
	}
	return list
}

// addrs are where w listens: what c says, and what of it has a socket of its own already. Whoever connects to
// such an address comes to that socket; closing it would lose those who do so just then.
func (in *inbounds) addrs(c *config.Config, w want) []string {
	addr := bindAddr(c, w.port)
	list := []string{addr}
	wanted := w.slots(c, addr)[0].key
	for k := range in.live {
		same := wanted
		if same.addr = k.addr; same == k && within(k.addr, addr) {
			list = append(list, k.addr)
		}
	}
	local := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.port))
	if in.sockets.Left("tcp", local) && within(local, addr) {
		list = append(list, local)
	}
	slices.Sort(list[1:])
	return list
}

// within says whether a listening address is part of another one, with the same port.
func within(narrow, wide string) bool {
	a, p, _ := net.SplitHostPort(narrow)
	b, q, _ := net.SplitHostPort(wide)
	if p != q || breadth(a) >= breadth(b) {
		return false
	}
	return b != "0.0.0.0" || !strings.Contains(a, ":")
}

// breadth compares addresses: one, those of IPv4, and all.
func breadth(host string) int {
	switch host {
	case "", "::":
		return 3
	case "0.0.0.0":
		return 2
	}
	return 1
}

func (k key) options() sysnet.Options {
	return sysnet.Options{FastOpen: k.tfo, Multipath: k.mptcp, KeepAlive: k.keep}
}

// onPort are the sockets that serve on a port.
func (in *inbounds) onPort(network string, port uint16) (keys []key) {
	for k, l := range in.live {
		if k.network == network && l.port == port {
			keys = append(keys, k)
		}
	}
	return keys
}

// slots are the sockets of c. Those that there are already come first.
func (in *inbounds) slots(c *config.Config) (list []slot) {
	for _, w := range wanted(c) {
		for _, addr := range in.addrs(c, w) {
			list = append(list, w.slots(c, addr)...)
		}
	}
	slices.SortStableFunc(list, func(a, b slot) int { return -cmp.Compare(in.lives(a), in.lives(b)) })
	return list
}

// lives is 1 where a slot has a socket, else 0.
func (in *inbounds) lives(s slot) int {
	if in.live[s.key] != nil {
		return 1
	}
	return 0
}

// plan says what prepare and Commit would do to the sockets. It opens nothing.
func (in *inbounds) plan(c *config.Config) (list []config.Socket) {
	told := make(map[key]bool)
	for _, s := range in.slots(c) {
		p := config.Socket{Owner: inboundsOwner, Network: s.key.network, Addr: s.key.addr, Fate: config.Opened}
		if in.live[s.key] != nil {
			p.Fate = config.Kept
			told[s.key] = true
		} else if old := slices.DeleteFunc(in.onPort(s.key.network, s.port), func(k key) bool { return told[k] }); len(old) > 0 {
			p.Fate, p.From = config.Replaced, old[0].addr
			told[old[0]] = true
		}
		list = append(list, p)
	}
	kept := len(list)
	for k := range in.live {
		if !told[k] {
			list = append(list, config.Socket{Owner: inboundsOwner, Network: k.network, Addr: k.addr, Fate: config.Closed})
		}
	}
	slices.SortFunc(list[kept:], func(a, b config.Socket) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Network, b.Network))
	})
	return list
}

// binding is a prepared change of the listening sockets.
type binding struct {
	in      *inbounds
	live    map[key]*listening
	fresh   []*listening
	uses    []func()
	dropped []*listening
}

// prepare binds what c needs and is not bound yet. A failure closes what it has bound.
func (in *inbounds) prepare(c *config.Config) (_ *binding, err error) {
	b, done := &binding{in: in, live: make(map[key]*listening)}, false
	defer func() {
		if !done { // also by a bug
			b.Abort()
		}
	}()
	for _, w := range wanted(c) {
		if err := b.add(c, w); err != nil {
			return nil, err
		}
	}
	for k, l := range in.live {
		if b.live[k] == nil {
			b.dropped = append(b.dropped, l)
		}
	}
	done = true
	return b, nil
}

func (b *binding) add(c *config.Config, w want) error {
	for _, addr := range b.in.addrs(c, w) {
		if err := b.at(c, w, addr); err != nil {
			return err
		}
	}
	return nil
}

// at serves w at one address.
func (b *binding) at(c *config.Config, w want, addr string) error {
	s := service(c, w, b.in.engine)
	for _, slot := range w.slots(c, addr) {
		l, err := b.socket(slot)
		if err != nil {
			return err
		}
		use := s
		if udp, ok := l.socket.(*inbound.PacketServer); ok {
			s.UDP = udp
			ofUDP := *s
			ofUDP.Name = "DEFAULT-SOCKS" // the family's name for it, on a mixed port too
			use = &ofUDP
		}
		b.uses = append(b.uses, func() { l.Use(use) })
	}
	return nil
}

func keepAlive(c *config.Config) sysnet.KeepAlive {
	return sysnet.KeepAlive{Off: c.DisableKeepAlive, Idle: c.KeepAliveIdle, Interval: c.KeepAliveInterval}
}

// socket keeps the socket of a slot or binds it.
func (b *binding) socket(slot slot) (*listening, error) {
	k, o := slot.key, slot.key.options()
	if l := b.in.live[k]; l != nil {
		b.live[k] = l
		return l, nil
	}
	s, err := b.in.open(k, o)
	if errors.Is(err, syscall.EADDRINUSE) && b.share(slot) {
		o.ReusePort, o.Muted = true, true // the change may be given up
		s, err = b.in.open(k, o)
	}
	if err != nil {
		return nil, err
	}
	l := &listening{socket: s, port: slot.port}
	b.live[k] = l
	b.fresh = append(b.fresh, l)
	return l, nil
}

// share lets a new socket bind beside ours on the same port, until ours closes.
func (b *binding) share(slot slot) (shared bool) {
	for _, old := range b.in.onPort(slot.key.network, slot.port) {
		shared = b.in.live[old].Share() == nil || shared
	}
	return shared
}

// inboundsOwner names the inbounds among those that listen.
const inboundsOwner = "inbounds"

func (in *inbounds) open(k key, o sysnet.Options) (socket, error) {
	o.Sockets, o.Owner = in.sockets, inboundsOwner
	if k.network == "udp" {
		return inbound.ListenPacket(k.addr, o, in.log)
	}
	return inbound.Listen(k.addr, o, &in.conns, in.log)
}

// Abort closes what was bound; what runs is as before.
func (b *binding) Abort() {
	for _, l := range b.fresh {
		_ = l.Close()
	}
}

// Commit serves with the new sockets and ends the old ones.
func (b *binding) Commit() {
	for _, use := range b.uses {
		use()
	}
	for _, l := range b.fresh {
		b.in.start(l)
	}
	for _, l := range b.dropped {
		l.cancel()
	}
	for _, l := range b.dropped {
		<-l.ended // a port that is gone is gone when the change is answered
	}
	b.in.live = b.live
	b.in.shown.Store(&b.live)
}

func (in *inbounds) start(l *listening) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(in.accept)
	l.ended = make(chan struct{})
	in.serve.Go(func() {
		defer close(l.ended)
		switch s := l.socket.(type) {
		case *inbound.Listener:
			s.Serve(ctx, in.flows)
		case *inbound.PacketServer:
			s.Serve(ctx)
		}
	})
}

// succeed serves the clients that wait at sockets of a process before this one, on ports that are served.
func (in *inbounds) succeed() {
	for k, l := range in.live {
		if now, ok := l.socket.(*inbound.Listener); ok {
			for _, old := range in.sockets.LeftOn(inboundsOwner, strconv.Itoa(int(l.port)), k.options()) {
				in.log.Info("what was handed over is not needed any more", "network", k.network, "addr", old.Addr().String())
				now.Succeed(in.flows, old)
			}
		}
	}
}

// linger ends the listeners and waits until no connection is left, or ctx is done.
func (in *inbounds) linger(ctx context.Context) {
	in.deaf()
	in.serve.Wait()
	in.conns.Wait(ctx)
}

// stop ends listeners and connections. wait returns once their goroutines have ended.
func (in *inbounds) stop() { in.end() }

func (in *inbounds) wait() error {
	in.serve.Wait()
	in.conns.CloseAll()
	return nil
}

// service describes how connections of w are served.
func service(c *config.Config, w want, h inbound.Handler) *inbound.Service {
	s := &inbound.Service{
		Name: w.name, Protocol: w.protocol, Handler: h, NoLogin: c.SkipAuthPrefixes,
		Allowed: c.LANAllowed, Refused: c.LANDisallowed,
	}
	if len(c.Authentication) > 0 {
		users := make(map[string]string, len(c.Authentication))
		for _, u := range c.Authentication {
			users[u.Name] = u.Password
		}
		s.Users = inbound.NewUsers(users)
	}
	return s
}
