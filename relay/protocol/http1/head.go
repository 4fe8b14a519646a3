// Package http1 reads and writes the framing of HTTP/1.1 messages (RFC 9112) for a forward proxy:
// heads are parsed in place, bodies pass through in pieces, and whatever two parsers could read in
// two ways is refused.
package http1

import (
	"bytes"
	"errors"
	"strconv"
)

// ErrShort means that the head is not complete yet.
var ErrShort = errors.New("http: head incomplete")

// BadMessage is why a message is refused.
type BadMessage string

func (e BadMessage) Error() string { return "http: " + string(e) }

// MaxFields bounds the header fields of one message.
const MaxFields = 256

// Field is one header field, as it came.
type Field struct{ Name, Value []byte }

// Head is a parsed head. Its slices point into the buffer it was parsed from.
type Head struct {
	Method, Target []byte // of a request
	Status         int    // of a response
	Reason         []byte
	Minor          int // the x of HTTP/1.x
	Fields         []Field

	Length  int64 // Content-Length, -1 when there is none
	Chunked bool
	Close   bool // the sender ends the connection after this message
	Upgrade []byte
	Expect  bool

	host       []byte
	hosts      int
	connection [maxTokens][]byte // what Connection names
	tokens     int
}

// maxTokens bounds the names in Connection fields.
const maxTokens = 16

func (h *Head) reset() {
	fields := h.Fields[:0]
	*h = Head{Fields: fields, Length: -1}
}

// Host is the value of the Host field.
func (h *Head) Host() []byte { return h.host }

// ParseRequest parses the request head at the start of p and returns its length.
func (h *Head) ParseRequest(p []byte) (n int, err error) {
	h.reset()
	line, n, err := cutLine(p)
	if err != nil {
		return 0, err
	}
	sp := bytes.IndexByte(line, ' ')
	last := bytes.LastIndexByte(line, ' ')
	if sp <= 0 || last == sp {
		return 0, BadMessage("malformed request line")
	}
	h.Method, h.Target = line[:sp], line[sp+1:last]
	if !isToken(h.Method) || !isTarget(h.Target) {
		return 0, BadMessage("malformed request line")
	}
	if h.Minor, err = version(line[last+1:]); err != nil {
		return 0, err
	}
	n, err = h.parseFields(p, n)
	if err != nil {
		return 0, err
	}
	switch {
	case h.hosts > 1:
		return 0, BadMessage("more than one Host")
	case h.hosts == 0 && h.Minor > 0:
		return 0, BadMessage("no Host")
	case h.Chunked && h.Minor == 0:
		return 0, BadMessage("Transfer-Encoding in HTTP/1.0")
	case h.Chunked && h.Length >= 0:
		return 0, BadMessage("both Transfer-Encoding and Content-Length")
	}
	return n, nil
}

// ParseResponse parses the response head at the start of p and returns its length.
func (h *Head) ParseResponse(p []byte) (n int, err error) {
	h.reset()
	line, n, err := cutLine(p)
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' {
		return 0, BadMessage("malformed status line")
	}
	if h.Minor, err = version(line[:8]); err != nil {
		return 0, err
	}
	if h.Status, err = strconv.Atoi(string(line[9:12])); err != nil || h.Status < 100 {
		return 0, BadMessage("malformed status line")
	}
	if len(line) > 12 {
		if line[12] != ' ' {
			return 0, BadMessage("malformed status line")
		}
		h.Reason = line[13:]
	}
	if n, err = h.parseFields(p, n); err != nil {
		return 0, err
	}
	if h.Chunked && h.Length >= 0 {
		return 0, BadMessage("both Transfer-Encoding and Content-Length")
	}
	return n, nil
}

func version(v []byte) (minor int, err error) {
	switch string(v) {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	return 0, BadMessage("want HTTP/1.1 or HTTP/1.0")
}

// cutLine takes the line at the start of p, which must end in CR LF and hold no other control.
func cutLine(p []byte) (line []byte, n int, err error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, 0, ErrShort
	}
	if i == 0 || p[i-1] != '\r' {
		return nil, 0, BadMessage("line without CR LF")
	}
	line = p[:i-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, 0, BadMessage("control character in the head")
		}
	}
	return line, i + 1, nil
}

