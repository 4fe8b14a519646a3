package rt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// ErrGone means that the peer of a stream is gone, or that the server is shutting down.
var ErrGone = errors.New("stream is over")

const (
	lingerTimeout  = time.Second // for the last words of a stream
	maxClientBytes = 64 << 10    // what a client may say on a stream of lines before it is cut
	maxClientFrame = 4 << 10     // the largest WebSocket frame that a client may send
)

// Stream sends documents to one peer. Only the goroutine that runs it may send.
type Stream struct {
	sv      *Server
	ctx     context.Context
	cancel  context.CancelFunc
	conn    net.Conn
	ws      *websocket.Conn // nil on a stream of lines
	chunked bool
	buf     []byte
	out     []byte

	mu     sync.Mutex // guards ending against a late extension of the read deadline
	ending bool
}

// Done is closed when the peer is gone or the server is shutting down.
func (s *Stream) Done() <-chan struct{} { return s.ctx.Done() }

// Context is done when Done is closed.
func (s *Stream) Context() context.Context { return s.ctx }

// Buffer lends the stream's buffer, empty, for SendBuffer.
func (s *Stream) Buffer() []byte { return s.buf[:0] }

// SendBuffer is SendRaw of what was appended to Buffer.
func (s *Stream) SendBuffer(b []byte) error {
	s.buf = b
	return s.SendRaw(b)
}

// SendRaw sends b, one JSON document with a newline at its end. It does not keep b. After an error
// the stream is over.
func (s *Stream) SendRaw(b []byte) error {
	if s.ctx.Err() != nil {
		return ErrGone
	}
	deadline := time.Now().Add(s.sv.o.WriteTimeout)
	if s.ws != nil {
		_ = s.ws.SetWriteDeadline(deadline)
		return s.sent(s.ws.WriteMessage(websocket.TextMessage, b))
	}
	if s.chunked {
		s.out = append(strconv.AppendUint(s.out[:0], uint64(len(b)), 16), '\r', '\n')
		s.out = append(append(s.out, b...), '\r', '\n')
		b = s.out
	}
	if s.conn.SetWriteDeadline(deadline) != nil || s.ctx.Err() != nil { // or it ended just now
		return ErrGone
	}
	_, err := s.conn.Write(b)
	return s.sent(err)
}

func (s *Stream) sent(err error) error {
	if err != nil {
		s.cancel()
		return ErrGone
	}
	return nil
}

// IsUpgrade tells whether the client asks for a WebSocket.
func IsUpgrade(ctx *fasthttp.RequestCtx) bool {
	return bytes.EqualFold(ctx.Request.Header.Peek("Upgrade"), []byte("websocket"))
}

// Start answers with a stream: over a WebSocket if the client asks for one, else as lines if lines
// are allowed. It returns the status answered. run is called once the handler has returned.
func Start(ctx *fasthttp.RequestCtx, sv *Server, lines bool, run func(*Stream) error) int {
	upgrade := IsUpgrade(ctx)
	status := fasthttp.StatusOK
	switch {
	case upgrade && sv.o.CheckOrigin != nil && !sv.o.CheckOrigin(ctx):
		status = fasthttp.StatusForbidden
	case upgrade && !validHandshake(ctx), !upgrade && !lines:
		status = fasthttp.StatusBadRequest
	case sv.o.MaxStreams > 0 && sv.Open() >= sv.o.MaxStreams:
		status = fasthttp.StatusServiceUnavailable
	}
	if status != fasthttp.StatusOK {
		Fail(ctx, status)
		return status
	}
	if upgrade {
		return startSocket(ctx, sv, run)
	}
	s := &Stream{sv: sv, chunked: ctx.Request.Header.IsHTTP11()}
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType("application/x-ndjson")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	if s.chunked {
		ctx.Response.Header.SetContentLength(-1)
	} else {
		ctx.Response.Header.SetContentLength(-2)
	}
	ctx.Response.Header.SetConnectionClose()
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) {
		s.conn = c
		s.serve(ctx, run)
	})
	return status
}

func startSocket(ctx *fasthttp.RequestCtx, sv *Server, run func(*Stream) error) int {
	s := &Stream{sv: sv}
	up := websocket.FastHTTPUpgrader{
		ReadBufferSize:  1024,
		WriteBufferSize: 4096,
		CheckOrigin:     func(*fasthttp.RequestCtx) bool { return true },
	}
	err := up.Upgrade(ctx, func(ws *websocket.Conn) {
		s.conn, s.ws = ws.NetConn(), ws
		s.serve(ctx, run)
	})
	if err != nil {
		Fail(ctx, fasthttp.StatusBadRequest)
		return fasthttp.StatusBadRequest
	}
	// serve writes the head, so that a request with "Connection: close" is served as well.
	ctx.HijackSetNoResponse(true)
	return fasthttp.StatusSwitchingProtocols
}

