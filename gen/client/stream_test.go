package client_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
)

// count sends 1, 2, 3… until the peer is gone.
func count(s server.TrafficStream) error {
	for n := int64(1); ; n++ {
		if err := s.Send(&api.Traffic{Up: n}); err != nil {
			return err
		}
	}
}

// hold sends one document and waits for the end, which it reports.
func hold(ended chan<- struct{}) func(s server.TrafficStream) error {
	return func(s server.TrafficStream) error {
		defer func() { ended <- struct{}{} }()
		if err := s.Send(&api.Traffic{Up: 1}); err != nil {
			return err
		}
		<-s.Done()
		return nil
	}
}

// feeder follows the traffic by one of the two ways.
type feeder func(*client.API, context.Context) iter.Seq2[api.Traffic, error]

func bothWays(t *testing.T, f func(t *testing.T, feed feeder)) {
	t.Run("lines", func(t *testing.T) {
		f(t, func(c *client.API, ctx context.Context) iter.Seq2[api.Traffic, error] {
			return c.EachTraffic(ctx)
		})
	})
	t.Run("socket", func(t *testing.T) {
		f(t, func(c *client.API, ctx context.Context) iter.Seq2[api.Traffic, error] {
			return c.WatchTraffic(ctx)
		})
	})
}

func TestFeed(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		d := start(t, "tcp", rt.Options{}, count)
		want := int64(1)
		for v, err := range feed(d.dial(t), t.Context()) {
			if err != nil || v.Up != want {
				t.Fatalf("%+v, %v; want %d", v, err, want)
			}
			if want++; want > 1000 {
				break
			}
		}
		// Leaving the loop ended the stream: shutdown waits for it without ending it itself.
		d.sv.Wait()
	})
}

func TestFeedShapes(t *testing.T) {
	d := start(t, "tcp", rt.Options{}, nil)
	c := d.dial(t)
	level := api.LogLevelDebug
	p := &api.StreamLogsParams{Level: &level}
	n := 0
	for _, feed := range []iter.Seq2[api.LogEvent, error]{
		c.EachLogEvent(t.Context(), p), c.WatchLogEvent(t.Context(), p),
	} {
		for v, err := range feed {
			if n++; err != nil || v.Payload != "debug" {
				t.Fatalf("%+v, %v", v, err)
			}
		}
	}
	for _, feed := range []iter.Seq2[api.StructuredLog, error]{
		c.EachStructuredLog(t.Context(), p), c.WatchStructuredLog(t.Context(), nil),
	} {
		for v, err := range feed {
			if n++; err != nil || v.Level != api.StructuredLevelWarn || v.Message == "" || v.Fields == nil {
				t.Fatalf("%+v, %v", v, err)
			}
		}
	}
	if n != 4 {
		t.Fatalf("%d documents", n)
	}
}

func TestFeedRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		d := start(t, "tcp", rt.Options{}, count)
		for _, err := range feed(d.dial(t, client.WithSecret("wrong")), t.Context()) {
			var e *client.StatusError
			if !errors.As(err, &e) || e.Status != 401 || e.Code != "unauthorized" {
				t.Fatal(err)
			}
		}
	})
	// A bad parameter is refused before the upgrade.
	d := start(t, "tcp", rt.Options{}, nil)
	interval := int32(1)
	p := &api.GetConnectionsParams{Interval: &interval}
	for _, err := range d.dial(t).WatchConnections(t.Context(), p) {
		var e *client.StatusError
		if !errors.As(err, &e) || e.Status != 400 || e.Code != "body_invalid" {
			t.Fatal(err)
		}
	}
}

func TestFeedLimit(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		ended := make(chan struct{}, 1)
		d := start(t, "tcp", rt.Options{MaxStreams: 1}, hold(ended))
		for _, err := range feed(d.dial(t), t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range feed(d.dial(t), t.Context()) {
				var e *client.StatusError
				if !errors.As(err, &e) || e.Status != 503 || e.Code != "too_many_streams" {
					t.Fatal(err)
				}
			}
			break
		}
		within(t, ended, "the stream")
		d.sv.Wait()
		for _, err := range feed(d.dial(t), t.Context()) { // the place is free again
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	})
}

func TestFeedShutdown(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		ended := make(chan struct{}, 1)
		d := start(t, "tcp", rt.Options{}, hold(ended))
		n := 0
		for _, err := range feed(d.dial(t), t.Context()) {
			if n++; err != nil {
				t.Fatal(err)
			}
			go d.shutdown()
		}
		within(t, ended, "the stream")
		if n != 1 {
			t.Fatalf("%d documents", n)
		}
		d.sv.Wait()
	})
}

func TestFeedCancel(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		ended := make(chan struct{}, 1)
		d := start(t, "tcp", rt.Options{}, hold(ended))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for _, err := range feed(d.dial(t), ctx) {
			if n++; n == 1 {
				cancel()
			} else if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		within(t, ended, "the stream")
	})
}

func TestFeedPanic(t *testing.T) {
	bothWays(t, func(t *testing.T, feed feeder) {
		d := start(t, "tcp", rt.Options{}, func(server.TrafficStream) error { panic("bug") })
		n := 0
		for _, err := range feed(d.dial(t), t.Context()) {
			if n++; err == nil {
				t.Fatal("a document")
			}
		}
		if n != 1 || d.panics.Load() != 1 {
			t.Fatalf("%d errors, %d panics", n, d.panics.Load())
		}
	})
}

