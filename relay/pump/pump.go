// Package pump moves bytes between two streams and counts them. Between two bare TCP connections
// the kernel moves them (splice, on Linux) and a quiet tunnel holds neither buffer nor pipe;
// anything else is copied through borrowed buffers. Half-close travels, an error arrives as a
// reset, and back-pressure is the kernel's: nothing is queued here.
package pump

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/switchyard-proxy/switchyard/relay/buf"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
)

// ErrPanic means that a bug ended the flow; the text holds the stack.
var ErrPanic = errors.New("panic in a flow")

// Side says which end of a relay an error came from.
type Side struct {
	Client bool // the a of Start
	Err    error
}

func (s *Side) Error() string { return s.Err.Error() }

// Unwrap returns the cause.
func (s *Side) Unwrap() error { return s.Err }

// Watcher is told how a relay goes on.
type Watcher interface {
	// HalfClosed says that one direction has ended cleanly and the other lives on.
	HalfClosed()
	// Ended says that both connections are closed, and is called last. The error is nil when both
	// directions ended with an EOF, else the first failure, as a *Side.
	Ended(err error)
}

// Start relays between a and b, which it owns from then on, and returns at once, so that the
// goroutine that shook hands, and its deep stack, can end. up counts the bytes written from a to b,
// down those from b to a, while they move. When both directions have ended, both connections are
// closed and w is told.
func Start(a, b flow.Conn, up, down *atomic.Int64, w Watcher) {
	p := pairs.Get().(*pair)
	p.a, p.b, p.watcher = a, b, w
	p.toB.init(p, a, b, up)
	p.toA.init(p, b, a, down)
	go p.toA.run()
	go p.toB.run()
}

// pair is one relay. It is pooled with its callbacks, which are made once.
type pair struct {
	a, b     flow.Conn
	toA, toB half
	watcher  Watcher
	mu       sync.Mutex
	ending   int // directions that have come to their end
	ended    int // and are done with the pair
	err      error
}

var pairs = sync.Pool{New: func() any {
	p := new(pair)
	for _, h := range []*half{&p.toA, &p.toB} {
		h.tryRead, h.tryFill, h.tryDrain = h.onRead, h.onFill, h.onDrain
	}
	return p
}}

func (p *pair) clear() {
	p.a, p.b, p.watcher, p.err, p.ending, p.ended = nil, nil, nil, nil, 0, 0
	p.toA.clear()
	p.toB.clear()
}

// finish notes how one direction ended. A failure resets both ends, which ends the other direction.
// The direction that ends last closes what is left and gives the pair back: what the other one does
// to the pair comes before it counts as ended.
func (p *pair) finish(h *half, err error) {
	p.mu.Lock()
	p.ending++
	last := p.ending == 2
	p.mu.Unlock()
	if err == nil && !last { // the last one closes, which does as much
		err = h.halfClose()
	}
	p.mu.Lock()
	failed := p.err == nil && err != nil
	if failed {
		p.err = err
	}
	p.mu.Unlock()
	if failed {
		_ = guarded(func() error { flow.Reset(p.a); return nil })
		_ = guarded(func() error { flow.Reset(p.b); return nil })
	}
	p.mu.Lock()
	p.ended++
	last = p.ended == 2
	p.mu.Unlock()
	if last {
		p.end()
	}
}

func (p *pair) end() {
	err := errors.Join(guarded(p.a.Close), guarded(p.b.Close))
	if p.err != nil || !errors.Is(err, ErrPanic) {
		err = p.err // how a close fails tells nothing more
	}
	w := p.watcher
	p.clear()
	pairs.Put(p)
	w.Ended(err)
}

// half is one direction of a pair.
type half struct {
	pair     *pair
	src, dst flow.Conn
	count    *atomic.Int64
	moved    int64
	spliceAt int64 // what moved before a pipe is worth it

	b    *buf.Buf // borrowed while it holds bytes
	n    int
	pipe *sysnet.Pipe
	err  error

	tryRead, tryFill, tryDrain func(fd uintptr) bool
}

func (h *half) init(p *pair, src, dst flow.Conn, count *atomic.Int64) {
	h.pair, h.src, h.dst, h.count, h.spliceAt = p, src, dst, count, spliceAfter
}

func (h *half) clear() {
	h.pair, h.src, h.dst, h.count, h.moved, h.err = nil, nil, nil, nil, 0, nil
}

func (h *half) run() { h.pair.finish(h, h.copy()) }

// guarded calls f; a panic is an ErrPanic.
func guarded(f func() error) (err error) {
	defer catch(&err)
	return f()
}

