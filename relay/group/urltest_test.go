package group_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func urlTest(k *known, words string, tolerance time.Duration) *group.URLTest {
	return group.NewURLTest(group.Config{
		Name: "Auto", Members: members(words), TestURL: testURL, Tests: k, Tolerance: tolerance,
	})
}

// TestURLTestTolerance goes through sequences of what is learnt, each followed by the choice then.
func TestURLTestTolerance(t *testing.T) {
	f := func(tolerance int, sequence string) {
		t.Helper()
		k := new(known)
		g := urlTest(k, "a b c", time.Duration(tolerance)*time.Millisecond)
		for step := range strings.SplitSeq(sequence, ",") {
			learnt, want, _ := strings.Cut(step, ":")
			k.learn(t, learnt)
			if got := name(g.Pick(nil)); got != want || name(g.Now()) != want {
				t.Errorf("tolerance %d, %s: %s is picked after %q; want %s", tolerance, sequence, got, learnt, want)
			}
		}
	}
	f(0, ":a")                               // nobody has measured: the first
	f(0, "a=30 b=20 c=40:b")                 // the fastest
	f(0, "a=20 b=20:a,a=21:b,a=20:b,b=21:a") // as fast is not faster
	f(50, "a=30 b=20:b,a=19 b=68:b,b=69:b,b=70:a")
	f(50, "a=100 b=150:a,a=0:b,a=100:b,a=99:a") // back alive, and then faster by more than the tolerance
	f(50, "a=100 b=300:a,a=0:b,a=100:a")
	f(50, "b=20:b,a=0 b=0 c=0:a,c=30:c") // all dead: the first
	f(50, "a=0 b=0:c,b=90:b")            // c is alive but not measured
	f(65535, "a=65000:a,b=1:a")
}

func TestURLTestPin(t *testing.T) {
	k := new(known)
	g := urlTest(k, "a b c", 0)
	now := func(want, fixed string) {
		t.Helper()
		if got := name(g.Pick(nil)); got != want || g.Fixed() != fixed {
			t.Errorf("%s, fixed %q; want %s, %q", got, g.Fixed(), want, fixed)
		}
	}
	k.learn(t, "a=10 b=20 c=0")
	now("a", "")
	if _, ok := g.Wish(); ok {
		t.Error("nobody has wished for anything")
	}
	if err := g.Pin("x"); !errors.Is(err, group.ErrNoMember) {
		t.Error(err)
	}
	now("a", "")
	if err := g.Pin("b"); err != nil {
		t.Fatal(err)
	}
	now("b", "b") // at once, though nothing was learnt
	_ = g.Pin("c")
	now("a", "c") // a dead pin stays, and is of no effect
	k.learn(t, "c=900")
	now("c", "c")
	k.learn(t, "c=0")
	now("a", "c")
	g.Unpin()
	now("a", "")
	if wish, ok := g.Wish(); wish != "" || !ok {
		t.Errorf("wish %q, %v: a pin was taken out, which is to be remembered", wish, ok)
	}
	g.SetWish("later") // comes true when it is there
	now("a", "later")
	g.SetMembers(members("a later"))
	now("later", "later")
	g.SetMembers(members("a b"))
	now("a", "later")
	g.SetMembers(nil)
	now("a", "later") // there is never nobody
}

// TestURLTestKeepsWhatItHas across a change of members: the current one by its name, unless it is gone.
func TestURLTestKeepsWhatItHas(t *testing.T) {
	k := new(known)
	g := urlTest(k, "a b", 50*time.Millisecond)
	k.learn(t, "a=10 b=40 c=20")
	k.learn(t, "a=0")
	if got := name(g.Pick(nil)); got != "b" {
		t.Fatal(got)
	}
	k.learn(t, "a=10")
	next := members("c a b")
	g.SetMembers(next)
	if got := g.Pick(nil); got != next[2] || names(g.Members()) != "c a b" {
		t.Errorf("%s of %s", name(got), names(g.Members()))
	}
	g.SetMembers(members("c a"))
	if got := name(g.Pick(nil)); got != "a" {
		t.Errorf("%s; b is gone", got)
	}
}

