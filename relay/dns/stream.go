package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// Limits of connections.
const (
	maxStreams      = 256
	maxStreamsOfOne = 64 // client
	streamIdle      = 30 * time.Second
	streamWrite     = 10 * time.Second
	maxPipelined    = 32 // questions of one connection that are being answered
)

// accept serves connections.
func (l *Listener) accept(ctx context.Context, live *sync.WaitGroup) {
	for {
		c, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors: wait, do not die
			l.log.Warn("accept", "listener", "dns", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		client := clientOf(c.RemoteAddrPort().Addr())
		s := &stream{conn: c, client: client, answer: l.answerOf(client), since: time.Now()}
		if !l.streams.admit(s) {
			_ = c.Close()
			if l.streamsLogged.due() {
				l.log.Warn("DNS over TCP: no room for a connection, for questions are being answered on all others",
					"client", clientName(client))
			}
			continue
		}
		live.Go(func() {
			defer l.streams.remove(s)
			s.serve(ctx)
		})
	}
}

// answerFunc answers the message packet; with nil it does not.
type answerFunc = func(ctx context.Context, packet []byte, datagram bool) []byte

// answerOf answers questions that come from client over a connection. They count among those that wait.
func (l *Listener) answerOf(client netip.Prefix) answerFunc {
	return func(ctx context.Context, packet []byte, _ bool) []byte {
		if l.waiting.enter(client) {
			defer l.waiting.leave(client)
			return l.slow(ctx, packet, false)
		}
		var q wire.Query
		answer, ok := l.quick(nil, &q, packet, false)
		if !ok {
			l.logCrowd()
			answer = q.AppendEmpty(nil, wire.ServerFailure)
		}
		return answer
	}
}

// streams are the connections that are open. The zero value is ready.
type streams struct {
	mu   sync.Mutex
	open map[*stream]bool
}

// admit lists s. Where there are too many, of its client or of all, the one of them that has been idle
// longest makes room; if none is idle s is not listed.
func (l *streams) admit(s *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for o := range l.open {
		if o.client == s.client {
			same++
		}
	}
	room := true
	switch {
	case same >= maxStreamsOfOne:
		room = l.endIdle(func(o *stream) bool { return o.client == s.client })
	case len(l.open) >= maxStreams:
		room = l.endIdle(func(*stream) bool { return true })
	}
	if room {
		if l.open == nil {
			l.open = make(map[*stream]bool)
		}
		l.open[s] = true
	}
	return room
}

// endIdle ends, of those that are meant, the connection that has been idle longest. l.mu is held.
func (l *streams) endIdle(meant func(*stream) bool) bool {
	for {
		var longest *stream
		var since time.Time
		for o := range l.open {
			if at, idle := o.idle(); idle && meant(o) && (longest == nil || at.Before(since)) {
				longest, since = o, at
			}
		}
		if longest == nil {
			return false
		}
		if longest.endIdle() { // else a question has come in between
			delete(l.open, longest)
			return true
		}
	}
}

// remove takes a connection out that has ended.
func (l *streams) remove(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, s)
}

// stream is a connection that questions come over.
type stream struct {
	conn   net.Conn
	client netip.Prefix
	answer answerFunc

	mu    sync.Mutex
	asked int       // questions that are being answered, or whose answers are being written
	since time.Time // when the last of them was
	over  bool      // closed while it was idle
}

// idle says since when nothing has been answered.
func (s *stream) idle() (since time.Time, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, s.asked == 0
}

// endIdle closes s if nothing is being answered.
func (s *stream) endIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked > 0 {
		return false
	}
	s.over = true
	_ = s.conn.Close()
	return true
}

// begin notes that a question has come. It fails when s was closed before.
func (s *stream) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.asked++
	}
	return !s.over
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked--
	s.since = time.Now()
}

// ServeStream answers the questions that come over c, in the order in which the answers are there
// (RFC 7766), until it is idle or ctx is done. It closes c.
func ServeStream(ctx context.Context, c net.Conn, answer answerFunc) {
	(&stream{conn: c, answer: answer}).serve(ctx)
}

// serve is ServeStream.
func (s *stream) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
	var live sync.WaitGroup
	defer live.Wait()
	defer cancel()
	var writing sync.Mutex
	slots := make(chan struct{}, maxPipelined)
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(streamIdle))
		packet, err := readMessage(s.conn)
		if err != nil {
			// Who has closed its side may still wait for answers.
			live.Wait()
			return
		}
		if !s.begin() {
			return
		}
		slots <- struct{}{}
		live.Go(func() {
			defer func() { <-slots }()
			defer s.end()
			m := s.answer(ctx, packet, false)
			if len(m) == 0 {
				return
			}
			m = append(binary.BigEndian.AppendUint16(make([]byte, 0, len(m)+2), uint16(len(m))), m...)
			writing.Lock()
			defer writing.Unlock()
			_ = s.conn.SetWriteDeadline(time.Now().Add(streamWrite))
			if _, err := s.conn.Write(m); err != nil {
				cancel()
			}
		})
	}
}

// readMessage reads a question with its size in front. One that is longer than questions are is an
// error.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < wire.HeaderSize || n > MaxQuery {
		return nil, wire.ErrFormat
	}
	packet := make([]byte, n)
	_, err := io.ReadFull(r, packet)
	return packet, err
}
