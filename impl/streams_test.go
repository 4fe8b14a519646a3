package impl

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/logs"
)

// dial connects to the API at url.
func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// overLines and overSocket open a stream, and return what reads one message of it.
func overLines(t *testing.T, url, path string) func() ([]byte, error) {
	t.Helper()
	c := dial(t, url)
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	lines := bufio.NewReader(httputil.NewChunkedReader(r))
	return func() ([]byte, error) { return lines.ReadBytes('\n') }
}

func overSocket(t *testing.T, url, path string) func() ([]byte, error) {
	t.Helper()
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return dial(t, url), nil }}
	ws, _, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() ([]byte, error) {
		_, b, err := ws.ReadMessage()
		return b, err
	}
}

// logMessage is a message in one of the two forms.
type logMessage struct {
	Type, Payload  string // of the standard one
	Level, Message string
	Time           time.Time
	Fields         []struct{ Key, Value string }
}

// lost is how many messages a gap stands for; 0 is that it is none.
func (m *logMessage) lost() (n int) {
	for _, f := range m.Fields {
		if f.Key == "lost" {
			n, _ = strconv.Atoi(f.Value)
		}
	}
	if text := m.Payload; strings.HasSuffix(text, "the reader is too slow") {
		_, _ = fmt.Sscanf(text, "%d messages were lost", &n)
	}
	return n
}

// watched waits until somebody watches h, who was answered before.
func watched(t *testing.T, h *logs.Hub) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !h.Logger().Enabled(t.Context(), slog.LevelInfo); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nobody watches")
		}
	}
}

// TestASlowReaderLearnsOfItsGap makes more messages than a reader takes that does not read, who then finds all of
// them, or a gap that says how many are missing. The end of the gap needs no message behind it.
func TestASlowReaderLearnsOfItsGap(t *testing.T) {
	f := func(open func(*testing.T, string, string) func() ([]byte, error), format, warning string) {
		t.Run(format, func(t *testing.T) {
			c, url := serve(t, &observed{}, config.Controller{})
			next := open(t, url, "/logs?level=info&format="+format)
			read := func() (m logMessage) {
				t.Helper()
				b, err := next()
				if err == nil {
					err = json.Unmarshal(b, &m)
				}
				if err != nil {
					t.Fatalf("%s: %v", b, err)
				}
				return m
			}
			log := c.o.Hub.Logger()
			watched(t, c.o.Hub)
			const many, size = 4000, 8 << 10 // more than the kernel and the queue hold
			text := strings.Repeat("x", size)
			for range many {
				log.Info(text)
			}
			got, gaps := 0, 0
			for got+gaps < many {
				m := read()
				if n := m.lost(); n > 0 {
					gaps += n
					if m.Level+m.Type != warning {
						t.Errorf("a gap of level %q", m.Level+m.Type)
					}
				} else {
					got++
				}
			}
			if gaps == 0 || got+gaps != many {
				t.Errorf("%d messages and %d lost; want %d together, and a gap", got, gaps, many)
			}
			log.Info("end")
			if m := read(); m.Message+m.Payload != "end" {
				t.Errorf("%+v behind the gap", m)
			}
		})
	}
	f(overLines, "structured", "warn")
	f(overLines, "standard", "warning")
	f(overSocket, "structured", "warn")
	f(overSocket, "standard", "warning")
}

// TestBothForms reads one message in both forms: facts for the structured form are in no other.
func TestBothForms(t *testing.T) {
	read := func(format string) (m logMessage) {
		t.Helper()
		c, url := serve(t, &observed{}, config.Controller{})
		next := overLines(t, url, "/logs?level=info&format="+format)
		watched(t, c.o.Hub)
		c.o.Hub.Logger().Warn("text", "n", 1, logs.Details(slog.String("id", "7"), slog.String("none", "")))
		b, err := next()
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		return m
	}
	if m := read("standard"); m.Type != "warning" || m.Payload != "text n=1" || m.Fields != nil {
		t.Errorf("%+v", m)
	}
	m := read("structured")
	if m.Level != "warn" || m.Message != "text" || fmt.Sprint(m.Fields) != "[{n 1} {id 7}]" || time.Since(m.Time).Abs() > time.Minute {
		t.Errorf("%+v", m)
	}
}
