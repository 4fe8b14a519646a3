//go:build !linux

package sysnet

import "net/netip"

// Batch receives datagrams and answers them, one after the other where the system has no call for many.
// It belongs to one goroutine.
type Batch struct {
	conn  *UDPConn
	in    []byte
	reply []byte
	n     int
	from  netip.AddrPort
	local netip.Addr
}

// NewBatch makes a batch of up to n datagrams of in bytes, and answers of out bytes.
func (c *UDPConn) NewBatch(_, in, out int) (*Batch, error) {
	return &Batch{conn: c, in: make([]byte, in), reply: make([]byte, 0, out)}, nil
}

// Receive waits for datagrams and returns how many came.
func (b *Batch) Receive() (n int, err error) {
	if b.n, b.from, b.local, err = b.conn.Receive(b.in); err != nil {
		return 0, err
	}
	return 1, nil
}

// Packet is datagram i, until the next Receive.
func (b *Batch) Packet(int) []byte { return b.in[:b.n] }

// From is who sent datagram i, and Local the address of ours it was sent to, as UDPConn.Receive has it.
func (b *Batch) From(int) netip.AddrPort { return b.from }

// Local is described at From.
func (b *Batch) Local(int) netip.Addr { return b.local }

// Reply is room for the answer to datagram i: to be appended to, and given to Answer.
func (b *Batch) Reply(int) []byte { return b.reply[:0] }

// Answer sends p as the answer to datagram i, out of the address it was sent to.
func (b *Batch) Answer(_ int, p []byte) {
	if len(p) > 0 {
		_, _ = b.conn.Send(p, b.from, b.local) // lost, as datagrams are
	}
}

// Flush does nothing here: Answer has sent.
func (b *Batch) Flush() {}
