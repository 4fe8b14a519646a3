package inbound

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/http1"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// silence is how long an origin may say nothing while an answer is due.
const silence = 10 * time.Minute

// watchEvery is how often the wait for an origin is interrupted for a look at the client, and
// leftTime how long the answer to one that has closed its side, and may only have said all it has
// to, may be late. One that has begun goes on: writing it tells whether anybody is there.
const (
	watchEvery = 5 * time.Second
	leftTime   = 30 * time.Second
)

// errLeft means that the client is gone, and nobody waits for the answer.
var errLeft = errors.New("the client has left")

// watch decides, when a read from the origin was interrupted by err, whether it goes on: nil.
func (h *httpClient) watch(err error) error {
	now := time.Now()
	due := h.up.due.Load()
	if due != 0 && now.UnixNano() > due {
		return err
	}
	switch peer := h.conn.Peer(); {
	case peer == sysnet.PeerGone:
		return errLeft
	case peer != sysnet.PeerEnded || due == 0:
		h.leftAt = time.Time{}
	case h.leftAt.IsZero():
		h.leftAt = now
	case now.Sub(h.leftAt) > leftTime:
		return errLeft
	}
	_ = h.up.SetReadDeadline(now.Add(watchEvery))
	return nil
}

// patience lets the origin be silent for a while from now on.
func (u *upstream) patience() { u.due.Store(time.Now().Add(silence).UnixNano()) }

// patient is an origin that is not silent as long as it takes what it is sent.
type patient struct{ *upstream }

// Write implements io.Writer.
func (p patient) Write(b []byte) (int, error) {
	n, err := p.upstream.Write(b)
	if due := p.due.Load(); due != 0 { // unless the answer begins just now
		p.due.CompareAndSwap(due, time.Now().Add(silence).UnixNano())
	}
	return n, err
}

// upload is the content of a request on its way to the origin, beside the answer on its way back.
type upload struct {
	body http1.Body
	done chan struct{} // closed when the content has been sent, or cannot be
	sent atomic.Bool   // all of it
}

// exchange sends the request and passes the answer back. It says whether the connection goes on.
func (h *httpClient) exchange(ctx context.Context, to flow.Addr, path string) bool {
	body := http1.NewBody(&h.req, false, false)
	for {
		fresh, err := h.connect(ctx, to)
		if err != nil {
			h.fail(err)
			return false
		}
		ok, err := h.attempt(path, body)
		var no *refusal
		switch {
		case errors.Is(err, errStale) && !fresh:
			// An origin may end an idle connection just when it is used again: nothing came back
			// and nothing of the content is gone, so that a fresh one is safe.
			h.drop()
			continue
		case errors.As(err, &no):
			h.drop()
			h.refuse(no.status, no.why)
			return false
		}
		return ok && err == nil
	}
}

// replayable says that the request may be sent again when its connection broke before an answer:
// it has no content, and does no more when it is done twice (RFC 9110, 9.2.2).
func (h *httpClient) replayable() bool {
	switch string(h.req.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return !h.req.Chunked && h.req.Length <= 0
	}
	return false
}

// connect makes h.up lead to to, and says whether it is a new connection.
func (h *httpClient) connect(ctx context.Context, to flow.Addr) (fresh bool, err error) {
	if h.up != nil && h.up.sameOrigin(to) && (h.replayable() || h.up.Quiet()) {
		return false, nil
	}
	h.drop()
	s, err := h.service.Handler.Open(ctx, h.flow(flow.HTTP, to))
	if err != nil {
		return true, err
	}
	h.up = &upstream{Stream: s, to: to}
	h.up.r.conn, h.up.r.onTimeout = s, h.watchUp
	_ = h.up.SetReadDeadline(time.Now().Add(watchEvery))
	return true, nil
}

var (
	// errStale means that the origin had left before the request reached it.
	errStale = errors.New("stale connection")
	// errReset means that the client has been shown an error on its connection.
	errReset       = errors.New("reset")
	errDestination = errors.New("destination")
	errCut         = errors.New("message cut short")
)

// attempt is one try at an exchange. It fails with errStale, or with a *refusal while the client
// has seen nothing of an answer.
func (h *httpClient) attempt(path string, body http1.Body) (ok bool, err error) {
	out := buf.GetPacket()
	head := h.requestHead(out.B[:0], path)
	head, used, err := body.Next(head, h.r.bytes()) // content that is here already goes along
	if err != nil {
		buf.PutPacket(out)
		return false, &refusal{400, err.Error()}
	}
	again := h.replayable()
	_, err = h.up.Write(head)
	buf.PutPacket(out)
	if err != nil && h.up.used && again {
		return false, errStale
	}
	// From here on the head of the request is gone: reading its content overwrites it.
	a := answer{head: h.isHead, minor: h.req.Minor, upgrade: h.upgrades(), close: h.req.Close, again: again}
	h.r.skip(used)
	if err == nil && !body.Done() {
		a.upload = &upload{body: body, done: make(chan struct{})}
		go h.send(a.upload)
	}
	ok, err = h.receive(&a) // a refused write may have left an answer behind
	if a.upload != nil {
		if !a.upload.sent.Load() { // the answer came first: the content has nowhere to go
			ok = false
			_ = h.conn.SetReadDeadline(time.Unix(1, 0))
			h.up.close()
		}
		<-a.upload.done
	}
	return ok, err
}

