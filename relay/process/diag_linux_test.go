package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// message is what the kernel sends: a header, body, and no padding.
func message(kind, flags uint16, seq uint32, body ...byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	binary.NativeEndian.PutUint32(b, uint32(headerSize+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

// number is n as the kernel writes it.
func number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// recorded is the kernel's answer for a real connection.
func recorded(t testing.TB, addr string) []byte {
	t.Helper()
	c := dial(t, net.Dialer{}, "tcp", listen(t, addr).Addr())
	q := newQuery(flow.TCP, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
	d, err := openDiag()
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	family := uint8(unix.AF_INET6)
	if q.source.Addr().Is4() {
		family = unix.AF_INET
	}
	if err := d.exchange(t.Context(), q.request(family, 0), func(socket) {}); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(d.buf[:binary.NativeEndian.Uint32(d.buf[:])])
}

func TestParse(t *testing.T) {
	one := recorded(t, "127.0.0.1:0")
	body := one[headerSize:]
	f := func(b []byte, sockets int, done bool, want error) {
		t.Helper()
		n := 0
		got, err := parse(b, 1, func(socket) { n++ })
		if n != sockets || got != done || !errors.Is(err, want) {
			t.Errorf("%d sockets, %v, %v; want %d, %v, %v", n, got, err, sockets, done, want)
		}
	}
	f(nil, 0, false, nil)
	f(one, 1, true, nil)
	f(one[:len(one)-1], 0, false, errMessage)
	f(one[:headerSize-1], 0, false, errMessage)
	const kind = unix.SOCK_DIAG_BY_FAMILY
	f(message(kind, 0, 1, body[:socketSize]...), 1, true, nil) // no attributes
	f(message(kind, 0, 1, body[:socketSize-1]...), 0, false, errMessage)
	f(message(kind, 0, 1, make([]byte, socketSize)...), 0, false, errMessage) // no family
	f(message(kind, 0, 2, body...), 0, false, nil)                            // for another request

	many := message(kind, unix.NLM_F_MULTI, 1, body...)
	f(append(bytes.Clone(many), many...), 2, false, nil)
	end := message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, number(0)...)
	f(append(bytes.Clone(many), end...), 1, true, nil)
	f(message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1), 0, true, nil)
	f(message(unix.NLMSG_DONE, 0, 1, number(-int32(unix.EINVAL))...), 0, true, unix.EINVAL)
	f(message(unix.NLMSG_ERROR, 0, 1, number(-int32(unix.ENOENT))...), 0, true, unix.ENOENT)
	f(append(message(unix.NLMSG_NOOP, 0, 1, 1), 0, 0, 0), 0, false, nil) // padded

	for _, size := range []uint32{0, 1, headerSize - 1, uint32(len(one)) + 1, 1 << 31, 1<<32 - 1} {
		b := bytes.Clone(one)
		binary.NativeEndian.PutUint32(b, size)
		f(b, 0, false, errMessage)
	}
}

// TestFit weighs sockets that share a port.
func TestFit(t *testing.T) {
	f := func(network flow.Network, source, local, ours, theirs string, want int) {
		t.Helper()
		q := newQuery(network, netip.MustParseAddrPort(source), netip.MustParseAddrPort(local))
		s := socket{netip.MustParseAddrPort(ours), netip.MustParseAddrPort(theirs), 0, 1}
		if got := q.fit(s); got != want {
			t.Errorf("%v from %s to %s: %+v = %d; want %d", network, source, local, s, got, want)
		}
		s.inode = 0
		if got := q.fit(s); got != 0 {
			t.Errorf("closed: %d; want 0", got)
		}
	}
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:5", "127.0.0.1:7", 7)
	f(flow.UDP, "127.0.0.1:5", "0.0.0.0:7", "127.0.0.1:5", "127.0.0.1:7", 7)
	f(flow.UDP, "127.0.0.1:5", "0.0.0.0:0", "127.0.0.1:5", "127.0.0.1:7", 7)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:5", "0.0.0.0:0", 3)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "0.0.0.0:5", "0.0.0.0:0", 1)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "[::]:5", "[::]:0", 1)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.2:5", "0.0.0.0:0", 0)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:6", "0.0.0.0:0", 0)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:5", "127.0.0.1:8", 0)
	f(flow.UDP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:5", "127.0.0.2:7", 0)
	f(flow.TCP, "127.0.0.1:5", "127.0.0.1:7", "127.0.0.1:5", "127.0.0.1:7", 7)
	f(flow.TCP, "127.0.0.1:5", "127.0.0.1:7", "0.0.0.0:5", "0.0.0.0:0", 0) // it listens
}

func FuzzParse(f *testing.F) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		b := recorded(f, addr)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, message(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, number(0)...)...))
	}
	f.Add(message(unix.NLMSG_ERROR, 0, 1, number(-1<<31)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		done, err := parse(b, 1, func(s socket) {
			n++
			if !s.local.IsValid() || !s.remote.IsValid() || s.local.Addr().Is4In6() {
				t.Fatalf("%+v", s)
			}
			newQuery(flow.UDP, s.local, s.remote).fit(s)
		})
		if n > len(b)/(headerSize+socketSize) || errors.Is(err, errMessage) && done {
			t.Fatalf("%d sockets in %d bytes, %v, %v", n, len(b), done, err)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add([]byte("socket:[4294967295]"))
	f.Add([]byte("socket:["))
	f.Add([]byte("socket:[]"))
	f.Add([]byte("anon_inode:[eventpoll]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := parseLink(b); n != 0 && !ok {
			t.Fatalf("%d of no socket", n)
		}
	})
}