// catch is deferred: it turns a panic into an error.
func catch(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("%w: %v\n%s", ErrPanic, v, debug.Stack())
	}
}

// halfClose passes the end of src on.
func (h *half) halfClose() (err error) {
	defer catch(&err)
	if err := h.dst.CloseWrite(); err != nil {
		return &Side{Client: h.dst == h.pair.a, Err: err}
	}
	h.pair.watcher.HalfClosed()
	return nil
}

// copy moves bytes until an EOF, which is nil, or a failure.
func (h *half) copy() (err error) {
	defer catch(&err)
	if src, bare := h.src.(*sysnet.TCPConn); bare && sysnet.CanTry {
		return h.copyBare(src)
	}
	return h.copyLayered()
}

// failRead and failWrite name the side an error came from.
func (h *half) failRead(err error) error {
	if err == io.EOF {
		return nil
	}
	return &Side{Client: h.src == h.pair.a, Err: err}
}

func (h *half) failWrite(err error) error { return &Side{Client: h.dst == h.pair.a, Err: err} }

// copyLayered copies from a stream that may hold bytes while its descriptor is quiet, so that the
// buffer stays borrowed while it waits.
func (h *half) copyLayered() error {
	b := buf.Get()
	defer buf.Put(b)
	for {
		n, err := h.src.Read(b.B[:])
		if n > 0 { // zero bytes are an end marker in some protocols: never write them
			w, werr := h.dst.Write(b.B[:n])
			h.count.Add(int64(w))
			if werr != nil {
				return h.failWrite(werr)
			}
		}
		if err != nil {
			return h.failRead(err)
		}
	}
}

// spliceAfter is how much a direction moves through buffers before it gets a pipe: most flows are
// shorter, and a pipe costs more than it saves them.
const spliceAfter = 128 << 10

// retryPipe is how much a direction moves through buffers when there was no pipe to be had, for
// want of descriptors, before it asks again.
const retryPipe = 16 << 20

var errNoPipe = errors.New("no pipe")

// copyBare waits for bytes before it borrows anything.
func (h *half) copyBare(src *sysnet.TCPConn) error {
	dst, bare := h.dst.(*sysnet.TCPConn)
	bare = bare && sysnet.CanSplice
	for {
		if bare && h.moved >= h.spliceAt {
			if err := h.splice(src, dst); err != errNoPipe {
				return err
			}
			h.spliceAt = h.moved + retryPipe
		}
		if err := src.Raw().Read(h.tryRead); err != nil {
			h.putBuf()
			return h.failRead(err)
		}
		if h.err != nil {
			h.putBuf()
			return h.failRead(h.err)
		}
		w, err := h.dst.Write(h.b.B[:h.n])
		h.count.Add(int64(w))
		h.moved += int64(w)
		h.putBuf()
		if err != nil {
			return h.failWrite(err)
		}
	}
}

// onRead borrows a buffer, tries to read, and gives it back when nothing is there.
func (h *half) onRead(fd uintptr) bool {
	if h.b == nil {
		h.b = buf.Get()
	}
	var again bool
	h.n, again, h.err = sysnet.TryRead(fd, h.b.B[:])
	if again {
		h.putBuf()
	}
	return !again
}

func (h *half) putBuf() {
	if h.b != nil {
		buf.Put(h.b)
		h.b, h.n = nil, 0
	}
}

func (h *half) splice(src, dst *sysnet.TCPConn) error {
	defer h.putPipe()
	for {
		if err := src.Raw().Read(h.tryFill); err != nil {
			return h.failRead(err)
		}
		switch {
		case h.err == errNoPipe:
			h.err = nil
			return errNoPipe
		case h.err != nil:
			return h.failRead(h.err)
		}
		if err := dst.Raw().Write(h.tryDrain); err != nil {
			return h.failWrite(err)
		}
		if h.err != nil {
			return h.failWrite(h.err)
		}
	}
}

// onFill borrows a pipe and fills it; a quiet source costs none.
func (h *half) onFill(fd uintptr) bool {
	if h.pipe == nil {
		var err error
		if h.pipe, err = sysnet.GetPipe(); err != nil {
			h.err = errNoPipe
			return true
		}
	}
	var again bool
	again, h.err = h.pipe.Fill(fd)
	if again {
		h.putPipe()
	}
	return !again
}

func (h *half) onDrain(fd uintptr) bool {
	var moved int
	var again bool
	moved, again, h.err = h.pipe.Drain(fd)
	h.count.Add(int64(moved))
	return !again
}

func (h *half) putPipe() {
	if h.pipe != nil {
		sysnet.PutPipe(h.pipe)
		h.pipe = nil
	}
}
