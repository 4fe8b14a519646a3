package impl

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

func (*observed) Place(netip.Addr) flow.Place { return flow.Place{} }

// open lists n flows.
func open(table *track.Table, n int) {
	for i := range n {
		table.Open(&track.Entry{
			Flow: &flow.Flow{
				Network: flow.TCP, Kind: flow.SOCKS5, Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(i)),
				To: flow.Addr{Host: fmt.Sprintf("site%d.test", i), Port: 443},
			},
			Chain: []string{"node", "group"}, ProviderChain: []string{"", ""}, Rule: "Match",
		}, func() {})
	}
}

// TestReadersShareSnapshots has many readers whose streams begin at different times: what a tick tells them is
// encoded once.
func TestReadersShareSnapshots(t *testing.T) {
	o := new(observed)
	c, url := serve(t, o, config.Controller{})
	open(o.table, 50)
	const readers, messages, every = 200, 8, 100 * time.Millisecond
	path := fmt.Sprint("/connections?interval=", every.Milliseconds())
	var begun, all sync.WaitGroup
	var got atomic.Int64
	begun.Add(readers)
	stop := make(chan struct{})
	for range readers {
		next := overSocket(t, url, path)
		all.Go(func() {
			read := func() bool {
				b, err := next()
				if err == nil && !json.Valid(b) {
					err = fmt.Errorf("not JSON: %.100q", b)
				}
				if err != nil {
					t.Error(err)
				}
				return err == nil
			}
			ok := read() // the first message comes at once
			ok = ok && read()
			begun.Done()
			<-stop
			for range messages {
				if ok = ok && read(); ok {
					got.Add(1)
				}
			}
		})
	}
	begun.Wait()
	before, start := c.snapshot.encoded.Load(), time.Now()
	close(stop)
	all.Wait()
	ticks := int64(time.Since(start)/every) + 2 // one under way at the beginning, and one at the end
	if n := c.snapshot.encoded.Load() - before; n > ticks || n < messages/2 {
		t.Errorf("%d encodings in %d ticks", n, ticks)
	}
	if got.Load() != readers*messages {
		t.Errorf("%d messages; want %d", got.Load(), readers*messages)
	}
}

// TestTicks has all streams of an interval wait for the same moment.
func TestTicks(t *testing.T) {
	c := &Controller{began: time.Now()}
	f := func(after, every, want time.Duration) {
		t.Helper()
		if got := c.tickAfter(c.began.Add(after), every).Sub(c.began); got != want {
			t.Errorf("the tick after %v of every %v is at %v; want %v", after, every, got, want)
		}
	}
	f(0, time.Second, time.Second)
	f(time.Second-1, time.Second, time.Second)
	f(time.Second, time.Second, 2*time.Second)
	f(3700*time.Millisecond, time.Second, 4*time.Second)
	f(3700*time.Millisecond, 50*time.Millisecond, 3750*time.Millisecond)
}

// TestConnectionText takes apart what the generated encoder writes, and puts the counters in.
func TestConnectionText(t *testing.T) {
	f := func(e *track.Entry, at *track.Places) {
		t.Helper()
		track.NewTable().Open(e, func() {})
		e.Up.Store(12)
		e.Down.Store(345)
		if at == nil {
			at = new(track.Places)
		}
		want := connectionEntity(e, at)
		want.Upload, want.Download = 12, 345
		var got api.Connection
		b := appendConnection(nil, e, at)
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if string(b) != string(want.AppendJSON(nil)) {
			t.Errorf("%s; want %s", b, want.AppendJSON(nil))
		}
		e.Up.Add(1)
		want.Upload = 13
		if b := appendConnection(b[:0], e, at); string(b) != string(want.AppendJSON(nil)) {
			t.Errorf("%s; want %s", b, want.AppendJSON(nil))
		}
	}
	f(&track.Entry{Flow: new(flow.Flow)}, nil)
	// Words that look like those that the text is cut at.
	evil := `,"download":0,"upload":0`
	f(&track.Entry{
		Flow:  &flow.Flow{To: flow.Addr{Host: evil}, User: evil, Inbound: evil},
		Chain: []string{`"download":0`, evil}, ProviderChain: []string{evil, evil}, Rule: evil, RulePayload: evil,
	}, nil)
	f(&track.Entry{Flow: new(flow.Flow)}, &track.Places{Source: flow.Place{Countries: []string{"cn"}}, Target: flow.Place{System: evil}})
}

// TestConnectionTextLearnsPlaces finds out later where an end of a flow is.
func TestConnectionTextLearnsPlaces(t *testing.T) {
	e := &track.Entry{Flow: new(flow.Flow)}
	f := func(find flow.Place, want string) {
		t.Helper()
		var got api.Connection
		b := appendConnection(nil, e, e.Places(func(netip.Addr) flow.Place { return find }))
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if got.Metadata.DestinationIPASN != want {
			t.Errorf("%s; want %q", b, want)
		}
	}
	f(flow.Place{}, "")
	f(flow.Place{System: "64500 A"}, "64500 A")
	f(flow.Place{System: "64501 B"}, "64500 A") // what is known stays
}
