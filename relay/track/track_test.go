package track

import (
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

func TestTable(t *testing.T) {
	tb := NewTable()
	uuid4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var entries []*Entry
	for range 100 {
		e := new(Entry)
		tb.Open(e, func() { tb.Remove(e, ByAPI) })
		entries = append(entries, e)
		if id := e.ID.String(); !uuid4.MatchString(id) || tb.Find(id) != e {
			t.Fatalf("id %q", id)
		}
	}
	for i, e := range tb.Live(nil) {
		if e != entries[i] {
			t.Fatal("not the order in which they were opened")
		}
	}
	entries[3].Up.Add(10)
	entries[3].Down.Add(20)
	entries[3].End(ByAPI)
	entries[3].End(Idle) // the first reason stands
	tb.Remove(entries[3], Done)
	if up, down := tb.Totals(); up != 10 || down != 20 || entries[3].Reason() != ByAPI || len(tb.Live(nil)) != 99 {
		t.Errorf("totals %d, %d, reason %q, %d live", up, down, entries[3].Reason(), len(tb.Live(nil)))
	}
	f := func(id string) {
		t.Helper()
		if tb.Find(id) != nil {
			t.Errorf("found %q", id)
		}
	}
	f("")
	f(entries[3].ID.String())
	f("00000000-0000-4000-8000-000000000001")
	f("------------------------------------")
	f("zzzzzzzz-zzzz-4zzz-8zzz-zzzzzzzzzzzz")
	f("000000000000000000000000000000000000")
}

func TestRates(t *testing.T) {
	tb := NewTable()
	e := new(Entry)
	tb.Open(e, func() {})
	e.Down.Add(5)
	tb.Tick()
	e.Down.Add(2)
	tb.Remove(e, Done)
	tb.Tick()
	if r := tb.Rates(); r.Down != 2 || r.DownTotal != 7 {
		t.Errorf("%+v", r)
	}
}

// TestTotalsNeverFall sums while flows come and go.
func TestTotalsNeverFall(t *testing.T) {
	tb := NewTable()
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 2000 {
				e := new(Entry)
				tb.Open(e, func() {})
				e.Up.Add(1)
				tb.Remove(e, Done)
			}
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()
	var last int64
	for {
		up, _ := tb.Totals()
		if up < last {
			t.Fatalf("%d after %d", up, last)
		}
		last = up
		select {
		case <-done:
			if up, _ := tb.Totals(); up != 8000 {
				t.Errorf("%d in all", up)
			}
			return
		default:
		}
	}
}

func TestSweepEndsQuietHalfClosedFlows(t *testing.T) {
	tb := NewTable()
	quiet, busy, whole := new(Entry), new(Entry), new(Entry)
	for _, e := range []*Entry{quiet, busy, whole} {
		tb.Open(e, func() {})
	}
	quiet.HalfClosed()
	busy.HalfClosed()
	for range 5 {
		busy.Up.Add(1)
		tb.Sweep(2)
	}
	if quiet.Reason() != Idle || busy.Reason() != "" || whole.Reason() != "" {
		t.Errorf("%q, %q, %q", quiet.Reason(), busy.Reason(), whole.Reason())
	}
}

func FuzzFind(f *testing.F) {
	tb := NewTable()
	e := new(Entry)
	tb.Open(e, func() {})
	f.Add(e.ID.String())
	f.Fuzz(func(t *testing.T, id string) {
		if got := tb.Find(id); got != nil && got.ID.String() != id {
			t.Fatalf("%q finds %q", id, got.ID)
		}
	})
}

func TestMember(t *testing.T) {
	f := func(e *Entry, group, want string) {
		t.Helper()
		if got := e.Member(group); got != want {
			t.Errorf("%q carries %v for %s; want %q", got, e.Chain, group, want)
		}
	}
	e := &Entry{Chain: []string{"leaf", "inner", "outer"}}
	f(e, "outer", "inner")
	f(e, "inner", "leaf")
	f(e, "leaf", "") // it carries by itself
	f(e, "other", "")
	f(new(Entry), "outer", "")
	if r := Moved("G g", "a", "b"); r != `group "G g" went from a to b` {
		t.Error(r)
	}
}

func TestCounts(t *testing.T) {
	tb := NewTable()
	f := func(fl *flow.Flow, r Reason) {
		e := &Entry{Flow: fl}
		tb.Open(e, func() {})
		if r != "" {
			tb.Remove(e, r)
			tb.Remove(e, Idle) // counted once, and for the first reason
		}
	}
	tcp := &flow.Flow{Network: flow.TCP, Kind: flow.HTTPS}
	f(tcp, "")
	f(tcp, Done)
	f(tcp, Moved("G", "a", "b"))
	f(tcp, Moved("G", "b", "a"))
	f(&flow.Flow{Network: flow.UDP, Kind: flow.SOCKS5}, Idle)
	f(nil, ByAPI)
	f(&flow.Flow{Network: 200, Kind: 200}, Panic) // one of nobody knows what
	classes, ends := tb.Counts()
	if got := fmt.Sprint(classes); got != "[{invalid  2 0} {tcp HTTPS 4 1} {udp Socks5 1 0}]" {
		t.Error(got)
	}
	want := "[{done 1} {client_error 0} {target_error 0} {closed_by_api 1} {idle 1} {shutdown 0} {panic 1} {group_changed 2}]"
	if got := fmt.Sprint(ends); got != want {
		t.Errorf("%s; want %s", got, want)
	}
}