// send passes the content of a request on, in a goroutine of its own.
func (h *httpClient) send(u *upload) {
	defer close(u.done)
	defer func() {
		if v := recover(); v != nil {
			h.service.Handler.Recovered(v)
			flow.Reset(h.conn)
		}
	}()
	err := pass(h.r, patient{h.up}, &u.body, nil)
	if err == nil && u.body.Done() {
		u.sent.Store(true)
		return
	}
	if err != nil && errors.Is(err, errDestination) {
		return // the origin may still have an answer to give
	}
	flow.Reset(h.up) // a request that is cut short is never finished by accident
}

// pass moves the content of a message until it is complete. head, where given, is sent first, in
// one write with what content there is.
func pass(r *reader, dst io.Writer, body *http1.Body, head []byte) error {
	out := buf.GetPacket()
	defer buf.PutPacket(out)
	msg := append(out.B[:0], head...)
	for {
		var used int
		var err error
		msg, used, err = body.Next(msg, r.bytes())
		r.skip(used)
		if len(msg) > 0 {
			if _, werr := dst.Write(msg); werr != nil {
				return errors.Join(errDestination, werr)
			}
			msg = out.B[:0]
		}
		if err != nil {
			return err
		}
		if body.Done() {
			return nil
		}
		if used > 0 && len(r.bytes()) > 0 {
			continue
		}
		if r.full() {
			return http1.BadMessage("line too long in the content")
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && body.ToEnd() {
				return nil
			}
			return errors.Join(errCut, err)
		}
	}
}

