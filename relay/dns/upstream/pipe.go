package upstream

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

// maxFlights is how many questions without an answer there are on one connection.
const maxFlights = 512

var errStranger = errors.New("the server answered what was not asked")

// pipe is one connection with many questions under way, whose answers come in any order. run reads, and
// has a goroutine of its own that writes.
type pipe struct {
	c     net.Conn
	idle  time.Duration
	slots chan struct{}
	out   chan []byte   // length and message; never full, because each has a slot
	dead  chan struct{} // closed when err is set

	mu       sync.Mutex
	err      error
	flights  map[uint16]*flight
	left     int       // flights that nobody waits for any more
	quiet    time.Time // since when an answer is missing and nothing came; zero where none is missing
	answered bool
	retired  bool
}

// flight is a question under way.
type flight struct {
	query []byte // as it was sent
	came  chan arrival
	left  bool
}

// arrival is a response with the id of the connection, or why it is none.
type arrival struct {
	resp []byte
	err  error
}

// to is the response as the asker of query has it.
func (a arrival) to(query []byte) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	copy(a.resp[:2], query[:2])
	return a.resp, nil
}

func newPipe(c net.Conn, idle time.Duration) *pipe {
	return &pipe{
		c: c, idle: idle,
		slots:   make(chan struct{}, maxFlights),
		out:     make(chan []byte, maxFlights),
		dead:    make(chan struct{}),
		flights: make(map[uint16]*flight),
	}
}

// exchange asks query under an id of the connection's. The error is an errDead where the connection ended.
func (p *pipe) exchange(ctx context.Context, query []byte) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
	case <-p.dead:
		return nil, p.reason()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	frame = append(frame, query...)
	f := &flight{query: frame[2:], came: make(chan arrival, 1)}
	if err := p.begin(f); err != nil {
		return nil, err
	}
	select {
	case p.out <- frame:
	case <-p.dead:
	}
	select {
	case a := <-f.came:
		return a.to(query)
	case <-p.dead:
	case <-ctx.Done():
		p.leave(f)
	}
	select {
	case a := <-f.came: // it came just before the end
		return a.to(query)
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, p.reason()
}

// begin gives f an id that no other flight has, and notes it.
func (p *pipe) begin(f *flight) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	for {
		rand.Read(f.query[:2]) // never fails
		id := binary.BigEndian.Uint16(f.query)
		if p.flights[id] == nil {
			p.flights[id] = f
			break
		}
	}
	now := time.Now()
	if p.quiet.IsZero() {
		p.quiet = now
	}
	p.c.SetReadDeadline(now.Add(p.idle))
	return nil
}

// leave notes that nobody waits for f. Its id stays taken until the answer comes.
func (p *pipe) leave(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flights[binary.BigEndian.Uint16(f.query)] == f && !f.left {
		f.left = true
		p.left++
	}
	p.endRetired()
}

// good says whether new questions may be asked here.
func (p *pipe) good() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := !p.quiet.IsZero() && time.Since(p.quiet) > stallTime
	return p.err == nil && !stalled && p.left < maxFlights/2
}

// useful says whether anything was answered here.
func (p *pipe) useful() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered
}

// retire says that no more will be asked: the connection ends when nobody waits any more.
func (p *pipe) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	p.endRetired()
}

func (p *pipe) endRetired() {
	if p.retired && p.left == len(p.flights) {
		p.failLocked(errDead)
	}
}

func (p *pipe) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// fail ends the connection and all that is asked on it.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(err)
}

func (p *pipe) failLocked(err error) {
	if p.err != nil {
		return
	}
	p.err = err
	close(p.dead)
	p.c.SetDeadline(time.Now()) // ends reads and writes; run closes
}

// run carries questions and answers until the connection ends, and closes it.
func (p *pipe) run() {
	var writer sync.WaitGroup
	writer.Go(p.write)
	err := p.read()
	if !errors.Is(err, errDead) {
		err = fmt.Errorf("%w: %w", errDead, err)
	}
	p.fail(err)
	p.c.Close()
	writer.Wait()
}

func (p *pipe) write() {
	for {
		select {
		case frame := <-p.out:
			p.c.SetWriteDeadline(time.Now().Add(p.idle))
			if _, err := p.c.Write(frame); err != nil {
				p.fail(fmt.Errorf("%w: %w", errDead, err))
				return
			}
		case <-p.dead:
			return
		}
	}
}

func (p *pipe) read() (err error) {
	defer func() {
		if v := recover(); v != nil { // a bug ends one connection
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	r := bufio.NewReader(p.c)
	for {
		p.c.SetReadDeadline(time.Now().Add(p.idle))
		select {
		case <-p.dead: // its deadline may just have been overwritten
			return errDead
		default:
		}
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint16(size[:])
		if n < wire.HeaderSize {
			return wire.ErrFormat
		}
		resp := make([]byte, n)
		if _, err := io.ReadFull(r, resp); err != nil {
			return err
		}
		if err := p.arrive(resp); err != nil {
			return err
		}
	}
}

// arrive hands resp to whoever asked. An error ends the connection.
func (p *pipe) arrive(resp []byte) error {
	id := binary.BigEndian.Uint16(resp)
	p.mu.Lock()
	f := p.flights[id]
	p.mu.Unlock()
	if f == nil || wire.Answers(f.query, resp) != nil {
		return errStranger
	}
	answer, bad := wire.Scan(resp)

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flights, id) // this goroutine alone takes them out
	<-p.slots
	if f.left {
		p.left--
	}
	p.quiet = time.Time{}
	if len(p.flights) > 0 {
		p.quiet = time.Now()
	}
	if bad != nil {
		f.came <- arrival{err: bad}
		return bad
	}
	p.answered = true
	f.came <- arrival{resp: answer.Wire}
	p.endRetired()
	return nil
}
