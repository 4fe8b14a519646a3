package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// interrupting is what ends connections, with a table to fill, on a clock of its own.
type interrupting struct {
	*interrupts
	t     *testing.T
	mu    sync.Mutex
	log   bytes.Buffer
	looks atomic.Int64 // since they were last counted
	now   *Running
}

// Write takes the log.
func (x *interrupting) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.log.Write(p)
}

// said returns what was logged since it was last asked for, once all is quiet.
func (x *interrupting) said() string {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	var lines []string
	for line := range strings.Lines(x.log.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		lines = append(lines, strings.ReplaceAll(strings.Trim(text, `"`), `\"`, `"`))
	}
	x.log.Reset()
	return strings.Join(lines, "; ")
}

func (x *interrupting) logged(lines ...string) {
	x.t.Helper()
	want := strings.Join(lines, "; ")
	if got := x.said(); got != want {
		x.t.Errorf("log: %s; want %s", got, want)
	}
}

// open opens a flow with a chain, such as "leaf inner outer".
func (x *interrupting) open(chain string) *track.Entry {
	e := &track.Entry{Chain: strings.Fields(chain)}
	x.table.Open(e, func() { x.table.Remove(e, track.ByAPI) })
	return e
}

// are compares the chains of the flows that live.
func (x *interrupting) are(want string) {
	x.t.Helper()
	synctest.Wait()
	var got []string
	for _, e := range x.table.Live(nil) {
		got = append(got, strings.Join(e.Chain, " "))
	}
	if strings.Join(got, ", ") != want {
		x.t.Errorf("live: %s; want %s", strings.Join(got, ", "), want)
	}
}

// use makes groups with policies what runs.
func (x *interrupting) use(policies map[string]config.Interrupt, groups ...group.Group) {
	next := &Running{Config: new(config.Config), Outbounds: make(map[string]outbound.Outbound)}
	for _, g := range groups {
		name := g.Info().Name
		next.Outbounds[name] = g
		next.Config.Groups = append(next.Config.Groups, config.Group{Name: name, Interrupt: policies[name]})
	}
	x.follow(x.now, next)
	x.now = next
}

// rest lets the time go by that lies between two looks.
func rest() {
	time.Sleep(interruptRest)
	synctest.Wait()
}

func interruptTest(t *testing.T, f func(t *testing.T, x *interrupting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &interrupting{t: t}
		x.interrupts = newInterrupts(track.NewTable(), health.NewBook(), slog.New(slog.NewTextHandler(x, nil)))
		x.pins = func() { x.looks.Add(1) }
		defer x.start()()
		f(t, x)
	})
}

func groupMembers(names string) (list []outbound.Outbound) {
	for name := range strings.FieldsSeq(names) {
		list = append(list, outbound.NewUnbuilt(outbound.Info{Name: name}, "x"))
	}
	return list
}

func selectOf(name, members string) *group.Select {
	return group.NewSelect(group.Config{Name: name, Members: groupMembers(members)})
}

func TestInterruptCloses(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		g, other := selectOf("G", "a b c"), selectOf("other", "a b c")
		x.use(map[string]config.Interrupt{"G": {Close: true}}, g, other)
		moved := x.open("a G")
		x.open("n a G outer")
		x.open("b G")
		x.open("a other")
		x.open("a")
		x.open("a G2")
		choose := func(to string) {
			_ = g.Select(to)
			x.poke()
			rest()
		}
		choose("b")
		x.are("b G, a other, a, a G2")
		x.logged(`group "G" went from a to b: 2 connections ended`)
		if r := moved.Reason(); r != `group "G" went from a to b` {
			t.Error(r)
		}
		_ = other.Select("b")
		choose("b")
		x.are("b G, a other, a, a G2")
		x.logged("")

		// What was being dialed at the change comes later, and goes soon.
		x.open("a G")
		time.Sleep(dialsEnd)
		x.are("b G, a other, a, a G2")
		x.logged(`group "G" went from a to b: 1 connection ended`)
		time.Sleep(time.Hour)
		x.logged("")

		// Where a choice has not been seen its flows go as well.
		_ = g.Select("c")
		x.open("c G")
		choose("a")
		x.are("a other, a, a G2")
		x.logged(`group "G" went from b to a: 1 connection ended`, `group "G" went from c to a: 1 connection ended`)

		// Also where the choice is what it was again, and where one is only being dialed.
		_ = g.Select("c")
		x.open("c G")
		_ = g.Select("b")
		choose("a")
		x.are("a other, a, a G2")
		x.logged(`group "G" went from c to a: 1 connection ended`)
		x.open("b G")
		time.Sleep(dialsEnd)
		x.are("a other, a, a G2")
		x.logged(`group "G" went from b to a: 1 connection ended`)
		time.Sleep(time.Hour)
		choose("b")
		x.logged(`group "G" went from a to b: 0 connections ended`)
	})
}

