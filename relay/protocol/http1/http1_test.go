package http1

import (
	"bytes"
	"errors"
	"testing"
)

func TestParseRequest(t *testing.T) {
	var h Head
	text := "POST http://x/ HTTP/1.1\r\nHost: x\r\nContent-length: 5\r\nconnection: close, Foo\r\n\r\nrest"
	for i := range len(text) - len("rest") {
		if _, err := h.ParseRequest([]byte(text[:i])); !errors.Is(err, ErrShort) {
			t.Fatalf("%q: %v; want ErrShort", text[:i], err)
		}
	}
	n, err := h.ParseRequest([]byte(text))
	if err != nil || text[n:] != "rest" || h.Length != 5 || !h.Close || !h.Listed("foo") || string(h.Host()) != "x" {
		t.Fatalf("%d, %v: %+v", n, err, h)
	}
}

// FuzzHead checks that heads never panic, that what is accepted is not longer than what came, and
// that no accepted request is framed twice.
func FuzzHead(f *testing.F) {
	f.Add([]byte("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var h Head
		for _, parse := range []func([]byte) (int, error){h.ParseRequest, h.ParseResponse} {
			n, err := parse(p)
			if err != nil {
				continue
			}
			if n > len(p) || !bytes.HasSuffix(p[:n], []byte("\r\n")) {
				t.Fatalf("a head of %d in %q", n, p)
			}
			if h.Chunked && h.Length >= 0 {
				t.Fatalf("framed twice: %q", p)
			}
			for _, field := range h.Fields {
				if bytes.ContainsAny(field.Name, " \r\n:") || bytes.ContainsAny(field.Value, "\r\n\x00") {
					t.Fatalf("field %q: %q", field.Name, field.Value)
				}
			}
		}
	})
}

// passAll passes a whole message through a body, in reads of step bytes and writes of room bytes.
func passAll(b Body, p []byte, step, room int) (out []byte, err error) {
	var held []byte
	for !b.Done() {
		dst := make([]byte, 0, room)
		dst, used, err := b.Next(dst, held)
		out = append(out, dst...)
		if err != nil {
			return out, err
		}
		held = held[used:]
		if used == 0 && !b.Done() {
			if len(p) == 0 {
				return out, ErrShort
			}
			n := min(step, len(p))
			held, p = append(bytes.Clone(held), p[:n]...), p[n:]
		}
	}
	return out, nil
}

func TestBody(t *testing.T) {
	chunked := &Head{Chunked: true, Length: -1}
	const in = "5;ext=1\r\nhello\r\nB\r\n big  world\r\n0\r\nX-Sum: 7\r\nHost: evil\r\n\r\n"
	for step := 1; step < len(in)+1; step++ {
		out, err := passAll(NewBody(chunked, false, false), []byte(in), step, 1000)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		plain, err := passAll(NewBody(chunked, false, true), out, 7, 1000)
		if err != nil || string(plain) != "hello big  world" {
			t.Fatalf("step %d: %q decodes to %q, %v", step, out, plain, err)
		}
		if !bytes.HasSuffix(out, []byte("0\r\nX-Sum: 7\r\n\r\n")) {
			t.Fatalf("step %d: trailers in %q", step, out)
		}
	}
	// A message ends where its length says; what follows is not used.
	b := NewBody(&Head{Length: 3}, false, false)
	out, used, err := b.Next(make([]byte, 0, 100), []byte("abcdef"))
	if string(out) != "abc" || used != 3 || err != nil || !b.Done() {
		t.Fatalf("%q, %d, %v", out, used, err)
	}
}

// FuzzChunks checks that a chunked message that passes is read the same way by a second reader,
// whatever the sizes of reads and writes.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), 3, 200)
	f.Add([]byte("0\r\nA: b\r\n\r\n"), 1, 64)
	f.Fuzz(func(t *testing.T, p []byte, step, room int) {
		if len(p) > 4<<10 || step < 1 || room < 64 || room > 1<<16 {
			t.Skip()
		}
		head := &Head{Chunked: true, Length: -1}
		once, err := passAll(NewBody(head, false, false), p, step, room)
		if err != nil {
			return
		}
		a, err := passAll(NewBody(head, false, true), p, step, 1<<17)
		if err != nil {
			t.Fatalf("%q passes but does not decode: %v", p, err)
		}
		b, err := passAll(NewBody(head, false, true), once, step, 1<<17)
		if err != nil || !bytes.Equal(a, b) {
			t.Fatalf("%q became %q: %q and %q, %v", p, once, a, b, err)
		}
	})
}
