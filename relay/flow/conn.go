package flow

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrRejected means that a rule said no. Inbounds answer it as a refusal, not as a failure.
var ErrRejected = errors.New("rejected by rule")

// ErrDropped is an ErrRejected that the client is not to hear of: it waits in vain.
var ErrDropped = fmt.Errorf("%w, in silence", ErrRejected)

// ErrNoName means that a fake address stands for no name, or no longer.
var ErrNoName = errors.New("a fake address that stands for no name, or no longer")

// ErrNoUDP means that an outbound cannot carry UDP; the engine goes on to the next rule.
var ErrNoUDP = errors.New("outbound cannot carry UDP")

// Conn is a byte stream with an end of its own in each direction. Read and Write may be called
// from one goroutine each, Close and the deadlines from any.
type Conn interface {
	net.Conn
	// CloseWrite tells the peer that no more bytes come, and leaves the other direction open.
	CloseWrite() error
}

// Stream is an opened flow: the connection to its target, tracked and counted. Whoever opened it
// ends it, with Relay or with Close.
type Stream interface {
	Conn
	// Relay moves bytes between the client and the target until both directions have ended, closes
	// the client and the stream, and calls done, from any goroutine. It returns at once: a tunnel
	// may live for days, and whoever opened it keeps nothing meanwhile. What was read from the
	// client before is written first, by whoever read it.
	Relay(client Conn, done func())
	// Quiet says that the target has neither sent anything that is not read yet nor ended its side,
	// as far as can be told without waiting.
	Quiet() bool
	// Cut says that the flow was ended by somebody's wish, not by its ends.
	Cut() bool
}

// PacketConn sends and receives the datagrams of one UDP association through an outbound.
// WritePacket and ReadPacket may be called concurrently; Close unblocks both.
type PacketConn interface {
	// ReadPacket fills p with one datagram. from is invalid where the outbound does not know it.
	ReadPacket(p []byte) (n int, from netip.AddrPort, err error)
	// WritePacket sends p to the target; it does not keep p. An outbound that needs an address for
	// a name looks it up and fills to.IP, which blocks; later calls find it there.
	WritePacket(p []byte, to *Addr) error
	Close() error
}

// Replier carries datagrams back to the client of an inbound.
type Replier interface {
	// Reply sends p to client, as coming from from, out of the address local of ours where that is
	// valid. It does not keep p.
	Reply(p []byte, client netip.AddrPort, local netip.Addr, from netip.AddrPort) error
}

// Reset closes c so that its peer sees an error, not a clean end, where the transport can say so.
func Reset(c Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	_ = c.Close()
}