func TestInterruptDrains(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		g := selectOf("G", "a b c")
		x.use(map[string]config.Interrupt{"G": {Close: true, After: 30 * time.Second}}, g)
		choose := func(to string) {
			_ = g.Select(to)
			x.poke()
			rest()
		}
		x.open("a G")
		choose("b")
		x.open("b G")
		time.Sleep(20 * time.Second)
		x.are("a G, b G")
		choose("a") // it comes back: what is on a stays, and b drains
		time.Sleep(15 * time.Second)
		x.are("a G, b G")
		x.logged(`group "G" went from a to b: 0 connections ended after 30s`)
		choose("b") // and leaves again: a drains anew, and b stays
		time.Sleep(16 * time.Second)
		x.are("a G, b G")
		x.logged(`group "G" went from b to a: 0 connections ended after 30s`)
		time.Sleep(14 * time.Second)
		x.are("b G")
		x.logged(`group "G" went from a to b: 1 connection ended after 30s`)

		// Two that are left one after the other each have their time.
		x.open("b G")
		choose("c")
		time.Sleep(10 * time.Second)
		x.open("c G")
		choose("a")
		time.Sleep(20 * time.Second)
		x.are("c G")
		time.Sleep(10 * time.Second)
		x.are("")
		x.logged(`group "G" went from b to c: 2 connections ended after 30s; group "G" went from c to a: 1 connection ended after 30s`)

		// One that is left, chosen again and left again has its time from then on, also what it carries since.
		x.open("a G")
		choose("b")
		time.Sleep(10 * time.Second)
		choose("a")
		time.Sleep(10 * time.Second)
		x.open("a G")
		choose("b")
		time.Sleep(20 * time.Second)
		x.are("a G, a G")
		time.Sleep(10 * time.Second)
		x.are("")
		x.logged(`group "G" went from a to b: 0 connections ended after 30s`, `group "G" went from b to a: 0 connections ended after 30s`,
			`group "G" went from a to b: 2 connections ended after 30s`)
		choose("a")
		time.Sleep(time.Minute)
		x.logged(`group "G" went from b to a: 0 connections ended after 30s`)

		// A change of mind about the policy holds for what is still to come.
		x.open("a G")
		choose("b")
		x.use(map[string]config.Interrupt{"G": {Close: true}}, g)
		rest()
		x.are("")
		x.logged(`group "G" went from a to b: 1 connection ended`)
		x.use(map[string]config.Interrupt{"G": {Close: true, After: time.Minute}}, g)
		x.open("b G")
		choose("c")
		x.use(nil, g)
		time.Sleep(time.Hour)
		x.are("b G")
		x.logged("")
	})
}

// TestInterruptShortDrains also end what was being dialed for longer than the drain.
func TestInterruptShortDrains(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		g := selectOf("G", "a b")
		x.use(map[string]config.Interrupt{"G": {Close: true, After: time.Second}}, g)
		x.open("a G")
		_ = g.Select("b")
		x.poke()
		time.Sleep(2 * time.Second)
		x.logged(`group "G" went from a to b: 1 connection ended after 1s`)
		x.open("a G")
		time.Sleep(dialsEnd)
		x.are("")
		x.logged(`group "G" went from a to b: 1 connection ended after 1s`)
	})
}

