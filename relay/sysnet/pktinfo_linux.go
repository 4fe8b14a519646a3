package sysnet

import (
	"net"
	"net/netip"
	"unsafe" // the kernel's control messages have no other spelling

	"golang.org/x/sys/unix"
)

// enablePktinfo asks for the destination of every datagram. It says whether the kernel agreed.
func enablePktinfo(c *net.UDPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	return onFD(raw, func(fd int) error {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) // refused on IPv4
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}) == nil
}

// parsePktinfo finds our own address in the control messages of one datagram. It walks them by
// hand because the ready-made parser allocates.
func parsePktinfo(oob []byte) netip.Addr {
	for len(oob) >= unix.CmsgLen(0) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if uint64(h.Len) < uint64(unix.CmsgLen(0)) || uint64(h.Len) > uint64(len(oob)) {
			break
		}
		data := oob[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		next := unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
		if next <= 0 || next > len(oob) {
			break
		}
		oob = oob[next:]
	}
	return netip.Addr{}
}

// putPktinfo writes the control message that makes local the source address; it returns its length.
func putPktinfo(oob []byte, local netip.Addr) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	if local.Is4() {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		a := local.As4()
		copy(oob[unix.CmsgLen(0)+4:], a[:])
		return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
	}
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	a := local.As16()
	copy(oob[unix.CmsgLen(0):], a[:])
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}
