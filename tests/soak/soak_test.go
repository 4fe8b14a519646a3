//go:build linux

// Package soak runs the daemon, built with the race detector, under everything at once for a while: traffic, DNS,
// reloads, updates of providers, health checks, switched groups, readers of the API and nonsense on all ports.
// When all of that is over, the daemon has to be what it was before.
//
//	make soak SOAKTIME=2m
package soak

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// warmUp is how long everything runs before the daemon is looked at for the first time.
const warmUp = 15 * time.Second

// soak is a run.
type soak struct {
	t     *testing.T
	d     *testkit.Daemon
	o     *origins
	dns   string // of the daemon's name server
	extra string // of the port that only one of the configurations has
	sdk   *client.API
	done  counts

	chosen map[string]string // the last choices, by group; one task makes them
}

func TestSoak(t *testing.T) {
	text := os.Getenv("SOAKTIME")
	if text == "" {
		t.Skip("no SOAKTIME: make soak runs this")
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t)
	s.choose("kept", "n2")
	s.choose("pinned", "n1")

	s.run(warmUp)
	before := s.footprint(nil)
	t.Logf("after %v: %v", warmUp, before)

	s.run(max(long-warmUp, warmUp))
	after := s.footprint(before)
	t.Logf("after %v: %v", long, after)
	t.Logf("done: %s", s.done.String())

	after.compare(t, before)
	s.done.check(t)
	s.keepsChoices()
	s.countsNoPanic()
	s.saysNothingBad()
}

// start runs a daemon and what is around it.
func start(t *testing.T) *soak {
	s := &soak{t: t, o: newOrigins(t), chosen: make(map[string]string)}
	port := func() string { return fmt.Sprint("127.0.0.1:", testkit.FreePort(t)) }
	s.dns, s.extra = port(), port()
	s.d = testkit.Start(t, s.config(0, "info"))
	var err error
	if s.sdk, err = client.New(s.d.BaseURL, client.WithSecret(s.d.Secret)); err != nil {
		t.Fatal(err)
	}
	return s
}

// task is one of the things that go on at once. It ends soon after ctx does; an error is a fault of the daemon.
type task func(ctx context.Context) error

// run does everything for a while, and returns when it has ended.
func (s *soak) run(long time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context()) // a deadline would be an error of connections a moment before
	defer cancel()
	defer time.AfterFunc(long, cancel).Stop()
	var all sync.WaitGroup
	for name, tasks := range map[string][]task{
		"traffic": s.traffic(), "DNS": s.names(), "changes": s.changes(), "readers": s.readers(), "nonsense": s.nonsense(),
	} {
		for _, do := range tasks {
			all.Go(func() {
				if err := do(ctx); err != nil {
					s.t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	all.Wait()
	if s.t.Failed() {
		s.saysNothingBad()
		s.t.FailNow()
	}
}

// every does something again and again, with pauses.
func every(pause time.Duration, do func(ctx context.Context, n int) error) task {
	return func(ctx context.Context) error {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			if err := do(ctx, n); err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}

// times is a task so many times, side by side.
func times(n int, do task) []task { return slices.Repeat([]task{do}, n) }

// counts is how often things were done.
type counts struct {
	tunnels, cut, kept, requests, datagrams, answers    atomic.Int64
	questions, unanswered, reloads, updates, failed     atomic.Int64
	switches, tests, gets, messages, nonsense, byFakeIP atomic.Int64
}

// each goes through them; those of soft may be 0.
func (c *counts) each(f func(name string, n int64, soft bool)) {
	f("tunnels", c.tunnels.Load(), false)
	f("cut by a switch", c.cut.Load(), false)
	f("pings of tunnels that stay", c.kept.Load(), false)
	f("requests", c.requests.Load(), false)
	f("datagrams", c.datagrams.Load(), false)
	f("echoed", c.answers.Load(), false)
	f("questions", c.questions.Load(), false)
	f("unanswered", c.unanswered.Load(), true)
	f("by fake address", c.byFakeIP.Load(), false)
	f("reloads", c.reloads.Load(), false)
	f("updates", c.updates.Load(), false)
	f("failed updates", c.failed.Load(), true)
	f("switches", c.switches.Load(), false)
	f("tests", c.tests.Load(), false)
	f("GETs", c.gets.Load(), false)
	f("messages", c.messages.Load(), false)
	f("nonsense", c.nonsense.Load(), false)
}

func (c *counts) String() (text string) {
	c.each(func(name string, n int64, _ bool) { text += fmt.Sprintf("%s %d, ", name, n) })
	return text
}

// check wants that all was done, and that no more was lost on the way than a busy machine loses.
func (c *counts) check(t *testing.T) {
	c.each(func(name string, n int64, soft bool) {
		if n == 0 && !soft {
			t.Errorf("%s: none", name)
		}
	})
	if sent, back := c.datagrams.Load(), c.answers.Load(); back < sent*9/10 {
		t.Errorf("of %d datagrams %d came back", sent, back)
	}
	if asked, lost := c.questions.Load(), c.unanswered.Load(); lost > asked/100 {
		t.Errorf("of %d questions %d were not answered", asked, lost)
	}
}
