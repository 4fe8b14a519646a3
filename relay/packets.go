package relay

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// packets is an association with one target as package net has it: with deadlines, which a
// flow.PacketConn lacks. It owns the association.
type packets struct {
	conn flow.PacketConn
	to   flow.Addr
	peer net.Addr

	once     sync.Once
	closed   chan struct{}
	received chan received
	ended    chan struct{} // nothing is received any more

	mu       sync.Mutex
	deadline chan struct{} // closed when the time to read is up
	timer    *time.Timer
}

type received struct {
	data []byte
	err  error
}

const (
	maxPacket    = 2048 // bytes: of what name servers and QUIC send
	queueOfReads = 64
)

func newPackets(c flow.PacketConn, to flow.Addr) *packets {
	p := &packets{
		conn: c, to: to, closed: make(chan struct{}), received: make(chan received, queueOfReads),
		ended: make(chan struct{}), deadline: make(chan struct{}),
	}
	ip := to.IP
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified() // the far end of a proxy knows
	}
	p.peer = net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, to.Port))
	go p.receive()
	return p
}

// receive takes what comes in until the association ends. What nobody reads is dropped, as datagrams
// are.
func (p *packets) receive() {
	defer close(p.ended)
	for {
		b := make([]byte, maxPacket)
		n, from, err := p.conn.ReadPacket(b)
		if err != nil {
			select {
			case p.received <- received{err: err}:
			case <-p.closed:
			}
			return
		}
		if from.IsValid() && p.to.IP.IsValid() && from != p.to.AddrPort() {
			continue // from somebody else
		}
		select {
		case p.received <- received{data: b[:n]}:
		default:
		}
	}
}

// Read implements net.Conn.
func (p *packets) Read(b []byte) (int, error) {
	p.mu.Lock()
	deadline := p.deadline
	p.mu.Unlock()
	select {
	case <-deadline:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	select {
	case r := <-p.received:
		if r.err != nil {
			p.received <- r // the next reader is to know too: there is room, for nothing comes any more
			return 0, r.err
		}
		return copy(b, r.data), nil
	case <-deadline:
		return 0, os.ErrDeadlineExceeded
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

// Write implements net.Conn.
func (p *packets) Write(b []byte) (int, error) {
	to := p.to
	if err := p.conn.WritePacket(b, &to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.peer, err
}

// WriteTo implements net.PacketConn; there is one peer.
func (p *packets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// Close ends the association, and returns once nothing is received any more.
func (p *packets) Close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		err = p.conn.Close()
		<-p.ended
		_ = p.SetReadDeadline(time.Time{})
	})
	return err
}

// LocalAddr is none that means anything outside.
func (p *packets) LocalAddr() net.Addr { return new(net.UDPAddr) }

// RemoteAddr is the target; its address is 0.0.0.0 where only its name is known.
func (p *packets) RemoteAddr() net.Addr { return p.peer }

// SetDeadline is SetReadDeadline: writing does not wait.
func (p *packets) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writing does not wait.
func (p *packets) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline ends reads that wait, and those to come, at t.
func (p *packets) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	select {
	case <-p.deadline:
		p.deadline = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return nil
	}
	d := time.Until(t)
	if d <= 0 {
		close(p.deadline)
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.timer == timer { // else the deadline has been moved
			p.timer = nil
			close(p.deadline)
		}
	})
	p.timer = timer
	return nil
}
