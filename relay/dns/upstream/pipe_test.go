package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// pipes is a dial whose connections are pipes, so that they run in a bubble of synctest.
type pipes chan net.Conn

func (p pipes) dial(context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	p <- there
	return here, nil
}

func TestStreamClosesIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := make(pipes, 2)
		u := newStream(at(nameserver.TCP, netip.MustParseAddrPort("192.0.2.1:53")), dialed.dial, tcpIdle)
		defer u.Close()
		for range 2 {
			answer := begin(t, u, "a.example")
			c := <-dialed
			query := readQuery(c)
			time.Sleep(time.Second)
			writeMessage(c, answerTo(t, query, nil))
			answer()
			answered := time.Now()
			if readQuery(c) != nil || time.Since(answered) != tcpIdle {
				t.Errorf("closed after %v", time.Since(answered))
			}
		}
	})
}

// A question without an answer does not hold up later ones: they go to a new connection, and the old one is
// still good for the answers that are due.
func TestStreamLeavesAStalledConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := make(pipes, 3)
		u := newStream(at(nameserver.TCP, netip.MustParseAddrPort("192.0.2.1:53")), dialed.dial, tcpIdle)
		defer u.Close()
		ask := func(timeout time.Duration) chan error {
			failed := make(chan error, 1)
			query := question(t, "a.example", dns.TypeA)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				_, err := u.Exchange(ctx, query)
				failed <- err
			}()
			return failed
		}
		slow := ask(time.Minute)
		first := <-dialed
		query := readQuery(first)
		short := ask(time.Second)
		left := readQuery(first)
		if err := <-short; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Exchange: %v", err)
		}

		time.Sleep(stallTime)
		other := ask(time.Minute)
		second := <-dialed
		writeMessage(second, answerTo(t, readQuery(second), nil))
		if err := <-other; err != nil {
			t.Error(err)
		}
		// An answer that nobody waits for any more is no stranger.
		writeMessage(first, answerTo(t, left, nil))
		writeMessage(first, answerTo(t, query, nil))
		if err := <-slow; err != nil {
			t.Error(err)
		}
		if at := time.Now(); readQuery(first) != nil || time.Since(at) != 0 {
			t.Errorf("the old connection was closed after %v", time.Since(at))
		}
	})
}

func TestStreamBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := make(pipes, 2)
		u := newStream(at(nameserver.TCP, netip.MustParseAddrPort("192.0.2.1:53")), dialed.dial, tcpIdle)
		defer u.Close()
		const n = maxFlights + 8
		var asking sync.WaitGroup
		query := question(t, "a.example", dns.TypeA)
		for range n {
			asking.Go(func() {
				if _, err := u.Exchange(t.Context(), query); err != nil {
					t.Error(err)
				}
			})
		}
		c := <-dialed
		var queries [][]byte
		for range maxFlights {
			queries = append(queries, readQuery(c))
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if readQuery(c) != nil {
			t.Errorf("more than %d questions", maxFlights)
		}
		c.SetReadDeadline(time.Time{})
		go func() {
			for _, query := range queries {
				writeMessage(c, answerTo(t, query, nil))
			}
		}()
		for range n - maxFlights {
			queries = append(queries, readQuery(c))
		}
		for _, query := range queries[maxFlights:] {
			go writeMessage(c, answerTo(t, query, nil))
		}
		asking.Wait()
	})
}

// A server that leaves many questions without an answer, and answers others, gets a new connection.
func TestStreamForgetsWhatIsNeverAnswered(t *testing.T) {
	leak.Check(t)
	server := serveStreams(t, func(c net.Conn, _ int) {
		for {
			query := readQuery(c)
			if query == nil {
				return
			}
			if !strings.Contains(string(query), "lost") {
				writeMessage(c, answerTo(t, query, nil))
			}
		}
	})
	u := newTCP(at(nameserver.TCP, server.addr), straight())
	defer u.Close()
	mustAsk(t, u, "a.example", dns.TypeA)
	u.mu.Lock()
	p := u.kept
	u.mu.Unlock()
	for range maxFlights / 2 {
		f := &flight{query: question(t, "lost.example", dns.TypeA), came: make(chan arrival, 1)}
		p.slots <- struct{}{}
		if err := p.begin(f); err != nil {
			t.Fatal(err)
		}
		p.leave(f)
	}
	mustAsk(t, u, "a.example", dns.TypeA)
	if k := server.count.Load(); k != 2 {
		t.Errorf("%d connections; want 2", k)
	}
}
