package engine

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/pump"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// stream is an opened TCP flow: the outbound's connection, counted and in the table.
type stream struct {
	flow.Conn
	engine *Engine
	entry  *track.Entry

	mu     sync.Mutex
	client flow.Conn
	done   func() // tells the inbound that the relay has ended
	ended  bool
	over   sync.Once
}

// Read counts what the target sends.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.entry.Down.Add(int64(n))
	return n, err
}

// Write counts what the target receives.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.entry.Up.Add(int64(n))
	return n, err
}

// SetLinger implements what flow.Reset asks for.
func (s *stream) SetLinger(sec int) error {
	if l, ok := s.Conn.(interface{ SetLinger(sec int) error }); ok {
		return l.SetLinger(sec)
	}
	return nil
}

// Quiet implements flow.Stream. Of a layered connection nothing can be told.
func (s *stream) Quiet() bool {
	c, bare := s.Conn.(interface{ Peer() sysnet.Peer })
	return !bare || c.Peer() == sysnet.PeerQuiet
}

// Cut implements flow.Stream.
func (s *stream) Cut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Relay implements flow.Stream.
func (s *stream) Relay(client flow.Conn, done func()) {
	s.mu.Lock()
	s.client, s.done = client, done
	ended := s.ended
	s.mu.Unlock()
	if ended {
		_ = client.Close()
		_ = s.Conn.Close()
		done()
		return
	}
	pump.Start(client, s.Conn, &s.entry.Up, &s.entry.Down, s)
}

// HalfClosed implements pump.Watcher: from now on silence ends the flow.
func (s *stream) HalfClosed() { s.entry.HalfClosed() }

// Ended implements pump.Watcher.
func (s *stream) Ended(err error) {
	defer s.done()
	defer func() {
		if v := recover(); v != nil {
			s.engine.Recovered(v)
		}
	}()
	s.finish(s.reason(err))
}

func (s *stream) reason(err error) track.Reason {
	var side *pump.Side
	switch {
	case err == nil:
		return track.Done
	case errors.Is(err, pump.ErrPanic):
		s.engine.panics.Add(1)
		s.engine.log.Error("panic in a flow", "id", s.entry.ID.String(), "err", err)
		return track.Panic
	case errors.As(err, &side) && side.Client:
		return track.ClientError
	}
	return track.TargetError
}

// Close implements flow.Stream.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.finish(track.Done)
	return err
}

func (s *stream) finish(r track.Reason) {
	s.over.Do(func() {
		s.engine.Table.Remove(s.entry, r)
		s.engine.logEnd(context.Background(), s.entry)
	})
}

// end closes both ends, so that the client reads an end and not an error, and takes the flow out
// of the table at once.
func (s *stream) end() {
	s.mu.Lock()
	client := s.client
	s.ended = true
	s.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
	_ = s.Conn.Close()
	s.finish(track.ByAPI)
}

// Recovered notes a panic that ended a flow or an inbound's connection.
func (e *Engine) Recovered(v any) {
	e.panics.Add(1)
	e.log.Error("panic in a flow", "panic", v, "stack", string(debug.Stack()))
}
