package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// MaxQuery is the longest message, in bytes, that is read from a client.
const MaxQuery = 4096

const (
	maxBatch     = 32 // datagrams taken at a time
	manyFailures = 16 // in a row: the socket does not work
	failurePause = 10 * time.Millisecond
)

// serveDatagrams answers datagrams, as many at a time as have come.
func (l *Listener) serveDatagrams(ctx context.Context, live *sync.WaitGroup) {
	b, err := l.udp.NewBatch(maxBatch, MaxQuery, wire.UDPSize)
	if err != nil {
		l.log.Error("DNS over UDP", "err", err)
		return
	}
	var q wire.Query
	for failures := 0; ; {
		n, err := b.Receive()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as what a client's system said of an earlier answer
			failures++
			l.pause(ctx, failures, err)
			continue
		}
		failures = 0
		for i := range n {
			if answer, ok := l.quick(b.Reply(i), &q, b.Packet(i), true); ok {
				b.Answer(i, answer)
			} else if !l.later(ctx, live, b, i) {
				b.Answer(i, q.AppendEmpty(b.Reply(i), wire.ServerFailure))
			}
		}
		b.Flush()
	}
}

// pause waits before the next try to receive when so many in a row have failed that the next will too.
func (l *Listener) pause(ctx context.Context, failures int, err error) {
	if failures < manyFailures {
		return
	}
	if l.deafLogged.due() {
		l.log.Warn("DNS over UDP receives nothing: it is tried again and again", "listen", l.Addr().String(), "err", err)
	}
	select {
	case <-time.After(failurePause):
	case <-ctx.Done():
	}
}

// later answers datagram i of a batch once somebody has been asked, unless too many wait already.
func (l *Listener) later(ctx context.Context, live *sync.WaitGroup, b *sysnet.Batch, i int) bool {
	from := b.From(i)
	client := clientOf(from.Addr())
	if !l.waiting.enter(client) {
		l.logCrowd()
		return false
	}
	packet, local := bytes.Clone(b.Packet(i)), b.Local(i)
	live.Go(func() {
		defer l.waiting.leave(client)
		if answer := l.slow(ctx, packet, true); len(answer) > 0 {
			_, _ = l.udp.Send(answer, from, local) // a client that is gone does not matter
		}
	})
	return true
}