// TestInterruptOnReload: groups are new, by the same names, and so are policies.
func TestInterruptOnReload(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		closes := map[string]config.Interrupt{"G": {Close: true}}
		x.use(closes, selectOf("G", "a b"))
		x.logged("")
		x.open("a G")
		x.use(closes, selectOf("G", "a c"))
		rest()
		x.are("a G")
		x.use(closes, selectOf("G", "b a")) // its default is another
		rest()
		x.are("")
		x.logged(`group "G" went from a to b: 1 connection ended`)

		x.open("b G")
		x.use(nil, selectOf("G", "b a"))
		x.use(closes, selectOf("G", "a b")) // the policy is new, and so is the choice
		rest()
		x.are("")
		x.logged(`group "G" went from b to a: 1 connection ended`)

		x.open("a G")
		x.use(closes) // there is no such group any more
		rest()
		x.use(closes, selectOf("G", "b")) // it is another one
		time.Sleep(time.Hour)
		x.are("a G")
		x.use(closes, group.NewLoadBalance(group.Config{Name: "G", Members: groupMembers("a b")}))
		time.Sleep(time.Hour)
		x.are("a G")
		x.logged("")

		m := selectOf("G", "a b")
		x.use(closes, m)
		m.SetMembers(groupMembers("b c"))
		x.poke()
		rest()
		x.are("")
		x.logged(`group "G" went from a to b: 1 connection ended`)
	})
}

// TestInterruptHearsOfTests: a group that nobody uses decides anew when tests have found something, and
// nothing is listened to where no group with a policy decides by tests.
func TestInterruptHearsOfTests(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		list := groupMembers("a b")
		c := group.Config{Name: "U", Members: list, TestURL: "u", Tests: x.book}
		note := func(i int, delay uint16, err error) {
			x.book.Note(list[i].Info(), "u", time.Now(), delay, true, err)
		}
		closes := map[string]config.Interrupt{"U": {Close: true}, "G": {Close: true}}
		x.use(nil, group.NewURLTest(c))
		if x.deaf != nil {
			t.Error("listens for nobody")
		}
		x.use(closes, selectOf("G", "a b"))
		if x.deaf != nil {
			t.Error("listens for a choice that is made by hand")
		}
		for _, g := range []group.Group{group.NewURLTest(c), group.NewFallback(c)} {
			note(0, 10, nil)
			note(1, 20, nil)
			x.use(closes, g)
			rest()
			x.said()
			x.open("a U")
			note(1, 15, nil)
			rest()
			x.are("a U")
			note(0, 0, errors.New("dead"))
			rest()
			x.are("")
			x.logged(`group "U" went from a to b: 1 connection ended`)
			if err := g.(group.Pinner).Pin("a"); err != nil {
				t.Fatal(err)
			}
			note(0, 30, nil)
			rest()
			g.(group.Pinner).Unpin()
			x.poke()
			rest()
			x.said()
		}
		x.use(nil, group.NewURLTest(c))
		if x.deaf != nil || len(x.wake) > 1 {
			t.Error("still listens")
		}
	})
}

// TestInterruptRests between looks, however often it is poked, and for good where there is nothing to do.
func TestInterruptRests(t *testing.T) {
	interruptTest(t, func(t *testing.T, x *interrupting) {
		counted := func() int {
			synctest.Wait()
			return int(x.looks.Swap(0))
		}
		x.use(map[string]config.Interrupt{"G": {Close: true}}, selectOf("G", "a b"))
		time.Sleep(time.Second)
		counted()
		for range 1000 {
			x.poke()
			time.Sleep(time.Millisecond)
		}
		if n := counted(); n < 5 || n > 11 {
			t.Errorf("%d looks in a second", n)
		}
		time.Sleep(24 * time.Hour)
		if n := counted(); n > 1 {
			t.Errorf("%d looks in a day without anything", n)
		}
	})
}

// TestInterruptIsBounded: a choice that goes to and fro for a day is not remembered change by change.
func TestInterruptIsBounded(t *testing.T) {
	x := newInterrupts(track.NewTable(), health.NewBook(), slog.New(slog.DiscardHandler))
	g := selectOf("G", "a b")
	now := time.Now()
	ig := &interruptGroup{name: "G", group: g, now: "a", after: 24 * time.Hour}
	x.groups = append(x.groups, ig)
	for n := range 3 * maxDepartures {
		_ = g.Select([]string{"b", "a"}[n%2])
		x.turn(now.Add(time.Duration(n) * time.Second))
	}
	if len(ig.left) != maxDepartures {
		t.Errorf("%d are remembered", len(ig.left))
	}
	e := &track.Entry{Chain: []string{"b", "G"}}
	x.table.Open(e, func() {})
	if next := x.turn(now.Add(48 * time.Hour)); len(ig.left) != 0 || next >= 0 || e.Reason() == "" {
		t.Errorf("%d are left, the next in %v; %q", len(ig.left), next, e.Reason())
	}
}
