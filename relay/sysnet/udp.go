package sysnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// UDPConn is an unconnected UDP socket.
type UDPConn struct {
	*net.UDPConn
	pktinfo bool // bound to every address: replies must name the one that was asked
	held    *held
}

// ListenUDP binds addr, as ListenTCP does.
func ListenUDP(addr string, o Options) (*UDPConn, error) {
	c, err := inheritUDP(addr, o)
	adopted := c != nil
	if c == nil && err == nil {
		c, err = listenUDP("udp", addr, o)
	}
	if errors.Is(err, syscall.EADDRINUSE) && o.Sockets.share("udp", addr) {
		o.ReusePort = true
		c, err = listenUDP("udp", addr, o)
	}
	if err == nil {
		err = c.hold(addr, adopted, o)
	}
	if err == nil && c.LocalAddr().(*net.UDPAddr).IP.IsUnspecified() {
		c.pktinfo = enablePktinfo(c.UDPConn)
	}
	return c, err
}

// inheritUDP takes the socket that was left for addr; nil is that there is none.
func inheritUDP(addr string, o Options) (*UDPConn, error) {
	k, ok := o.Sockets.take("udp", addr, o)
	if !ok {
		return nil, nil
	}
	pc, err := adoptPacket(k)
	if err != nil {
		return nil, bindError(addr, err)
	}
	return &UDPConn{UDPConn: pc.(*net.UDPConn)}, nil
}

func (c *UDPConn) hold(addr string, adopted bool, o Options) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return errors.Join(err, c.Close())
	}
	k := Socket{Network: "udp", Owner: o.Owner, Asked: addr, Bound: c.LocalAddr().String()}
	c.held = o.Sockets.hold(k, adopted, raw, c.SetReadDeadline)
	return nil
}

// Close closes c.
func (c *UDPConn) Close() error {
	if c.held != nil {
		c.held.drop()
	}
	return c.UDPConn.Close()
}

// wait waits while c is held still, and again says whether a failed read was only that.
func (c *UDPConn) wait() {
	if c.held != nil {
		c.held.pass()
	}
}

func (c *UDPConn) again(err error) bool { return c.held != nil && c.held.again(err) }

// DialUDP makes a socket of the family of peer ("udp" for both where peer is invalid) on a port
// the system chooses.
func DialUDP(peer netip.Addr, o Options) (*UDPConn, error) {
	switch {
	case !peer.IsValid():
		return listenUDP("udp", ":0", o)
	case peer.Is4():
		return listenUDP("udp4", "0.0.0.0:0", o)
	default:
		return listenUDP("udp6", "[::]:0", o)
	}
}

func listenUDP(network, addr string, o Options) (*UDPConn, error) {
	lc := net.ListenConfig{Control: o.packetControl()}
	pc, err := lc.ListenPacket(context.Background(), network, addr)
	if err != nil {
		return nil, bindError(addr, err)
	}
	return &UDPConn{UDPConn: pc.(*net.UDPConn)}, nil
}

// Share is TCPListener.Share for UDP.
func (c *UDPConn) Share() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return shareSocket(raw)
}

// Receive reads one datagram into p. local is the address of ours it was sent to, where c is bound
// to every address and the system tells.
func (c *UDPConn) Receive(p []byte) (n int, from netip.AddrPort, local netip.Addr, err error) {
	for {
		c.wait()
		n, from, local, err = c.receive(p)
		if err == nil || !c.again(err) {
			return n, from, local, c.held.last(err)
		}
	}
}

func (c *UDPConn) receive(p []byte) (n int, from netip.AddrPort, local netip.Addr, err error) {
	if !c.pktinfo {
		n, from, err = c.ReadFromUDPAddrPort(p)
		return n, Unmap(from), netip.Addr{}, err
	}
	var oob [64]byte
	n, oobn, _, from, err := c.ReadMsgUDPAddrPort(p, oob[:])
	if err != nil {
		return n, Unmap(from), netip.Addr{}, err
	}
	return n, Unmap(from), parsePktinfo(oob[:oobn]), nil
}

// Send sends p to to, from the address local where that is valid.
func (c *UDPConn) Send(p []byte, to netip.AddrPort, local netip.Addr) (int, error) {
	if !c.pktinfo || !local.IsValid() {
		return c.WriteToUDPAddrPort(p, to)
	}
	var oob [64]byte
	n, _, err := c.WriteMsgUDPAddrPort(p, oob[:putPktinfo(oob[:], local)], to)
	return n, err
}

// AddrPort is the address c is bound to.
func (c *UDPConn) AddrPort() netip.AddrPort {
	return Unmap(c.LocalAddr().(*net.UDPAddr).AddrPort())
}

// ConnectUDP makes a socket that sends to addr alone and receives from it alone.
func ConnectUDP(ctx context.Context, addr netip.AddrPort, o Options) (*net.UDPConn, error) {
	d := net.Dialer{ControlContext: o.dialControl(addr)}
	c, err := d.DialContext(ctx, "udp", addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}
