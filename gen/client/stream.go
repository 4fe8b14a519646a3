package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/fasthttp/websocket"
)

const (
	maxErrorBody = 64 << 10
	pingTimeout  = 90 * time.Second // the server pings three times as often
	closeTimeout = time.Second
)

// builder makes the request of a feed.
type builder func() (*http.Request, error)

// lines yields the documents of a stream of lines.
func lines[T any](ctx context.Context, c *Client, build builder) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		req, err := prepare(ctx, c, build)
		if err != nil {
			yield(zero, err)
			return
		}
		res, err := c.Client.Do(req)
		if err != nil {
			yield(zero, err)
			return
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			yield(zero, statusError(res))
			return
		}
		d := json.NewDecoder(bufio.NewReader(res.Body))
		for {
			var v T
			switch err := d.Decode(&v); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(zero, err)
				return
			case !yield(v, nil):
				return
			}
		}
	}
}

// messages yields the documents of a WebSocket.
func messages[T any](ctx context.Context, c *Client, build builder) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		ws, err := dial(ctx, c, build)
		if err != nil {
			yield(zero, err)
			return
		}
		defer ws.Close()
		defer context.AfterFunc(ctx, func() { ws.Close() })()
		pong := ws.PingHandler()
		ws.SetPingHandler(func(data string) error {
			_ = ws.SetReadDeadline(time.Now().Add(pingTimeout))
			return pong(data)
		})
		for {
			_ = ws.SetReadDeadline(time.Now().Add(pingTimeout))
			var v T
			switch err := ws.ReadJSON(&v); {
			case websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway):
				return
			case err != nil:
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(zero, err)
				return
			case !yield(v, nil):
				msg := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
				_ = ws.WriteControl(websocket.CloseMessage, msg, time.Now().Add(closeTimeout))
				return
			}
		}
	}
}

// dial opens a WebSocket as the HTTP client would dial: same proxy, same TLS, same socket.
func dial(ctx context.Context, c *Client, build builder) (*websocket.Conn, error) {
	req, err := prepare(ctx, c, build)
	if err != nil {
		return nil, err
	}
	d := websocket.Dialer{HandshakeTimeout: 30 * time.Second, Proxy: http.ProxyFromEnvironment}
	if h, ok := c.Client.(*http.Client); ok {
		if t, ok := h.Transport.(*http.Transport); ok {
			d.NetDialContext = t.DialContext
			d.Proxy = t.Proxy
			if t.TLSClientConfig != nil {
				d.TLSClientConfig = t.TLSClientConfig.Clone()
				d.TLSClientConfig.NextProtos = nil
			}
		}
	}
	req.URL.Scheme = strings.Replace(req.URL.Scheme, "http", "ws", 1)
	ws, res, err := d.DialContext(ctx, req.URL.String(), req.Header)
	if err != nil {
		if res != nil {
			defer res.Body.Close()
			return nil, statusError(res)
		}
		return nil, err
	}
	return ws, nil
}

func prepare(ctx context.Context, c *Client, build builder) (*http.Request, error) {
	req, err := build()
	if err != nil {
		return nil, err
	}
	req = req.WithContext(ctx)
	return req, c.applyEditors(ctx, req, nil)
}

func statusError(res *http.Response) error {
	e := &StatusError{Status: res.StatusCode, Message: res.Status}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("status %d: %w", res.StatusCode, err)
	}
	var v struct{ Message, Code string }
	if json.Unmarshal(b, &v) == nil && v.Message != "" {
		e.Message, e.Code = v.Message, v.Code
	}
	return e
}