var lineHead = []string{"Host: x", "Authorization: Bearer " + secret}

// TestLinesHead shows that the head is sent before the first document, and complete.
func TestLinesHead(t *testing.T) {
	ended := make(chan struct{}, 1)
	d := start(t, "tcp", rt.Options{}, func(s server.TrafficStream) error {
		<-s.Done()
		ended <- struct{}{}
		return nil
	})
	f := func(version string, chunked bool, lines ...string) {
		t.Helper()
		c := d.raw(t, append(append([]string{"GET /traffic HTTP/" + version}, lineHead...), lines...)...)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-ndjson" ||
			res.Header.Get("Vary") != "Origin" || res.ContentLength != -1 ||
			(len(res.TransferEncoding) == 1) != chunked {
			t.Fatalf("HTTP/%s: %+v", version, res)
		}
		// A dead reader is noticed while nothing is sent.
		c.Close()
		within(t, ended, "the stream")
	}
	f("1.1", true)
	f("1.1", true, "Connection: close")
	f("1.0", false)
}

func TestLinesSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	big := []byte(`"` + strings.Repeat("x", 1<<20) + "\"\n")
	o := rt.Options{WriteTimeout: 50 * time.Millisecond}
	d := start(t, "tcp", o, func(s server.TrafficStream) error {
		for {
			if err := s.SendRaw(big); err != nil {
				ended <- err
				return err
			}
		}
	})
	f := func(lines ...string) {
		t.Helper()
		d.raw(t, append(append([]string{"GET /traffic HTTP/1.1"}, lineHead...), lines...)...)
		if err := within(t, ended, "the stream"); !errors.Is(err, rt.ErrGone) {
			t.Fatal(err)
		}
	}
	f()
	f(socketHead...)
}

var socketHead = []string{
	"Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
}

// TestSocketSilent shows that a peer that answers no ping is given up.
func TestSocketSilent(t *testing.T) {
	ended := make(chan struct{}, 1)
	d := start(t, "tcp", rt.Options{PingInterval: 10 * time.Millisecond}, hold(ended))
	c := d.raw(t, append(append([]string{"GET /traffic HTTP/1.1"}, lineHead...), socketHead...)...)
	within(t, ended, "the stream")
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	head, frames, _ := strings.Cut(string(b), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 101 ") || strings.Contains(head, "Content-Length") {
		t.Fatal(head)
	}
	// One unmasked, whole text frame with a newline at its end, then pings.
	doc := `{"down":0,"downTotal":0,"up":1,"upTotal":0}` + "\n"
	if !strings.HasPrefix(frames, "\x81"+string(rune(len(doc)))+doc+"\x89\x00") {
		t.Fatalf("%q", frames)
	}
}

func TestSocketRefused(t *testing.T) {
	d := start(t, "tcp", rt.Options{
		CheckOrigin: func(ctx *fasthttp.RequestCtx) bool {
			return len(ctx.Request.Header.Peek("Origin")) == 0
		},
	}, count)
	f := func(status int, lines ...string) {
		t.Helper()
		c := d.raw(t, append(append([]string{"GET /traffic HTTP/1.1"}, lineHead...), lines...)...)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != status || res.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%q: %+v, %v", lines, res, err)
		}
	}
	// A page of another origin.
	f(403, append([]string{"Origin: http://evil.test"}, socketHead...)...)
	// Not a handshake.
	f(400, "Upgrade: websocket")
	f(400, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
	f(400, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: x")
	f(400, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8", socketHead[3])
}

// TestSocketControl shows that pings and a close frame are answered, and what is said at the end.
func TestSocketControl(t *testing.T) {
	ended := make(chan struct{}, 1)
	d := start(t, "tcp", rt.Options{}, hold(ended))
	open := func() *websocket.Conn {
		t.Helper()
		// The browser's way in.
		dialer := websocket.Dialer{WriteBufferSize: 16 << 10} // one frame a message
		ws, res, err := dialer.Dial("ws://"+d.addr+"/traffic?token="+secret, nil)
		if err != nil {
			t.Fatalf("%v: %v", err, res)
		}
		t.Cleanup(func() { ws.Close() })
		if err := ws.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
		return ws
	}
	// A ping is answered with its own words; what a client says is ignored.
	ws := open()
	pong := ""
	ws.SetPongHandler(func(s string) error {
		pong = s
		return io.EOF // leave ReadMessage
	})
	if err := ws.WriteMessage(websocket.TextMessage, []byte("ignored")); err != nil {
		t.Fatal(err)
	}
	if err := ws.WriteControl(websocket.PingMessage, []byte("hi"), time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !errors.Is(err, io.EOF) || pong != "hi" {
		t.Fatalf("%q, %v", pong, err)
	}
	ws.Close() // without a close frame
	within(t, ended, "the stream")

	// A close frame is answered by one with the same code, then the connection ends.
	ws = open()
	msg := websocket.FormatCloseMessage(websocket.CloseGoingAway, "bye")
	if err := ws.WriteControl(websocket.CloseMessage, msg, time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Fatal(err)
	}
	within(t, ended, "the stream")

	// A frame that is too large ends the stream.
	ws = open()
	if err := ws.WriteMessage(websocket.TextMessage, make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	within(t, ended, "the stream")

	// Shutdown says so.
	ws = open()
	go d.shutdown()
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Fatal(err)
	}
}
