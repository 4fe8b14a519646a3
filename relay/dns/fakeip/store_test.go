package fakeip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/state"
)

// watched is the store of the daemon, which counts what it is asked, and can be told to fail.
type watched struct {
	state.Leases
	before func() // it saves; nil: nothing

	mu    sync.Mutex
	saves int
	err   error
}

func (w *watched) SaveLeases(r netip.Prefix, set map[netip.Addr]string, gone []netip.Addr) error {
	if w.before != nil {
		w.before()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saves++
	if w.err != nil {
		return w.err
	}
	return w.Leases.SaveLeases(r, set, gone)
}

func (w *watched) ClearLeases(r netip.Prefix) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.Leases.ClearLeases(r)
}

func (w *watched) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *watched) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.saves
}

func newStore(t *testing.T) *watched {
	s := state.New(filepath.Join(t.TempDir(), state.FileName), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Close() })
	return &watched{Leases: s.Leases()}
}

// start loads a pool and has it serve until the func that is returned is called, which says how that
// ended.
func start(t *testing.T, c Config) (*Pool, func() error) {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	return p, func() error { cancel(); return <-done }
}

func stored(t *testing.T, s Store, r string) string {
	t.Helper()
	var all []string
	err := s.LoadLeases(netip.MustParsePrefix(r), func(ip netip.Addr, name string) {
		all = append(all, fmt.Sprintf("%s=%s", ip, name))
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

var small = netip.MustParsePrefix("10.0.0.0/28")

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		c := Config{Range: small, Store: s}
		p, stop := start(t, c)
		wantLease(t, p, "a", "10.0.0.4")
		wantLease(t, p, "b", "10.0.0.5")
		time.Sleep(saveDelay)
		synctest.Wait()
		if got := stored(t, s, "10.0.0.0/28"); got != "10.0.0.4=a 10.0.0.5=b" || s.count() != 1 {
			t.Fatalf("after %d times the store has %s", s.count(), got)
		}
		// What there is at the end is stored, too.
		wantLease(t, p, "c", "10.0.0.6")
		wantLease(t, p, "d", "10.0.0.7")
		p.Drop([]byte("b"))
		p.Drop([]byte("c"))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, s, "10.0.0.0/28"); got != "10.0.0.4=a 10.0.0.7=d" {
			t.Fatalf("the store has %s", got)
		}
		// The next goes on behind the highest, and comes to the gaps when the range is at its end.
		p, stop = start(t, c)
		if p.Len() != 2 {
			t.Errorf("%d leases", p.Len())
		}
		wantLease(t, p, "d", "10.0.0.7")
		wantLease(t, p, "a", "10.0.0.4")
		for i := range 7 {
			wantLease(t, p, fmt.Sprint(i), fmt.Sprintf("10.0.0.%d", 8+i))
		}
		wantLease(t, p, "7", "10.0.0.5")
		wantLease(t, p, "8", "10.0.0.6")
		wantLease(t, p, "9", "10.0.0.7") // of d, which was used least recently
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		p, stop = start(t, c)
		if p.Has([]byte("d")) || p.Len() != 11 {
			t.Errorf("%d leases", p.Len())
		}
		wantLease(t, p, "9", "10.0.0.7")
		// A flush reaches the store.
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, s, "0.0.0.0/0"); got != "" {
			t.Errorf("the store has %s", got)
		}
		wantLease(t, p, "new", "10.0.0.4")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, s, "0.0.0.0/0"); got != "10.0.0.4=new" {
			t.Errorf("the store has %s", got)
		}
	})
}

// TestQuiet says that a pool in which nothing changes stores nothing.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		p, stop := start(t, Config{Range: small, Store: s})
		p.Lease([]byte("a"))
		time.Sleep(time.Minute)
		for range 100 {
			p.Lease([]byte("a"))
		}
		time.Sleep(time.Minute)
		if err := stop(); err != nil || s.count() != 1 {
			t.Errorf("stored %d times, %v", s.count(), err)
		}
	})
}

