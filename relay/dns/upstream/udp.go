package upstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// udpWaits are how long to wait after each sending of a question.
var udpWaits = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

const (
	maxResponse = 4096 // bytes over UDP; we ask for fewer
	// maxForeign is how many packets that are no answer one exchange puts up with: who sends them guesses.
	maxForeign = 64
)

var (
	errTooLong = errors.New("the answer is longer than was asked for")
	errForeign = errors.New("too many packets that are not the answer")
)

// udp asks over UDP, and over TCP what does not fit there (RFC 7766, section 5).
type udp struct {
	server *nameserver.Server
	dial   func(context.Context) (net.Conn, error)
	tcp    *stream

	ctx  context.Context // ends with Close
	stop context.CancelFunc
}

func newUDP(s *nameserver.Server, c Config) *udp {
	other := *s
	other.Scheme = nameserver.TCP
	ctx, stop := context.WithCancel(context.Background())
	return &udp{
		server: s,
		dial:   func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, "udp", s.Addr) },
		tcp:    newTCP(&other, c),
		ctx:    ctx, stop: stop,
	}
}

// Exchange uses a socket, and so a port, and an id that are new: both are what a forger has to guess.
func (u *udp) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	if err := checkQuery(query); err != nil {
		return nil, err
	}
	resp, err := u.exchange(ctx, query)
	switch {
	case u.ctx.Err() != nil && ctx.Err() == nil:
		err = ErrClosed
	case err == nil && resp == nil: // truncated
		return u.tcp.Exchange(ctx, query)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.server, err)
	}
	return resp, nil
}

// Close ends what is asked.
func (u *udp) Close() error {
	u.stop()
	return u.tcp.Close()
}

// exchange returns nil for an answer that is truncated.
func (u *udp) exchange(ctx context.Context, query []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	c, err := u.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()

	sent := bytes.Clone(query)
	rand.Read(sent[:2]) // never fails
	foreign := 0
	for _, wait := range udpWaits {
		var resp []byte
		if _, err = c.Write(sent); err == nil {
			c.SetReadDeadline(time.Now().Add(wait))
			resp, err = receive(c, sent, &foreign)
		}
		switch {
		case err == nil:
			if resp != nil {
				copy(resp[:2], query[:2])
			}
			return resp, nil
		case ctx.Err() != nil: // the socket was closed for it
			return nil, ctx.Err()
		case !isTimeout(err):
			return nil, err
		}
	}
	return nil, fmt.Errorf("no answer: %w", err)
}

// responses lends buffers with room for one byte more than a response may have.
var responses = sync.Pool{New: func() any { return new([maxResponse + 1]byte) }}

// receive waits for the answer to query; nil is one that is truncated. It counts what is none in foreign.
func receive(c net.Conn, query []byte, foreign *int) ([]byte, error) {
	b := responses.Get().(*[maxResponse + 1]byte)
	defer responses.Put(b)
	for {
		n, err := c.Read(b[:])
		if err != nil {
			return nil, err
		}
		p := b[:n]
		if wire.Answers(query, p) == nil {
			return accept(p)
		}
		if *foreign++; *foreign >= maxForeign {
			return nil, errForeign
		}
	}
}

// accept returns p, which is borrowed, as the caller's own.
func accept(p []byte) ([]byte, error) {
	const tc = wire.FlagTC >> 8
	switch {
	case p[2]&tc != 0: // what is behind the question may end anywhere
		return nil, nil
	case len(p) > maxResponse:
		return nil, errTooLong
	}
	answer, err := wire.Scan(bytes.Clone(p))
	if err != nil {
		return nil, err
	}
	return answer.Wire, nil
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
