package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// Error codes (RFC 9250, section 8.4).
const (
	doqNoError          = 0x0
	doqProtocolError    = 0x2
	doqRequestCancelled = 0x3
)

// overQUIC asks over QUIC (RFC 9250).
type overQUIC struct {
	server *nameserver.Server
	lines  *lines
	pool   *pool[*line]
}

func newQUIC(s *nameserver.Server, c Config) *overQUIC {
	n := newLines(s, c, "doq", doqNoError)
	return &overQUIC{server: s, lines: n, pool: newPool(n.open)}
}

func (o *overQUIC) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	resp, err := o.exchange(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.server, explain(ctx, err))
	}
	return resp, nil
}

func (o *overQUIC) exchange(ctx context.Context, query []byte) ([]byte, error) {
	sent, err := unnumbered(query)
	if err != nil {
		return nil, err
	}
	return o.pool.exchange(ctx, func(ctx context.Context, l *line) ([]byte, error) {
		return l.exchange(ctx, func(ctx context.Context) ([]byte, error) {
			resp, err := l.ask(ctx, sent)
			if err != nil {
				return nil, err
			}
			return numbered(resp, sent, query)
		})
	})
}

// Close ends all connections.
func (o *overQUIC) Close() error { return o.pool.Close() }

// ask sends query on a stream of its own, and reads the response to the end of the stream.
func (l *line) ask(ctx context.Context, query []byte) ([]byte, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	cancel := func() {
		s.CancelWrite(doqRequestCancelled)
		s.CancelRead(doqRequestCancelled)
	}
	defer context.AfterFunc(ctx, cancel)()
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	if _, err := s.Write(append(frame, query...)); err != nil {
		cancel()
		return nil, err
	}
	s.Close() // the query is all (section 4.2)
	resp, err := readOne(s)
	if err == nil {
		return resp, nil
	}
	cancel()
	if errors.Is(err, errProtocol) {
		l.end(doqProtocolError)
	}
	return nil, err
}

var errProtocol = &safeError{errors.New("the server sends something else than one message on a stream")}

// readOne reads a stream of one message. It bounds itself: the size in front has two bytes.
func readOne(s io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(s, size[:]); err != nil {
		return nil, cut(err)
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < wire.HeaderSize {
		return nil, errProtocol
	}
	resp := make([]byte, n+1)
	got, err := io.ReadFull(s, resp)
	switch {
	case err == nil:
		return nil, errProtocol // there is more
	case errors.Is(err, io.ErrUnexpectedEOF) && got == n:
		return resp[:n:n], nil
	}
	return nil, cut(err)
}

// cut is errProtocol for a stream that ended too soon (section 4.3.3).
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errProtocol
	}
	return err
}
