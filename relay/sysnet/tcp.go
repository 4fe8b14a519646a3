// Package sysnet makes the sockets of this daemon: with the marks, devices and options each
// operating system has, and with the parts of it that the relay needs beyond package net (splice,
// waiting without a buffer, peer credentials). All of the project's system calls live here.
package sysnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Options are what a socket is made with. A zero field is the system's default.
type Options struct {
	Interface string // bind to this network interface
	Mark      int    // SO_MARK; Linux alone has it
	FastOpen  bool   // TCP fast open
	Multipath bool   // multipath TCP
	ReusePort bool   // SO_REUSEPORT from the start
	// Muted has a listener drop what asks it for a connection until Unmute: a client asks again a second later.
	// Of two listeners on one address the system chooses, and this one may close again.
	Muted     bool
	KeepAlive KeepAlive

	// Owner tells those apart who listen, so that each gets its own socket of those that were left.
	Owner string
	// Sockets keeps account of those that listen, and has what a process before this one has left. nil: there is
	// none.
	Sockets *Sockets
}

// KeepAlive are the TCP keep-alive settings; zero durations are keepAliveTime.
type KeepAlive struct {
	Off            bool
	Idle, Interval time.Duration
}

// TCPConn is a bare TCP connection whose descriptor the pump may read, write and splice directly.
type TCPConn struct {
	*net.TCPConn
	raw     syscall.RawConn
	onClose func()
	once    sync.Once
}

// OnClose makes f run when c is closed first. It is called before anybody else knows c.
func (c *TCPConn) OnClose(f func()) { c.onClose = f }

// Close closes c.
func (c *TCPConn) Close() error {
	if c.onClose != nil {
		c.once.Do(c.onClose)
	}
	return c.TCPConn.Close()
}

// NewTCPConn takes ownership of c.
func NewTCPConn(c *net.TCPConn) (*TCPConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &TCPConn{TCPConn: c, raw: raw}, nil
}

// Peer is what can be seen of the other end of a connection.
type Peer uint8

// The other end is quiet, or has sent what is not read yet, ended its side, or broken off.
const (
	PeerQuiet Peer = iota
	PeerSpoke
	PeerEnded
	PeerGone
)

// Raw gives the descriptor to those who know what they do with it.
func (c *TCPConn) Raw() syscall.RawConn { return c.raw }

// Dial connects to addr. It gives up when ctx ends.
func Dial(ctx context.Context, addr netip.AddrPort, o Options) (*TCPConn, error) {
	d := net.Dialer{KeepAlive: -1, ControlContext: o.dialControl(addr)}
	d.SetMultipathTCP(o.Multipath)
	c, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	t := c.(*net.TCPConn)
	o.KeepAlive.apply(t)
	return NewTCPConn(t)
}

// keepAliveTime and keepAliveCount find out within some two minutes that a peer is gone.
const (
	keepAliveTime  = 15 * time.Second
	keepAliveCount = 9
)

func (k KeepAlive) apply(c *net.TCPConn) {
	if k.Off {
		return
	}
	// Only the peer's silence is at stake: a system that refuses the numbers still relays.
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: cmp.Or(k.Idle, keepAliveTime), Interval: cmp.Or(k.Interval, keepAliveTime), Count: keepAliveCount,
	})
}

// TCPListener accepts TCPConns.
type TCPListener struct {
	*net.TCPListener
	keepAlive KeepAlive
	held      *held
}

// ListenTCP binds addr, an IP or nothing before the port: ":80" is every address of both families.
func ListenTCP(addr string, o Options) (*TCPListener, error) {
	ln, adopted, err := listenTCP(addr, o)
	if errors.Is(err, syscall.EADDRINUSE) && o.Sockets.share("tcp", addr) {
		o.ReusePort = true
		ln, adopted, err = listenTCP(addr, o)
	}
	if err != nil {
		return nil, bindError(addr, err)
	}
	l := ln.(*net.TCPListener)
	raw, err := l.SyscallConn()
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	k := Socket{Network: "tcp", Owner: o.Owner, Asked: addr, Bound: l.Addr().String(), Multipath: o.Multipath}
	return &TCPListener{TCPListener: l, keepAlive: o.KeepAlive, held: o.Sockets.hold(k, adopted, raw, l.SetDeadline)}, nil
}

// muted is control for a listener that is to be muted.
func (o *Options) muted(next control) control {
	if !o.Muted {
		return next
	}
	return func(network, addr string, c syscall.RawConn) error {
		mute(c)
		if next == nil {
			return nil
		}
		return next(network, addr, c)
	}
}

// Unmute lets connections come; see Options.
func (l *TCPListener) Unmute() {
	if raw, err := l.SyscallConn(); err == nil {
		_ = l.held.all.whenOwn(func() error { unmute(raw); return nil })
	}
}

// listenTCP takes the socket that was left for addr, or makes one.
func listenTCP(addr string, o Options) (ln net.Listener, adopted bool, err error) {
	if k, ok := o.Sockets.take("tcp", addr, o); ok {
		ln, err = adoptListener(k, o)
		return ln, true, err
	}
	lc := net.ListenConfig{KeepAlive: -1, Control: o.Sockets.quiet(o.muted(o.listenControl()))}
	lc.SetMultipathTCP(o.Multipath)
	ln, err = lc.Listen(context.Background(), "tcp", addr)
	return ln, false, err
}

// soleListener is a listener that nobody keeps account of.
func soleListener(ln net.Listener, k Socket, o Options) *TCPListener {
	l := ln.(*net.TCPListener) // verify has seen what it is
	var none *Sockets
	return &TCPListener{TCPListener: l, keepAlive: o.KeepAlive, held: none.hold(k, true, nil, l.SetDeadline)}
}

// bindError keeps the cause of a failed bind and drops package net's repetition of the address.
func bindError(addr string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("bind %s: %w", addr, err)
}

// Accept waits for the next connection.
func (l *TCPListener) Accept() (*TCPConn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, err
	}
	if !keepAliveInherited {
		l.keepAlive.apply(c)
	}
	return NewTCPConn(c)
}

func (l *TCPListener) accept() (*net.TCPConn, error) {
	for {
		l.held.pass()
		c, err := l.AcceptTCP()
		if err == nil || !l.held.again(err) {
			return c, l.held.last(err)
		}
	}
}

// Interrupt ends an Accept that waits, and all that come.
func (l *TCPListener) Interrupt() { l.held.interrupt() }

// Close stops listening.
func (l *TCPListener) Close() error {
	l.held.drop()
	return l.TCPListener.Close()
}

// Plain is l for those who want a net.Listener, and bare connections of it.
func (l *TCPListener) Plain() net.Listener { return plainListener{l} }

type plainListener struct{ *TCPListener }

// Accept implements net.Listener.
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Share lets other sockets of this user bind the same port from now on: the kernel has no way back
// while anybody has the port.
func (l *TCPListener) Share() error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return shareSocket(raw)
}

// AddrPort is the address l is bound to.
func (l *TCPListener) AddrPort() netip.AddrPort {
	return Unmap(l.Addr().(*net.TCPAddr).AddrPort())
}

// Unmap turns IPv4 inside IPv6 into IPv4.
func Unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// LocalAddrPort is the address of our end of c.
func (c *TCPConn) LocalAddrPort() netip.AddrPort {
	return Unmap(c.LocalAddr().(*net.TCPAddr).AddrPort())
}

// RemoteAddrPort is the address of the peer's end of c.
func (c *TCPConn) RemoteAddrPort() netip.AddrPort {
	return Unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort())
}