func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.fail(errors.New("no room"))
		var log bytes.Buffer
		p, stop := start(t, Config{Range: small, Store: s, Log: slog.New(slog.NewTextHandler(&log, nil))})
		p.Lease([]byte("a"))
		time.Sleep(10*saveDelay + saveDelay/2)
		p.Lease([]byte("b"))
		p.Drop([]byte("a"))
		if s.count() != 10 || strings.Count(log.String(), "store the leases of 10.0.0.0/28: no room") != 1 {
			t.Errorf("tried %d times, and said:\n%s", s.count(), log.String())
		}
		// What cannot be forgotten in the store is not forgotten here.
		if err := p.Flush(); err == nil || !p.Has([]byte("b")) {
			t.Errorf("flush: %v", err)
		}
		s.fail(nil)
		time.Sleep(saveDelay)
		synctest.Wait()
		if got := stored(t, s, "10.0.0.0/28"); got != "10.0.0.5=b" {
			t.Errorf("the store has %s", got)
		}
		p.Lease([]byte("c"))
		s.fail(errors.New("no room"))
		if err := stop(); err == nil {
			t.Error("what could not be stored at the end was not told")
		}
	})
}

// TestOddStore loads leases of other ranges, names with two addresses, and addresses that are not lent.
func TestOddStore(t *testing.T) {
	s := newStore(t)
	err := s.SaveLeases(netip.MustParsePrefix("0.0.0.0/0"), map[netip.Addr]string{
		netip.MustParseAddr("9.0.0.4"):   "other",
		netip.MustParseAddr("10.0.0.3"):  "reserved",
		netip.MustParseAddr("10.0.0.5"):  "a",
		netip.MustParseAddr("10.0.0.6"):  "a",
		netip.MustParseAddr("10.0.0.15"): "last",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, stop := start(t, Config{Range: small, Store: s})
	if p.Len() != 1 {
		t.Errorf("%d leases", p.Len())
	}
	wantLease(t, p, "a", "10.0.0.5")
	wantLease(t, p, "b", "10.0.0.7")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := stored(t, s, "10.0.0.4/30")+stored(t, s, "9.0.0.0/8"), "10.0.0.5=a 10.0.0.7=b9.0.0.4=other"; got != want {
		t.Errorf("the store has %s", got)
	}
}

// TestTakeOver: leases go on in a pool that stores them, or does no more.
func TestTakeOver(t *testing.T) {
	store := newStore(t)
	old := newPool(t, "198.18.0.0/24")
	wantLease(t, old, "a.test", "198.18.0.4")
	wantLease(t, old, "b.test", "198.18.0.5")
	wantLease(t, old, "c.test", "198.18.0.6")
	old.Drop([]byte("b.test"))
	p, stop := start(t, Config{Range: netip.MustParsePrefix("198.18.0.0/24"), Store: store})
	p.TakeOver(old)
	wantLease(t, p, "c.test", "198.18.0.6")
	wantLease(t, p, "a.test", "198.18.0.4")
	wantLease(t, p, "d.test", "198.18.0.7")
	wantLease(t, old, "a.test", "198.18.0.4")
	wantLease(t, old, "e.test", "198.18.0.8") // whoever has the old one uses the new one
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := stored(t, store, "198.18.0.0/24"), "198.18.0.4=a.test 198.18.0.6=c.test 198.18.0.7=d.test 198.18.0.8=e.test"; got != want {
		t.Errorf("stored: %s; want %s", got, want)
	}
}

func TestWithoutStore(t *testing.T) {
	p, stop := start(t, Config{Range: small})
	p.Lease([]byte("a"))
	if err := errors.Join(p.Flush(), stop()); err != nil || len(p.changed) != 0 {
		t.Error(err)
	}
}

// TestFlushAndSave flushes while leases are being stored: they do not come back.
func TestFlushAndSave(t *testing.T) {
	s := newStore(t)
	p, err := New(Config{Range: small, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	p.Lease([]byte("a"))
	flushed := make(chan error, 1)
	s.before = func() {
		go func() { flushed <- p.Flush() }()
		select {
		case err := <-flushed: // it should have waited, and has its say below
			flushed <- err
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := errors.Join(p.save(), <-flushed); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, s, "10.0.0.0/28"); got != "" || p.Len() != 0 {
		t.Errorf("after a flush the store has %s", got)
	}
}