// validHandshake checks what the library checks, and the length of the key.
func validHandshake(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	key, err := base64.StdEncoding.DecodeString(string(h.Peek("Sec-Websocket-Key")))
	if err != nil || len(key) != 16 || string(h.Peek("Sec-Websocket-Version")) != "13" {
		return false
	}
	for token := range strings.SplitSeq(string(h.Peek("Connection")), ",") {
		if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
			return true
		}
	}
	return false
}

// serve runs the stream on the hijacked connection, and returns when both its ends are over.
// fasthttp closes the connection afterwards; Close of a hijacked one does nothing. It keeps ctx
// until then, so that the head of the answer may be taken from it.
func (s *Stream) serve(ctx *fasthttp.RequestCtx, run func(*Stream) error) {
	s.sv.opened()
	defer s.sv.closed()
	s.ctx, s.cancel = context.WithCancel(s.sv.o.Context)
	defer s.cancel()
	if s.ctx.Err() != nil {
		return
	}

	unblocked := make(chan struct{})
	stop := context.AfterFunc(s.ctx, func() { // ends a write to a peer that does not read
		defer close(unblocked)
		_ = s.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	var tasks sync.WaitGroup
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.sv.o.WriteTimeout))
	_, err := s.conn.Write(ctx.Response.Header.Header())
	if err == nil {
		if s.ws != nil {
			s.watchSocket(&tasks)
		} else {
			tasks.Go(s.watchLines)
		}
		err = s.guard(run)
	}
	shutdown := s.sv.o.Context.Err() != nil
	gone := s.ctx.Err() != nil && !shutdown // the peer, or the way to it

	s.cancel()
	if !stop() {
		<-unblocked
	}
	s.finish(gone, shutdown, err)
	tasks.Wait()
}

func (s *Stream) guard(run func(*Stream) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.sv.panicked(v)
			err = errors.New("panic")
		}
	}()
	return run(s)
}

// finish says the last words and lets the watchers end.
func (s *Stream) finish(gone, shutdown bool, err error) {
	deadline := time.Unix(1, 0)
	if !gone {
		deadline = time.Now().Add(lingerTimeout)
	}
	_ = s.conn.SetWriteDeadline(deadline)
	switch {
	case gone:
	case s.ws != nil:
		code := websocket.CloseNormalClosure
		if shutdown {
			code = websocket.CloseGoingAway
		} else if err != nil {
			code = websocket.CloseInternalServerErr
		}
		msg := websocket.FormatCloseMessage(code, "")
		if s.ws.WriteControl(websocket.CloseMessage, msg, deadline) != nil {
			deadline = time.Unix(1, 0)
		}
	default:
		if s.chunked && (err == nil || shutdown) {
			_, _ = s.conn.Write([]byte("0\r\n\r\n"))
		}
		deadline = time.Unix(1, 0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	_ = s.conn.SetReadDeadline(deadline) // a WebSocket's peer may answer the close frame until then
}

// watchLines notices the end of the connection. What the client says is thrown away.
func (s *Stream) watchLines() {
	defer s.cancel()
	var b [512]byte
	for n := 0; n < maxClientBytes; {
		k, err := s.conn.Read(b[:])
		if err != nil {
			return
		}
		n += k
	}
}

// watchSocket answers pings and a close frame, and gives up a peer that is silent for too long.
func (s *Stream) watchSocket(tasks *sync.WaitGroup) {
	patience := 3 * s.sv.o.PingInterval
	extend := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ending {
			_ = s.conn.SetReadDeadline(time.Now().Add(patience))
		}
	}
	s.ws.SetReadLimit(maxClientFrame)
	pong := s.ws.PingHandler()
	s.ws.SetPingHandler(func(data string) error {
		extend()
		return pong(data)
	})
	s.ws.SetPongHandler(func(string) error {
		extend()
		return nil
	})
	extend()
	tasks.Go(func() {
		defer s.cancel()
		for {
			if _, _, err := s.ws.NextReader(); err != nil {
				return
			}
			extend()
		}
	})
	tasks.Go(func() {
		t := time.NewTicker(s.sv.o.PingInterval)
		defer t.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case now := <-t.C:
				if s.ws.WriteControl(websocket.PingMessage, nil, now.Add(s.sv.o.WriteTimeout)) != nil {
					s.cancel()
					return
				}
			}
		}
	})
}
