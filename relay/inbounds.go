package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
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
	engine *engine.Engine
	log    *slog.Logger
	conns  inbound.Conns
	flows  context.Context
	end    context.CancelFunc
	live   map[key]*listening // changed under Relay.applying
	serve  sync.WaitGroup
}

func newInbounds(e *engine.Engine, log *slog.Logger) *inbounds {
	in := &inbounds{engine: e, log: log, live: make(map[key]*listening)}
	in.flows, in.end = context.WithCancel(context.Background())
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

// binding is a prepared change of the listening sockets.
type binding struct {
	in      *inbounds
	live    map[key]*listening
	fresh   []*listening
	uses    []func()
	dropped []*listening
}

// prepare binds what c needs and is not bound yet. A failure closes what it has bound.
func (in *inbounds) prepare(c *config.Config) (*binding, error) {
	b := &binding{in: in, live: make(map[key]*listening)}
	for _, w := range wanted(c) {
		if err := b.add(c, w); err != nil {
			b.Abort()
			return nil, err
		}
	}
	for k, l := range in.live {
		if b.live[k] == nil {
			b.dropped = append(b.dropped, l)
		}
	}
	return b, nil
}

func (b *binding) add(c *config.Config, w want) error {
	k := key{
		network: "tcp", addr: bindAddr(c, w.port), tfo: c.InboundTFO, mptcp: c.InboundMPTCP,
		keep: keepAlive(c),
	}
	o := sysnet.Options{FastOpen: k.tfo, Multipath: k.mptcp, KeepAlive: k.keep}
	tcp, err := b.socket(k, w.port, o)
	if err != nil {
		return err
	}
	s := service(c, w, b.in.engine)
	if w.protocol != inbound.HTTP {
		udp, err := b.socket(key{network: "udp", addr: k.addr}, w.port, sysnet.Options{})
		if err != nil {
			return err
		}
		s.UDP = udp.socket.(*inbound.PacketServer)
		ofUDP := *s
		ofUDP.Name = "DEFAULT-SOCKS" // the family's name for it, on a mixed port too
		b.uses = append(b.uses, func() { udp.Use(&ofUDP) })
	}
	b.uses = append(b.uses, func() { tcp.Use(s) })
	return nil
}

func keepAlive(c *config.Config) sysnet.KeepAlive {
	return sysnet.KeepAlive{Off: c.DisableKeepAlive, Idle: c.KeepAliveIdle, Interval: c.KeepAliveInterval}
}

// socket keeps the socket of k or binds it.
func (b *binding) socket(k key, port int, o sysnet.Options) (*listening, error) {
	if l := b.in.live[k]; l != nil {
		b.live[k] = l
		return l, nil
	}
	s, err := b.in.open(k, o)
	if errors.Is(err, syscall.EADDRINUSE) && b.share(k, port) {
		o.ReusePort = true
		s, err = b.in.open(k, o)
	}
	if err != nil {
		return nil, err
	}
	l := &listening{socket: s, port: uint16(port)}
	b.live[k] = l
	b.fresh = append(b.fresh, l)
	return l, nil
}

// share lets a new socket bind beside ours on the same port, until ours closes.
func (b *binding) share(k key, port int) (shared bool) {
	for old, l := range b.in.live {
		if old.network == k.network && l.port == uint16(port) {
			shared = l.Share() == nil || shared
		}
	}
	return shared
}

func (in *inbounds) open(k key, o sysnet.Options) (socket, error) {
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
}

func (in *inbounds) start(l *listening) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(in.flows)
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
