package relay

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// association is a flow.PacketConn that tests feed.
type association struct {
	in     chan string
	closed chan struct{}
	once   sync.Once
	sent   []string
	from   netip.AddrPort // what comes in is from there
	broken error          // what it ends with when in is closed
}

func newAssociation() *association {
	return &association{in: make(chan string, 2*queueOfReads), closed: make(chan struct{})}
}

func (a *association) ReadPacket(p []byte) (int, netip.AddrPort, error) {
	select {
	case text, ok := <-a.in:
		if !ok {
			return 0, netip.AddrPort{}, a.broken
		}
		return copy(p, text), a.from, nil
	case <-a.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (a *association) WritePacket(p []byte, to *flow.Addr) error {
	a.sent = append(a.sent, to.String()+" "+string(p))
	to.IP = netip.MustParseAddr("192.0.2.9") // as an outbound that resolves does
	return a.broken
}

func (a *association) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// TestPacketsDeadlines can be set, moved and taken away, also while somebody reads.
func TestPacketsDeadlines(t *testing.T) {
	f := func(want error, after time.Duration, during func(p *packets, a *association)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			a := newAssociation()
			p := newPackets(a, flow.Addr{Host: "a.test", Port: 53})
			defer p.Close()
			begin := time.Now()
			go during(p, a)
			if _, err := p.Read(make([]byte, 8)); !errors.Is(err, want) || time.Since(begin) != after {
				t.Errorf("%v after %s; want %v after %s", err, time.Since(begin), want, after)
			}
		})
	}
	in := func(p *packets, d time.Duration) { _ = p.SetReadDeadline(time.Now().Add(d)) }
	late := os.ErrDeadlineExceeded
	f(late, time.Second, func(p *packets, _ *association) { in(p, time.Second) })
	f(late, time.Second, func(p *packets, _ *association) { _ = p.SetDeadline(time.Now().Add(time.Second)) })
	f(late, 0, func(p *packets, _ *association) { in(p, -time.Second) })
	// Moved: later, nearer, and into the past.
	f(late, 3*time.Second, func(p *packets, _ *association) {
		in(p, time.Second)
		in(p, 3*time.Second)
	})
	f(late, 3*time.Second, func(p *packets, _ *association) {
		in(p, 2*time.Second)
		time.Sleep(time.Second)
		in(p, 2*time.Second)
	})
	f(late, time.Second, func(p *packets, _ *association) {
		in(p, time.Hour)
		in(p, time.Second)
	})
	f(late, time.Second, func(p *packets, _ *association) {
		in(p, time.Hour)
		time.Sleep(time.Second)
		_ = p.SetReadDeadline(time.Unix(1, 0))
	})
	// Taken away.
	f(nil, time.Minute, func(p *packets, a *association) {
		in(p, time.Second)
		_ = p.SetReadDeadline(time.Time{})
		time.Sleep(time.Minute)
		a.in <- "x"
	})
	f(net.ErrClosed, time.Second, func(p *packets, _ *association) {
		in(p, time.Hour)
		time.Sleep(time.Second)
		_ = p.Close()
	})
	f(nil, 0, func(p *packets, a *association) {
		_ = p.SetWriteDeadline(time.Now())
		a.in <- "x"
	})
}

// TestPacketsAfterADeadline: one that has passed holds until it is set anew; what came meanwhile is there.
func TestPacketsAfterADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAssociation()
		p := newPackets(a, flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53})
		defer p.Close()
		_ = p.SetReadDeadline(time.Now().Add(time.Second))
		time.Sleep(2 * time.Second)
		a.in <- "x"
		synctest.Wait()
		b := make([]byte, 8)
		for range 2 {
			if _, err := p.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		}
		_ = p.SetReadDeadline(time.Now().Add(time.Second))
		if n, from, err := p.ReadFrom(b); err != nil || string(b[:n]) != "x" || from.String() != "192.0.2.1:53" {
			t.Errorf("%q from %v, %v", b[:n], from, err)
		}
		if _, err := p.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestPacketsOfOthers: what comes from somewhere else than the target is not read, as far as can be known.
func TestPacketsOfOthers(t *testing.T) {
	f := func(to flow.Addr, from string, want bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			a := newAssociation()
			if from != "" {
				a.from = netip.MustParseAddrPort(from)
			}
			p := newPackets(a, to)
			defer p.Close()
			a.in <- "x"
			_ = p.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := p.Read(make([]byte, 8)); (err == nil) != want {
				t.Errorf("from %q to %v: %v", from, to, err)
			}
		})
	}
	ip := flow.Addr{IP: netip.MustParseAddr("192.0.2.1"), Port: 53}
	f(ip, "192.0.2.1:53", true)
	f(ip, "192.0.2.2:53", false)
	f(ip, "192.0.2.1:54", false)
	f(ip, "", true) // the outbound does not say
	f(flow.Addr{Host: "a.test", Port: 53}, "192.0.2.2:53", true)
}

// TestPacketsEnd: every reader hears why an association has ended, after what came before; a closed one is
// closed for all.
func TestPacketsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAssociation()
		p := newPackets(a, flow.Addr{Host: "a.test", Port: 53})
		for range queueOfReads + 10 { // what nobody reads is lost, and blocks nobody
			a.in <- "x"
		}
		synctest.Wait()
		a.broken = io.ErrUnexpectedEOF
		close(a.in)
		synctest.Wait()
		b := make([]byte, 8)
		for i := range queueOfReads {
			if _, err := p.Read(b); err != nil {
				t.Fatal(i, err)
			}
		}
		for range 3 {
			if _, err := p.Read(b); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
		}
		if _, err := p.Write(b); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		_ = p.SetReadDeadline(time.Now().Add(time.Hour))
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := p.Read(b); err == nil {
			t.Error("read after the end")
		}
	})
	synctest.Test(t, func(t *testing.T) { // closed with a full queue, of which the last is an error
		a := newAssociation()
		p := newPackets(a, flow.Addr{})
		for range queueOfReads {
			a.in <- "x"
		}
		synctest.Wait()
		a.broken = io.EOF
		close(a.in)
		_ = p.Close()
	})
}

// TestPacketsGoToOneTarget, as it was named, whatever the outbound has made of it.
func TestPacketsGoToOneTarget(t *testing.T) {
	a := newAssociation()
	p := newPackets(a, flow.Addr{Host: "a.test", Port: 53})
	defer p.Close()
	for _, text := range []string{"one", "two"} {
		if n, err := p.WriteTo([]byte(text), &net.UDPAddr{Port: 1}); err != nil || n != 3 {
			t.Error(n, err)
		}
	}
	if len(a.sent) != 2 || a.sent[0] != "a.test:53 one" || a.sent[1] != "a.test:53 two" {
		t.Errorf("%q", a.sent)
	}
	if got := p.RemoteAddr().String(); got != "0.0.0.0:53" {
		t.Error(got)
	}
}
