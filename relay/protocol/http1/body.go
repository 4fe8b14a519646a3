package http1

import (
	"bytes"
	"strconv"
)

// Body passes the content of one message on, piece by piece: Next takes what has been read and
// appends what is to be sent. It keeps a few words of state and no bytes.
type Body struct {
	state   bodyState
	left    int64 // bytes of the message, or of the chunk
	chunked bool  // whether what is sent is chunked
	unframe bool  // chunked came in, plain goes out
	trailer int   // bytes of trailers so far
}

type bodyState uint8

const (
	bodyDone bodyState = iota
	bodyLength
	bodyToEnd
	chunkSize
	chunkData
	chunkEnd
	trailers
)

// NewBody frames the content of a message with head h. untilEnd says that a message without a
// length goes on until its connection ends, as responses do; plain takes a chunked framing off.
func NewBody(h *Head, untilEnd, plain bool) Body {
	switch {
	case h.Chunked:
		return Body{state: chunkSize, chunked: !plain, unframe: plain}
	case h.Length > 0:
		return Body{state: bodyLength, left: h.Length}
	case h.Length < 0 && untilEnd:
		return Body{state: bodyToEnd}
	}
	return Body{}
}

// Done says that the message is complete.
func (b *Body) Done() bool { return b.state == bodyDone }

// ToEnd says that the message goes on until its connection ends.
func (b *Body) ToEnd() bool { return b.state == bodyToEnd }

// Copies says that content passes unchanged, and how much of it at the most: it may be read and
// written without Next, and is then taken off with Copied.
func (b *Body) Copies() (most int64, ok bool) {
	switch b.state {
	case bodyLength:
		return b.left, true
	case bodyToEnd:
		return 1<<63 - 1, true
	}
	return 0, false
}

// Copied notes that n bytes of content passed by.
func (b *Body) Copied(n int) {
	if b.state == bodyLength {
		if b.left -= int64(n); b.left == 0 {
			b.state = bodyDone
		}
	}
}

const (
	maxChunkLine = 4 << 10  // a chunk's size and its extensions
	maxTrailers  = 16 << 10 // all trailers
)

// ChunkOverhead is the most that Next adds to a piece.
const ChunkOverhead = 16 + 2 + 2 + 2

// Next appends to dst what of p is to be sent, and returns how much of p it used. It uses less
// than all when p ends inside a line, or when dst, of capacity cap(dst), is full.
func (b *Body) Next(dst, p []byte) (out []byte, used int, err error) {
	for b.state != bodyDone {
		n, short := 0, false
		switch b.state {
		case bodyLength, bodyToEnd, chunkData:
			dst, n = b.content(dst, p[used:])
			short = n == 0
		case chunkSize:
			n, short, err = b.size(p[used:])
		case chunkEnd:
			n, short, err = b.endOfChunk(p[used:])
		case trailers:
			dst, n, short, err = b.trailerLine(dst, p[used:])
		}
		if err != nil {
			return dst, used, err
		}
		used += n
		if short {
			return dst, used, nil
		}
	}
	return dst, used, nil
}

// content appends what there is, and room for, of the message or the chunk.
func (b *Body) content(dst, p []byte) ([]byte, int) {
	room := cap(dst) - len(dst)
	if b.chunked {
		room -= ChunkOverhead
	}
	n := min(len(p), room)
	if b.state != bodyToEnd {
		n = int(min(int64(n), b.left))
	}
	if n <= 0 {
		return dst, 0
	}
	if b.chunked {
		dst = strconv.AppendInt(dst, int64(n), 16)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, p[:n]...)
	if b.chunked {
		dst = append(dst, "\r\n"...)
	}
	if b.state == chunkData {
		if b.left -= int64(n); b.left == 0 {
			b.state = chunkEnd
		}
	} else {
		b.Copied(n)
	}
	return dst, n
}

// size reads the line before a chunk. Extensions are dropped.
func (b *Body) size(p []byte) (n int, short bool, err error) {
	line, n, err := cutLine(p)
	if err == ErrShort {
		if len(p) > maxChunkLine {
			return 0, false, BadMessage("chunk line too long")
		}
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	digits, _, _ := bytes.Cut(line, []byte(";"))
	digits = bytes.TrimRight(digits, " \t")
	size, ok := parseHex(digits)
	if !ok || len(line) > maxChunkLine {
		return 0, false, BadMessage("malformed chunk size")
	}
	b.left, b.state = size, chunkData
	if size == 0 {
		b.state = trailers
	}
	return n, false, nil
}

func parseHex(d []byte) (int64, bool) {
	if len(d) == 0 || len(d) > 15 {
		return 0, false
	}
	var n int64
	for _, c := range d {
		switch c = lower(c); {
		case '0' <= c && c <= '9':
			n = n<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

func (b *Body) endOfChunk(p []byte) (n int, short bool, err error) {
	if len(p) < 2 {
		if len(p) == 1 && p[0] != '\r' {
			return 0, false, BadMessage("chunk longer than its size")
		}
		return 0, true, nil
	}
	if p[0] != '\r' || p[1] != '\n' {
		return 0, false, BadMessage("chunk longer than its size")
	}
	b.state = chunkSize
	return 2, false, nil
}

// trailerLine passes one trailer field on, or the end of the message. The zero chunk goes before
// the first.
func (b *Body) trailerLine(dst, p []byte) (out []byte, n int, short bool, err error) {
	line, n, err := cutLine(p)
	if err == ErrShort {
		if len(p) > maxTrailers {
			return dst, 0, false, BadMessage("trailers too long")
		}
		return dst, 0, true, nil
	}
	if err != nil {
		return dst, 0, false, err
	}
	if cap(dst)-len(dst) < len(line)+ChunkOverhead {
		return dst, 0, true, nil
	}
	if b.chunked && b.trailer == 0 {
		dst = append(dst, "0\r\n"...)
	}
	if b.trailer += n; b.trailer > maxTrailers {
		return dst, 0, false, BadMessage("trailers too long")
	}
	if len(line) == 0 {
		b.state = bodyDone
		if b.chunked {
			dst = append(dst, "\r\n"...)
		}
		return dst, n, false, nil
	}
	f, err := parseField(line)
	if err != nil {
		return dst, 0, false, err
	}
	if b.chunked && trailerAllowed(f.Name) {
		dst = append(append(append(dst, f.Name...), ": "...), f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst, n, false, nil
}

// trailerAllowed keeps out what would change how a message is read (RFC 9110, 6.5.1).
func trailerAllowed(name []byte) bool {
	for _, no := range [...]string{
		"Host", "Content-Type", "Content-Encoding", "Content-Range", "Trailer", "Authorization",
		"Set-Cookie", "Cookie", "Expect", "Max-Forwards", "Cache-Control", "Range",
	} {
		if Is(name, no) {
			return false
		}
	}
	h := Head{}
	return h.Forwarded(Field{Name: name})
}