func (h *Head) parseFields(p []byte, from int) (int, error) {
	for {
		line, n, err := cutLine(p[from:])
		if err != nil {
			return 0, err
		}
		from += n
		if len(line) == 0 {
			break
		}
		f, err := parseField(line)
		if err != nil {
			return 0, err
		}
		if len(h.Fields) == MaxFields {
			return 0, BadMessage("too many header fields")
		}
		h.Fields = append(h.Fields, f)
		if err := h.note(f); err != nil {
			return 0, err
		}
	}
	if h.Minor == 0 && !h.Listed("keep-alive") {
		h.Close = true
	}
	return from, nil
}

func parseField(line []byte) (Field, error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isToken(line[:colon]) {
		return Field{}, BadMessage("malformed header field")
	}
	return Field{line[:colon], bytes.Trim(line[colon+1:], " \t")}, nil
}

// note takes what decides framing and connection from a field.
func (h *Head) note(f Field) error {
	switch {
	case Is(f.Name, "Content-Length"):
		n, ok := parseLength(f.Value)
		if !ok || h.Length >= 0 {
			return BadMessage("malformed or repeated Content-Length")
		}
		h.Length = n
	case Is(f.Name, "Transfer-Encoding"):
		if h.Chunked || !Is(f.Value, "chunked") {
			return BadMessage("want no Transfer-Encoding but one chunked")
		}
		h.Chunked = true
	case Is(f.Name, "Host"):
		h.host = f.Value
		h.hosts++
	case Is(f.Name, "Connection"), Is(f.Name, "Proxy-Connection"):
		return h.noteConnection(f.Value)
	case Is(f.Name, "Upgrade"):
		h.Upgrade = f.Value
	case Is(f.Name, "Expect"):
		h.Expect = true
	}
	return nil
}

func (h *Head) noteConnection(v []byte) error {
	for len(v) > 0 {
		token, rest, _ := bytes.Cut(v, []byte(","))
		v = rest
		if token = bytes.Trim(token, " \t"); len(token) == 0 {
			continue
		}
		if h.tokens == maxTokens {
			return BadMessage("too many names in Connection")
		}
		h.connection[h.tokens] = token
		h.tokens++
		if Is(token, "close") {
			h.Close = true
		}
	}
	return nil
}

// Listed says whether Connection names the field or option.
func (h *Head) Listed(name string) bool {
	for _, t := range h.connection[:h.tokens] {
		if Is(t, name) {
			return true
		}
	}
	return false
}

func (h *Head) listed(name []byte) bool {
	for _, t := range h.connection[:h.tokens] {
		if bytes.EqualFold(t, name) {
			return true
		}
	}
	return false
}

// hopByHop are the fields that belong to one connection (RFC 9110, 7.6.1), and those that only a
// proxy reads. Framing is written anew, so that its fields are here too.
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "TE", "Transfer-Encoding", "Upgrade",
	"Proxy-Authorization", "Proxy-Authenticate", "Proxy-Authentication-Info", "Content-Length",
}

// Forwarded says whether a field goes on to the next hop as it is.
func (h *Head) Forwarded(f Field) bool {
	for _, name := range hopByHop {
		if Is(f.Name, name) {
			return false
		}
	}
	// What Connection names stays here, but for what the message cannot do without.
	return h.tokens == 0 || !h.listed(f.Name) || Is(f.Name, "Host") || Is(f.Name, "Cache-Control")
}

// Is compares a field name, which has no case.
func Is(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := 0; i < len(b); i++ {
		if lower(b[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// parseLength takes digits and nothing else.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// tokenChars are the characters of a token (RFC 9110, 5.6.2).
var tokenChars = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenChars[c] {
			return false
		}
	}
	return len(b) > 0
}

func isTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(b) > 0
}
