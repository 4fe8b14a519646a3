package sysnet

import (
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe" // the kernel's lists of messages have no other spelling

	"golang.org/x/sys/unix"
)

// Batch receives datagrams and answers them, many with one call of the system. It belongs to one
// goroutine.
type Batch struct {
	conn    *UDPConn
	raw     syscall.RawConn
	in, out []message
	slots   []slot
	n       int // received
	queued  int

	errno            syscall.Errno
	done             int
	tryRead, trySend func(fd uintptr) bool
}

// message is the kernel's mmsghdr.
type message struct {
	head unix.Msghdr
	size uint32
}

// slot is the memory of one datagram and its answer.
type slot struct {
	addr    unix.RawSockaddrInet6 // room for both families
	control [8]uint64
	inVec   unix.Iovec
	outVec  unix.Iovec
	in      []byte
	reply   []byte
}

// NewBatch makes a batch of up to n datagrams of in bytes, and answers of out bytes.
func (c *UDPConn) NewBatch(n, in, out int) (*Batch, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &Batch{conn: c, raw: raw, in: make([]message, n), out: make([]message, n), slots: make([]slot, n)}
	for i := range b.slots {
		s := &b.slots[i]
		s.in, s.reply = make([]byte, in), make([]byte, 0, out)
		s.inVec.Base = &s.in[0]
		s.inVec.SetLen(in)
		h := &b.in[i].head
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&s.addr)), &s.inVec
		h.SetIovlen(1)
	}
	b.tryRead, b.trySend = b.onRead, b.onSend
	return b, nil
}

// Receive waits for datagrams and returns how many came.
func (b *Batch) Receive() (int, error) {
	for i := range b.in {
		h, s := &b.in[i].head, &b.slots[i]
		h.Namelen = unix.SizeofSockaddrInet6
		if b.conn.pktinfo {
			h.Control = (*byte)(unsafe.Pointer(&s.control))
			h.SetControllen(len(s.control) * 8)
		}
	}
	if err := b.read(); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	b.n, b.queued = b.done, 0
	return b.n, nil
}

func (b *Batch) read() error {
	for {
		b.conn.wait()
		if err := b.raw.Read(b.tryRead); err == nil || !b.conn.again(err) {
			return err
		}
	}
}

func (b *Batch) onRead(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), uintptr(len(b.in)), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR { // after which a datagram may be there that nobody is told of again
			b.done, b.errno = int(n), errno
			return errno != unix.EAGAIN
		}
	}
}

// Packet is datagram i, until the next Receive.
func (b *Batch) Packet(i int) []byte { return b.slots[i].in[:b.in[i].size] }

// From is who sent datagram i, and Local the address of ours it was sent to, as UDPConn.Receive has it.
func (b *Batch) From(i int) netip.AddrPort {
	a := &b.slots[i].addr
	port := func(p *uint16) uint16 {
		at := (*[2]byte)(unsafe.Pointer(p))
		return uint16(at[0])<<8 | uint16(at[1])
	}
	if a.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	}
	ip := netip.AddrFrom16(a.Addr).Unmap()
	if ip.Is6() && a.Scope_id != 0 { // link-local
		ip = ip.WithZone(strconv.FormatUint(uint64(a.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, port(&a.Port))
}

// Local is described at From.
func (b *Batch) Local(i int) netip.Addr {
	if !b.conn.pktinfo {
		return netip.Addr{}
	}
	return parsePktinfo(b.control(i)[:b.in[i].head.Controllen])
}

func (b *Batch) control(i int) []byte {
	c := &b.slots[i].control
	return (*[len(b.slots[i].control) * 8]byte)(unsafe.Pointer(c))[:]
}

// Reply is room for the answer to datagram i: to be appended to, and given to Answer.
func (b *Batch) Reply(i int) []byte { return b.slots[i].reply[:0] }

// Answer prepares p as the answer to datagram i, out of the address it was sent to. p is not to be
// changed before Flush.
func (b *Batch) Answer(i int, p []byte) {
	if len(p) == 0 {
		return
	}
	s, m := &b.slots[i], &b.out[b.queued]
	b.queued++
	s.outVec.Base = &p[0]
	s.outVec.SetLen(len(p))
	*m = message{}
	m.head.Name, m.head.Namelen = (*byte)(unsafe.Pointer(&s.addr)), b.in[i].head.Namelen
	m.head.Iov = &s.outVec
	m.head.SetIovlen(1)
	if local := b.Local(i); local.IsValid() {
		c := b.control(i)
		clear(c)
		m.head.Control = &c[0]
		m.head.SetControllen(putPktinfo(c, local))
	}
}

// Flush sends what was prepared. What a client's system refuses is lost, as datagrams are.
func (b *Batch) Flush() {
	b.done = 0
	if b.queued > 0 {
		_ = b.raw.Write(b.trySend)
	}
	b.queued = 0
}

func (b *Batch) onSend(fd uintptr) bool {
	for b.done < b.queued {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[b.done])), uintptr(b.queued-b.done), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
		case errno != 0:
			b.done++
		default:
			b.done += int(n)
		}
	}
	return true
}
