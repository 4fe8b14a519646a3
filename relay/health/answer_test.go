package health

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAnswers(t *testing.T) {
	f := func(text string, want int, wantErr error) {
		t.Helper()
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			if code, err := newAnswers(r).next(); code != want || !errors.Is(err, wantErr) {
				t.Errorf("%.40q: %d, %v; want %d, %v", text, code, err, want, wantErr)
			}
		}
	}
	f("HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", 204, nil)
	f("HTTP/1.0 503\n\n", 503, nil)
	f("HTTP/1.1 200 \r\n\r\n", 200, nil)
	f("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n", 404, nil)
	f("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, nil)
	f("HTTP/1.1 999 Odd\r\n\r\n", 999, nil)
	f("", 0, io.ErrUnexpectedEOF)
	f("HTTP/1.1 204 No Content\r\nA: b\r\n", 0, io.ErrUnexpectedEOF)
	f("HTTP/1.1 103 Early Hints\r\n\r\n", 0, io.ErrUnexpectedEOF)
	f("\r\n\r\n", 0, errAnswer)
	f("HTTP/2.0 204 No Content\r\n\r\n", 0, errAnswer)
	f("HTTP/1.1 2x4 No\r\n\r\n", 0, errAnswer)
	f("HTTP/1.1 2045\r\n\r\n", 0, errAnswer)
	f("HTTP/1.1 099 No\r\n\r\n", 0, errAnswer)
	f("SSH-2.0-server\r\n", 0, errAnswer)
	f("HTTP/1.1 204 "+strings.Repeat("a", maxHead), 0, errHead)
	f("HTTP/1.1 204 No\r\n"+strings.Repeat("a: b\r\n", maxHead), 0, errHead)
	f(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxHead), 0, errHead)
}

// TestAnswersInTurn reads several answers, each with a bound of its own.
func TestAnswersInTurn(t *testing.T) {
	one := "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHead*3/4) + "\r\n\r\n"
	a := newAnswers(strings.NewReader(one + one + one))
	for range 3 {
		if code, err := a.next(); code != 200 || err != nil {
			t.Fatal(code, err)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("HTTP/1.1 204 No Content\r\nA: b\r\n\r\nHTTP/1.1 200\n\n"))
	f.Add([]byte("HTTP/1.1 103 Early\r\n\r\nHTTP/1.0 404 No\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &counted{r: strings.NewReader(string(b) + strings.Repeat("a", 2*maxHead))}
		a := newAnswers(in)
		for range 3 {
			code, err := a.next()
			if err == nil && (code < 100 || code > 999) || err != nil && code != 0 {
				t.Fatalf("%d, %v", code, err)
			}
			if in.n > 3*maxHead {
				t.Fatalf("%d bytes read", in.n)
			}
		}
	})
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
