// Package buf lends fixed-size buffers. What is borrowed is a pointer to an array: putting it back
// allocates nothing, which a pooled slice cannot say.
package buf

import "sync"

// Size is the length of a Buf in bytes.
const Size = 32 << 10

// PacketSize is the length of a Packet in bytes: any UDP payload and the header before it.
const PacketSize = 64<<10 + 512

// Buf is a borrowed buffer for a stream.
type Buf struct{ B [Size]byte }

// Packet is a borrowed buffer for one datagram.
type Packet struct{ B [PacketSize]byte }

var (
	bufs    = sync.Pool{New: func() any { return new(Buf) }}
	packets = sync.Pool{New: func() any { return new(Packet) }}
)

// Get borrows a buffer; its content is whatever the last borrower left. Give it back with Put,
// exactly once.
func Get() *Buf { return bufs.Get().(*Buf) }

// Put gives b back. The caller keeps no slice of it.
func Put(b *Buf) { bufs.Put(b) }

// GetPacket borrows a datagram buffer, to be given back with PutPacket.
func GetPacket() *Packet { return packets.Get().(*Packet) }

// PutPacket gives p back.
func PutPacket(p *Packet) { packets.Put(p) }