// TestURLTestFollows another of its name: the member that was taken stays within the tolerance.
func TestURLTestFollows(t *testing.T) {
	k := new(known)
	old := urlTest(k, "a b c", 50*time.Millisecond)
	k.learn(t, "a=10 b=40 c=90")
	next := func(tolerance int, from outbound.Outbound, words, want string) {
		t.Helper()
		g := urlTest(k, words, time.Duration(tolerance)*time.Millisecond)
		g.Follow(from)
		if got := name(g.Pick(nil)); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	next(50, old, "a b c", "a") // old has taken nobody
	k.learn(t, "a=0")
	old.Pick(nil)
	k.learn(t, "a=10")
	next(50, old, "a b c", "b")
	next(60, old, "c b", "b")
	next(20, old, "a b c", "a") // it is slower by more
	next(50, old, "a c", "a")   // it is gone
	next(50, nil, "a b c", "a")
	next(50, (*group.URLTest)(nil), "a b c", "a")
	next(50, group.NewFallback(group.Config{Members: members("b")}), "a b c", "a")

	_ = old.Pin("c") // a pin is carried over by who made it
	old.Pick(nil)
	next(50, old, "a b c", "b")

	used := urlTest(k, "a b c", 50*time.Millisecond)
	used.Pick(nil)
	used.Follow(old) // too late
	k.learn(t, "")
	if got := name(used.Pick(nil)); got != "a" {
		t.Error(got)
	}
}

// TestDecisionsAreKept until something is learnt, or for ten seconds.
func TestDecisionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(known)
		for _, g := range []pinner{
			urlTest(k, "a b", 0),
			group.NewFallback(group.Config{Members: members("a b"), TestURL: testURL, Tests: k}),
		} {
			k.learn(t, "a=10 b=20")
			if !g.LastUsed().IsZero() {
				t.Error("used before it was")
			}
			g.Now()
			if !g.LastUsed().IsZero() {
				t.Error("who looks does not use")
			}
			f := func(after time.Duration, want string) {
				t.Helper()
				time.Sleep(after)
				asked := k.asked.Load()
				got := name(g.Pick(nil))
				if got != want {
					t.Errorf("%T: %s; want %s", g, got, want)
				}
				if again := k.asked.Load(); got == "a" && again != asked {
					t.Errorf("%T: the tests were asked %d times", g, again-asked)
				}
				if ago := time.Since(g.LastUsed()); ago < 0 || ago >= time.Second {
					t.Errorf("%T: used %v ago", g, ago)
				}
			}
			f(0, "a")
			k.forget(t, "a=0")
			f(9900*time.Millisecond, "a")
			f(100*time.Millisecond, "b")
		}
	})
}

// TestNestedGroups judges a group that is a member by the tests of itself.
func TestNestedGroups(t *testing.T) {
	k := new(known)
	inner := group.NewSelect(group.Config{Name: "Inner", Members: members("x y+")})
	g := group.NewURLTest(group.Config{
		Members: append(members("a"), inner), TestURL: testURL, Tests: k,
	})
	k.learn(t, "a=30 Inner=20 x=0")
	if g.Pick(nil) != outbound.Outbound(inner) || g.UDP() {
		t.Errorf("%s, UDP %v", name(g.Pick(nil)), g.UDP())
	}
	if !inner.LastUsed().IsZero() {
		t.Error("the engine asks the inner group itself")
	}
	_ = inner.Select("y")
	if !g.UDP() {
		t.Error("the inner choice carries UDP")
	}
	k.learn(t, "Inner=0")
	if name(g.Pick(nil)) != "a" {
		t.Error("the group is dead, whatever its members are")
	}
	k.learn(t, "Inner=1")
	if _, err := g.Dial(t.Context(), &flow.Flow{}); err == nil || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("dialed something else: %v", err)
	}
	if inner.LastUsed().IsZero() {
		t.Error("a dial goes through the inner group")
	}
}

func TestUntested(t *testing.T) {
	for _, g := range []group.Group{
		group.NewURLTest(group.Config{Members: members("a+ b")}),
		group.NewFallback(group.Config{Members: members("a+ b")}),
	} {
		if got := picks(g, 3, nil); got != "a a a" || !g.UDP() {
			t.Errorf("%T: %s, UDP %v", g, got, g.UDP())
		}
	}
}

// TestConcurrent is for the race detector: everything at once, and every pick is a member.
func TestConcurrent(t *testing.T) {
	k := new(known)
	config := func(s group.Strategy) group.Config {
		return group.Config{Members: members("a b+ c"), TestURL: testURL, Tests: k, Check: func() {}, Strategy: s, MaxFailed: 2}
	}
	groups := []group.Group{
		group.NewURLTest(config(0)), group.NewFallback(config(0)), group.NewSelect(config(0)), group.NewRelay(config(0)),
		group.NewLoadBalance(config(group.ConsistentHashing)), group.NewLoadBalance(config(group.RoundRobin)),
		group.NewLoadBalance(config(group.StickySessions)),
	}
	var wait sync.WaitGroup
	for _, g := range groups {
		for range 2 {
			wait.Go(func() {
				f := &flow.Flow{Network: flow.UDP, To: flow.Addr{Host: "a.test"}}
				for range 200 {
					m := g.Pick(f)
					if n := name(m); n != "a" && n != "b" && n != "c" {
						t.Errorf("%T picks %q", g, n)
					}
					g.UDP()
					group.Tell([]outbound.Outbound{g, m}, errors.New("no"))
					group.Tell([]outbound.Outbound{g, m}, nil)
				}
			})
		}
		wait.Go(func() {
			for i := range 100 {
				k.learn(t, []string{"a=0", "a=5", "b=1", "b=0"}[i%4])
				g.SetMembers(members([]string{"a b c", "c b+ a", "b+"}[i%3]))
				if p, ok := g.(pinner); ok {
					p.SetWish("b")
					p.Fixed()
					p.Unpin()
				}
				if s, ok := g.(*group.Select); ok {
					_ = s.Select("a")
					s.Wish()
				}
				g.LastUsed()
			}
		})
	}
	wait.Wait()
}