// requestHead appends the request as the origin gets it: the origin form, the authority of the
// URL as Host, without what belongs to the client's connection.
func (h *httpClient) requestHead(b []byte, path string) []byte {
	b = append(append(b, h.req.Method...), ' ')
	if path == "/" && string(h.req.Method) == "OPTIONS" && h.req.Target[len(h.req.Target)-1] != '/' {
		path = "*"
	}
	b = append(append(b, path...), " HTTP/1.1\r\nHost: "...)
	b = appendAuthority(b, h.up.to)
	b = append(b, "\r\n"...)
	for _, f := range h.req.Fields {
		if !http1.Is(f.Name, "Host") && h.req.Forwarded(f) {
			b = appendField(b, f)
		}
	}
	b = appendFraming(b, &h.req)
	if h.upgrades() {
		b = append(append(append(b, "Connection: Upgrade\r\nUpgrade: "...), h.req.Upgrade...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// upgrades says whether the client's wish for another protocol goes on to the origin. HTTP/2 in
// clear needs fields that end here, and nobody needs it.
func (h *httpClient) upgrades() bool {
	return h.req.Upgrade != nil && h.req.Minor > 0 && h.req.Listed("Upgrade") &&
		!http1.Is(h.req.Upgrade, "h2c") && !h.req.Chunked && h.req.Length <= 0
}

func appendAuthority(b []byte, to flow.Addr) []byte {
	switch {
	case to.Host != "":
		b = append(b, to.Host...)
	case to.IP.Is6():
		b = append(to.IP.AppendTo(append(b, '[')), ']')
	default:
		b = to.IP.AppendTo(b)
	}
	if to.Port != 80 {
		b = strconv.AppendUint(append(b, ':'), uint64(to.Port), 10)
	}
	return b
}

func appendField(b []byte, f http1.Field) []byte {
	return append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
}

func appendFraming(b []byte, h *http1.Head) []byte {
	switch {
	case h.Chunked:
		return append(b, "Transfer-Encoding: chunked\r\n"...)
	case h.Length >= 0:
		return appendLength(b, h.Length)
	}
	return b
}

func appendLength(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, "Content-Length: "...), n, 10), "\r\n"...)
}

// answer is what is known of a request while its answer comes.
type answer struct {
	head    bool // the request was a HEAD
	minor   int  // the x of the client's HTTP/1.x
	upgrade bool // the client asked for another protocol
	close   bool // the client ends its connection afterwards
	again   bool // the request may be sent again
	upload  *upload
}

// receive passes the answer, and the interim answers before it, to the client.
func (h *httpClient) receive(a *answer) (ok bool, err error) {
	for {
		n, err := h.responseHead()
		if err != nil {
			return false, h.noAnswer(a, err)
		}
		switch status := h.resp.Status; {
		case status == 101:
			return false, h.switchProtocol(a, n)
		case status < 200:
			if err := h.interim(a, n); err != nil {
				return false, err
			}
		default:
			h.up.used = true
			return h.final(a, n)
		}
	}
}

// responseHead reads and parses a head from the origin; it stays in the buffer.
func (h *httpClient) responseHead() (n int, err error) {
	r := &h.up.r
	h.up.patience()
	defer h.up.due.Store(0)
	for {
		n, err := h.resp.ParseResponse(r.bytes())
		if !errors.Is(err, http1.ErrShort) {
			return n, err
		}
		if r.full() {
			return 0, http1.BadMessage("the answer's head is longer than 32 KiB")
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// noAnswer says what becomes of a request whose origin broke off.
func (h *httpClient) noAnswer(a *answer, err error) error {
	var bad http1.BadMessage
	switch {
	case errors.As(err, &bad):
		return &refusal{502, "the origin's answer cannot be read: " + err.Error()}
	case errors.Is(err, errLeft):
		return &refusal{504, "the origin did not answer while the client was there"}
	case isTimeout(err):
		return &refusal{504, "the origin did not answer in time"}
	case h.up.used && a.again && len(h.up.r.bytes()) == 0:
		return errStale
	}
	return &refusal{502, "the origin closed the connection without an answer"}
}

// interim passes a 1xx on, to clients that know of it.
func (h *httpClient) interim(a *answer, n int) error {
	if a.minor > 0 {
		out := buf.GetPacket()
		defer buf.PutPacket(out)
		if _, err := h.conn.Write(append(h.statusAndFields(out.B[:0]), "\r\n"...)); err != nil {
			return errReset
		}
	}
	h.up.r.skip(n)
	return nil
}

// switchProtocol passes a 101 on and turns the connection into a tunnel.
func (h *httpClient) switchProtocol(a *answer, n int) error {
	if !a.upgrade {
		return &refusal{502, "the origin switched protocols unasked"}
	}
	out := buf.GetPacket()
	msg := h.statusAndFields(out.B[:0])
	msg = append(append(append(msg, "Connection: Upgrade\r\nUpgrade: "...), h.resp.Upgrade...), "\r\n\r\n"...)
	h.up.r.skip(n)
	_, err := h.conn.Write(append(msg, h.up.r.bytes()...))
	buf.PutPacket(out)
	if err != nil {
		return errReset
	}
	h.up.r.release()
	s := h.up.Stream
	_ = s.SetReadDeadline(time.Time{})
	h.up = nil
	h.relay(s, h.r)
	return nil
}

func (h *httpClient) statusAndFields(b []byte) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(h.resp.Status), 10)
	b = append(append(append(b, ' '), h.resp.Reason...), "\r\n"...)
	for _, f := range h.resp.Fields {
		if h.resp.Forwarded(f) {
			b = appendField(b, f)
		}
	}
	return b
}

// final passes the answer itself on. It says whether the client's connection goes on.
func (h *httpClient) final(a *answer, n int) (ok bool, err error) {
	bodiless := a.head || h.resp.Status == 204 || h.resp.Status == 304
	plain := a.minor == 0
	body := http1.Body{}
	if !bodiless {
		body = http1.NewBody(&h.resp, true, plain)
	}
	upstreamEnds := h.resp.Close || body.ToEnd()
	clientEnds := a.close || body.ToEnd() || plain && h.resp.Chunked ||
		a.upload != nil && !a.upload.sent.Load()

	out := buf.GetPacket()
	head := h.statusAndFields(out.B[:0])
	switch {
	case h.resp.Chunked && !plain && !bodiless:
		head = append(head, "Transfer-Encoding: chunked\r\n"...)
	case h.resp.Length >= 0 && h.resp.Status != 204:
		head = appendLength(head, h.resp.Length)
	}
	switch {
	case clientEnds:
		head = append(head, "Connection: close\r\n"...)
	case plain:
		head = append(head, "Connection: keep-alive\r\n"...)
	}
	head = append(head, "\r\n"...)
	h.up.r.skip(n)
	err = h.download(&body, head)
	buf.PutPacket(out)
	if err != nil {
		h.cut()
		return false, errReset
	}
	if upstreamEnds || len(h.up.r.bytes()) > 0 {
		h.dropAfter(a)
	} else {
		h.up.r.release()
	}
	return !clientEnds, nil
}

// cut ends an answer that is cut short and must not look complete: one whose end is marked may be
// closed, when somebody wanted the flow to end, and anything else is reset.
func (h *httpClient) cut() {
	if framed := h.resp.Chunked || h.resp.Length >= 0; framed && h.up.Cut() {
		_ = h.conn.Close()
		return
	}
	flow.Reset(h.conn)
}

// dropAfter ends the upstream connection, unless a content is still on its way there: then
// attempt ends both.
func (h *httpClient) dropAfter(a *answer) {
	if a.upload == nil || a.upload.sent.Load() {
		h.drop()
	}
}

// download sends head and passes the content of the answer behind it.
func (h *httpClient) download(body *http1.Body, head []byte) error {
	if body.Done() {
		_, err := h.conn.Write(head)
		return err
	}
	return pass(&h.up.r, h.conn, body, head)
}
