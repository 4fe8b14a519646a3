package inbound

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	wire "github.com/switchyard-proxy/switchyard/relay/protocol/socks"
)

// parse reads until p can take a whole message from what r holds.
func parse[T any](r *reader, p func([]byte) (T, int, error)) (T, error) {
	for {
		v, n, err := p(r.bytes())
		if !errors.Is(err, wire.ErrShort) {
			r.skip(n)
			return v, err
		}
		if r.full() {
			return v, wire.ErrFormat
		}
		if err := r.fill(); err != nil {
			return v, err
		}
	}
}

type request struct {
	command byte
	user    string
	to      flow.Addr
}

func (k *client) socks5(ctx context.Context, r *reader) {
	methods, err := parse(r, func(p []byte) ([]byte, int, error) {
		m, n, err := wire.ParseGreeting(p)
		return bytes.Clone(m), n, err
	})
	if err != nil || !k.socksLogin(r, methods) {
		return
	}
	req, err := parse(r, func(p []byte) (request, int, error) {
		command, to, n, err := wire.ParseRequest(p)
		return request{command: command, to: to}, n, err
	})
	if err != nil {
		if errors.Is(err, wire.ErrAddress) {
			k.reply5(wire.HostUnreachable)
		} else if errors.Is(err, wire.ErrFormat) {
			k.reply5(wire.AddressUnsupported)
		}
		return
	}
	switch {
	case req.command == wire.Connect && req.to.Port != 0:
		k.connect(ctx, r, flow.SOCKS5, req.to, func(err error) error {
			return k.reply5(replyCode(err))
		})
	case req.command == wire.UDPAssociate && k.service.UDP != nil:
		k.associate(ctx)
	case req.command == wire.Connect:
		k.reply5(wire.GeneralFailure)
	default:
		k.reply5(wire.CommandUnsupported)
	}
}

// socksLogin agrees on a method and checks the password where one is wanted.
func (k *client) socksLogin(r *reader, methods []byte) bool {
	if !k.service.login(k.from.Addr()) {
		switch {
		case bytes.IndexByte(methods, wire.NoAuth) >= 0:
			_, err := k.conn.Write([]byte{wire.Version5, wire.NoAuth})
			return err == nil
		case bytes.IndexByte(methods, wire.UserPassword) < 0:
			_, _ = k.conn.Write([]byte{wire.Version5, wire.NoneFits})
			return false
		}
	} else if bytes.IndexByte(methods, wire.UserPassword) < 0 {
		_, _ = k.conn.Write([]byte{wire.Version5, wire.NoneFits})
		return false
	}
	if _, err := k.conn.Write([]byte{wire.Version5, wire.UserPassword}); err != nil {
		return false
	}
	login, err := parse(r, func(p []byte) ([2]string, int, error) {
		user, password, n, err := wire.ParseUserPassword(p)
		return [2]string{string(user), string(password)}, n, err
	})
	if err != nil {
		return false
	}
	if k.service.login(k.from.Addr()) && !k.service.Users.Check(login[0], login[1]) {
		_, _ = k.conn.Write([]byte{1, 1})
		return false
	}
	k.user = login[0]
	_, err = k.conn.Write([]byte{1, 0})
	return err == nil
}

func (k *client) reply5(code byte) error {
	var b [10]byte
	_, err := k.conn.Write(wire.AppendReply(b[:0], code, netip.AddrPort{}))
	return err
}

func (k *client) reply4(code byte) error {
	var b [8]byte
	_, err := k.conn.Write(wire.AppendReply4(b[:0], code))
	return err
}

func (k *client) socks4(ctx context.Context, r *reader) {
	req, err := parse(r, func(p []byte) (request, int, error) {
		command, user, to, n, err := wire.ParseRequest4(p)
		return request{command, user, to}, n, err
	})
	// SOCKS 4 has no password: where one is wanted, nobody gets in.
	if err != nil || req.command != wire.Connect || req.to.Port == 0 || k.service.login(k.from.Addr()) {
		if err == nil || errors.Is(err, wire.ErrAddress) {
			_ = k.reply4(wire.Rejected4)
		}
		return
	}
	k.user = req.user
	k.connect(ctx, r, flow.SOCKS4, req.to, func(err error) error {
		if err != nil {
			return k.reply4(wire.Rejected4)
		}
		return k.reply4(wire.Granted4)
	})
}

// connect opens the flow, answers truthfully, and relays.
func (k *client) connect(ctx context.Context, r *reader, kind flow.Kind, to flow.Addr, reply func(error) error) {
	_ = k.conn.SetReadDeadline(time.Time{})
	s, err := k.service.Handler.Open(ctx, k.flow(kind, to))
	if errors.Is(err, flow.ErrDropped) {
		k.hold()
		return
	}
	if rerr := reply(err); rerr != nil && err == nil {
		_ = s.Close()
		return
	}
	if err == nil {
		k.relay(s, r)
	}
}

// replyCode is the SOCKS 5 word for why a flow could not be opened.
func replyCode(err error) byte {
	var dns *net.DNSError
	switch {
	case err == nil:
		return wire.Granted
	case errors.Is(err, flow.ErrRejected):
		return wire.NotAllowed
	case errors.Is(err, syscall.ECONNREFUSED):
		return wire.Refused
	case errors.Is(err, syscall.ENETUNREACH):
		return wire.NetworkUnreachable
	case errors.Is(err, syscall.EHOSTUNREACH), errors.As(err, &dns):
		return wire.HostUnreachable
	case isTimeout(err):
		return wire.TTLExpired
	}
	return wire.GeneralFailure
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &t) && t.Timeout()
}

// associate lets the client send datagrams for as long as it keeps this connection.
func (k *client) associate(ctx context.Context) {
	u := k.service.UDP
	bound := netip.AddrPortFrom(k.local.Addr(), u.Addr().Port())
	done := u.admit(k)
	defer done()
	var b [22]byte
	if _, err := k.conn.Write(wire.AppendReply(b[:0], wire.Granted, bound)); err != nil {
		return
	}
	_ = k.conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = k.conn.Close() })
	defer stop()
	var rest [16]byte
	for {
		if _, err := k.conn.Read(rest[:]); err != nil {
			return
		}
	}
}
