//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestLoads runs every load straight against the origin, without a proxy.
func TestLoads(t *testing.T) {
	o, closeAll, err := serveOrigin()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()

	f := func(j job, units int64) {
		t.Helper()
		j.Window, j.Conns = time.Minute, 2
		j.Door.Origin = o
		do, err := loadNamed(j.Load)
		if err != nil {
			t.Fatal(err)
		}
		started := false
		var r result
		err = do(j, gate{
			start:  func() error { started = true; return nil },
			finish: func(x result) error { r = x; return nil },
		})
		switch {
		case err != nil:
			t.Errorf("%s: %v", j.Load, err)
		case !started || r.Units != units || r.Errors != 0 || r.Bytes != r.Units*j.bytes():
			t.Errorf("%s: started %v, %+v; want %d units", j.Load, started, r, units)
		}
	}
	stream, web := door{Kind: viaTCP, Addr: o.TCP}, door{Kind: viaReverse, Addr: o.HTTP}
	// More than a period of the pattern, so that it wraps.
	f(job{Load: "down", Door: stream, Max: 4, Size: 3 << 20}, 4)
	f(job{Load: "up", Door: stream, Max: 4, Size: 3 << 20}, 4)
	f(job{Load: "connect", Door: stream, Max: 20, Size: 100}, 20)
	f(job{Load: "idle", Door: stream, Max: 20, Size: 100}, 20)
	// The largest body comes in many reads.
	f(job{Load: "http", Door: web, Max: 20, Size: 1 << 10}, 20)
	f(job{Load: "http", Door: web, Max: 20, Size: 64 << 10}, 20)
	f(job{Load: "dns", Door: door{Kind: viaDNS, Addr: o.DNS}, Max: 20}, 20*burstSize)
}

// bytes is what a unit of j moves.
func (j job) bytes() int64 {
	if j.Load == "connect" || j.Load == "idle" {
		return 2 * j.Size
	}
	return j.Size
}

func TestRepeatCountsErrorsApart(t *testing.T) {
	r := repeat(job{Max: 10, Conns: 1, Window: time.Minute}, func(_ int, n int64) (int64, error) {
		if n%3 == 0 {
			return 0, errors.New("third")
		}
		return 1, nil
	})
	if r.Units != 7 || r.Bytes != 7 || r.Errors != 3 || r.First != "third" {
		t.Errorf("got %+v; want 7 units, 3 errors", r)
	}
	// A worker that only fails gives up.
	var tries atomic.Int64
	r = repeat(job{Max: 1000, Conns: 2, Window: time.Minute}, func(int, int64) (int64, error) {
		tries.Add(1)
		return 0, errors.New("no")
	})
	if r.Errors != 2*errorLimit || tries.Load() != r.Errors || r.Units != 0 {
		t.Errorf("got %+v after %d tries; want %d errors", r, tries.Load(), 2*errorLimit)
	}
}

func TestReceiveFindsWrongBytes(t *testing.T) {
	p := newPattern()
	var stream strings.Builder
	if err := p.send(&stream, period+10); err != nil {
		t.Fatal(err)
	}
	whole := stream.String()
	f := func(sent, want string) {
		t.Helper()
		err := p.receive(strings.NewReader(sent), int64(len(whole)), make([]byte, chunk))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
	f(whole, "")
	// One bit.
	f(whole[:5000]+string(whole[5000]^1)+whole[5001:], "wrong payload")
	// A block that is missing, and one that comes twice.
	f(whole[:4096]+whole[8192:], "wrong payload")
	f(whole[:8192]+whole[4096:], "wrong payload")
	// An end too early.
	f(whole[:len(whole)-1], "EOF")
}

func TestAnsweredFindsWrongAnswers(t *testing.T) {
	m := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	m.Id = 7
	text, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	q := &question{text: text, addr: [4]byte{192, 0, 2, 1}}
	m.Response, m.Compress = true, true
	m.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: "a.test.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 9}, A: q.addr[:],
	}}
	reply, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := q.answered(reply, 7); err != nil {
		t.Error(err)
	}
	// Another id, a response code, a truncated answer, no answer, another name, another address.
	for _, at := range []int{1, 3, 2, 7, 13, len(reply) - 1} {
		bad := bytes.Clone(reply)
		bad[at] ^= 2
		if q.answered(bad, 7) == nil {
			t.Errorf("a change of byte %d passes", at)
		}
	}
	if q.answered(reply[:len(reply)-1], 7) == nil || q.answered(nil, 7) == nil {
		t.Error("an answer that is too short passes")
	}
}

func TestCell(t *testing.T) {
	m := metric{Of: func(s sample) float64 { return float64(s.Units) }}
	r := &report{peers: []peer{{Name: "ours"}, {Name: "theirs"}}}
	add := func(peer string, round int, units int64) {
		r.Samples = append(r.Samples, sample{
			Row: "work", Peer: peer, Round: round, result: result{Units: units},
		})
	}
	f := func(peer, want string) {
		t.Helper()
		if got := r.cell(row{Title: "work"}, m, peer); got != want {
			t.Errorf("cell of %s is %q; want %q", peer, got, want)
		}
	}
	// Medians of the figures and of the ratios of each round.
	for round, units := range []int64{10, 20, 90} {
		add("ours", round, units)
		add("theirs", round, 2*units)
	}
	f("ours", "20.0")
	f("theirs", "40.0 (**×0.50**)")
	// A peer that was not measured.
	f("others", "")
	// Errors show.
	r.Samples[5].Errors = 3
	f("theirs", "40.0 (**×0.50**), 3 errors")
	r.Samples[5].Fail = "it ended"
	f("theirs", "failed")
}

func TestUsageOfCountsCPUInNanoseconds(t *testing.T) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for x, end := 0, time.Now().Add(2*time.Millisecond); time.Now().Before(end); x++ {
	}
	after, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if spent := after.cpu - before.cpu; spent <= 0 || spent%(10*time.Millisecond) == 0 {
		t.Errorf("spent %v of CPU; want some, and not ticks", spent)
	}
	if after.rss == 0 || after.fds == 0 {
		t.Errorf("got %+v", after)
	}
}
