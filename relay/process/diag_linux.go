package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// The kernel's structures, of linux/netlink.h and linux/inet_diag.h.
const (
	headerSize  = unix.SizeofNlMsghdr // nlmsghdr
	requestSize = headerSize + 56     // and inet_diag_req_v2
	socketSize  = 72                  // inet_diag_msg
	answerSize  = 8 << 10             // a datagram of answers: what the kernel makes for small readers
)

// answerTime is how long the kernel may take. It answers while we ask, so this is never reached.
const answerTime = time.Second

// loopback is the index of lo, by which all that this machine sends to itself comes in. The kernel
// gives it to no other interface.
const loopback = 1

var (
	errMessage   = errors.New("malformed message from the kernel")
	errTruncated = errors.New("message from the kernel is too long")
)

// socket is what the kernel tells of a socket.
type socket struct {
	local, remote netip.AddrPort
	uid, inode    uint32
}

// query is which socket is asked for. Addresses are unmapped and have no zone.
type query struct {
	network       flow.Network
	source, local netip.AddrPort
	ifindex       uint32 // the interface its packets come in by
}

func newQuery(network flow.Network, source, local netip.AddrPort) query {
	return query{network, plain(source), plain(local), ifindex(source.Addr().Zone())}
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// ifindex is the interface of a link-local address, and lo for all others.
func ifindex(zone string) uint32 {
	if zone == "" {
		return loopback
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifc, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifc.Index)
	}
	return loopback
}

// ask has the kernel look for the socket.
func (q query) ask(ctx context.Context) (socket, error) {
	d, err := openDiag()
	if err != nil {
		return socket{}, err
	}
	defer d.close()

	var best socket
	most := 0
	each := func(s socket) {
		if n := q.fit(s); n > most {
			best, most = s, n
		}
	}
	// The kernel's own lookup finds IPv6 sockets that speak IPv4 too.
	own := uint8(unix.AF_INET6)
	if q.source.Addr().Is4() {
		own = unix.AF_INET
	}
	if err := d.exchange(ctx, q.request(own, 0), each); err != nil {
		return socket{}, fmt.Errorf("look up: %w", err)
	}
	if most == 0 && !q.exact() {
		for _, family := range [...]uint8{unix.AF_INET, unix.AF_INET6} {
			if family < own {
				continue
			}
			if err := d.exchange(ctx, q.request(family, unix.NLM_F_DUMP), each); err != nil {
				return socket{}, fmt.Errorf("list: %w", err)
			}
		}
	}
	if most == 0 {
		return socket{}, ErrNotFound
	}
	return best, nil
}

// exact says that both ends are known: what the kernel's lookup does not find is not there.
func (q query) exact() bool {
	a := q.local.Addr()
	return a.IsValid() && !a.IsUnspecified() && q.local.Port() != 0
}

// fit says how well s is the socket asked for. 0 is not at all.
func (q query) fit(s socket) int {
	n := 1
	switch a := s.local.Addr(); {
	case s.inode == 0 || s.local.Port() != q.source.Port(): // without an inode it is closed
		return 0
	case a == q.source.Addr():
		n += 2
	case !a.IsUnspecified():
		return 0
	}
	if s.remote.Port() == 0 { // not connected
		if q.network == flow.TCP {
			return 0
		}
		return n
	}
	if p := q.local.Port(); p != 0 && p != s.remote.Port() {
		return 0
	}
	if a := q.local.Addr(); a.IsValid() && !a.IsUnspecified() && a != s.remote.Addr() {
		return 0
	}
	return n + 4
}

// request asks for one socket, or with NLM_F_DUMP for all that have the port.
func (q query) request(family uint8, flags uint16) []byte {
	b := make([]byte, requestSize)
	native := binary.NativeEndian
	native.PutUint32(b, requestSize)
	native.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)

	r := b[headerSize:]
	r[0], r[1] = family, unix.IPPROTO_TCP
	src, dst, in := q.source, q.local, q.ifindex
	switch {
	case flags&unix.NLM_F_DUMP != 0: // what is set here filters; unconnected sockets have no dst
		dst, in = netip.AddrPort{}, 0
	case q.network == flow.UDP: // looked up as for a packet that comes in: from src to dst
		src, dst = dst, src
	}
	if q.network == flow.UDP {
		r[1] = unix.IPPROTO_UDP
	}
	native.PutUint32(r[4:], ^uint32(0)) // in every state
	binary.BigEndian.PutUint16(r[8:], src.Port())
	binary.BigEndian.PutUint16(r[10:], dst.Port())
	copy(r[12:28], src.Addr().AsSlice())
	copy(r[28:44], dst.Addr().AsSlice())
	native.PutUint32(r[44:], in)
	native.PutUint64(r[48:], ^uint64(0)) // no cookie
	return b
}

// diag is a socket of NETLINK_SOCK_DIAG.
type diag struct {
	fd  int
	seq uint32 // of the last request
	buf [answerSize]byte
}

func openDiag() (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("%w: open netlink: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	limit := unix.NsecToTimeval(int64(answerTime))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	return &diag{fd: fd}, nil
}

func (d *diag) close() { _ = unix.Close(d.fd) }

// exchange sends req and calls each for every socket of the answer. That there is none is no error.
func (d *diag) exchange(ctx context.Context, req []byte, each func(socket)) error {
	d.seq++
	binary.NativeEndian.PutUint32(req[8:], d.seq)
	if err := unix.Sendto(d.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(d.fd, d.buf[:], unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case n > len(d.buf):
			return errTruncated
		}
		done, err := parse(d.buf[:n], d.seq, each)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if done || err != nil {
			return err
		}
	}
}

// parse calls each for the sockets in a datagram that answers request seq, and says whether it was
// the last one. The kernel's own refusal is a unix.Errno.
func parse(b []byte, seq uint32, each func(socket)) (done bool, err error) {
	native := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < headerSize {
			return false, errMessage
		}
		size := native.Uint32(b)
		if size < headerSize || uint64(size) > uint64(len(b)) {
			return false, errMessage
		}
		kind, flags, of := native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])
		body := b[headerSize:size]
		b = b[min(len(b), align(int(size))):]
		if of != seq {
			continue
		}
		switch kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			return true, refusal(body)
		case unix.SOCK_DIAG_BY_FAMILY:
			s, ok := parseSocket(body)
			if !ok {
				return false, errMessage
			}
			each(s)
			done = flags&unix.NLM_F_MULTI == 0
		}
	}
	return done, nil
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// refusal is the error that ends an answer, if one does: a negative number, or none at all.
func refusal(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(body)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

func parseSocket(b []byte) (s socket, ok bool) {
	if len(b) < socketSize {
		return socket{}, false
	}
	var local, remote netip.Addr
	switch b[0] {
	case unix.AF_INET:
		local = netip.AddrFrom4([4]byte(b[8:]))
		remote = netip.AddrFrom4([4]byte(b[24:]))
	case unix.AF_INET6:
		local = netip.AddrFrom16([16]byte(b[8:])).Unmap()
		remote = netip.AddrFrom16([16]byte(b[24:])).Unmap()
	default:
		return socket{}, false
	}
	return socket{
		local:  netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[6:])),
		uid:    binary.NativeEndian.Uint32(b[64:]),
		inode:  binary.NativeEndian.Uint32(b[68:]),
	}, true
}
