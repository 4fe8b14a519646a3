package group_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

// TestPeek: who only looks is told what Pick would say, takes no turn, remembers nothing and is no use.
func TestPeek(t *testing.T) {
	k := new(known)
	k.learn(t, "a=30 b=20 c=10")
	c := func(s group.Strategy) group.Config {
		return group.Config{Name: "G", Members: members("a b c"), TestURL: testURL, Tests: k, Strategy: s}
	}
	turns := group.NewLoadBalance(c(group.RoundRobin))
	groups := []group.Group{
		group.NewSelect(c(0)), group.NewURLTest(c(0)), group.NewFallback(c(0)),
		group.NewLoadBalance(c(group.ConsistentHashing)), turns, group.NewLoadBalance(c(group.StickySessions)),
		relay(append(nodes("p"), group.NewLoadBalance(group.Config{Strategy: group.RoundRobin, Members: nodes("x y")}))...),
	}
	f := session(7, "a.test")
	for _, g := range groups {
		for range 5 {
			first := chain(t, peeks{g}, f)
			if again := chain(t, peeks{g}, f); again != first {
				t.Errorf("%T: %s and %s", g, first, again)
			}
			if !g.LastUsed().IsZero() {
				t.Errorf("%T: used", g)
			}
		}
	}
	for _, g := range groups {
		for range 3 {
			if first, then := chain(t, peeks{g}, f), chain(t, g, f); first != then {
				t.Errorf("%T: %s was said, and it is %s", g, first, then)
			}
		}
	}
	if got := picks(turns, 3, f); got != "a b c" {
		t.Error(got)
	}
}

// peeks is a group that is only looked at.
type peeks struct{ outbound.Outbound }

func (p peeks) Pick(f *flow.Flow) outbound.Outbound {
	next := p.Outbound.(interface {
		Peek(f *flow.Flow) outbound.Outbound
	}).Peek(f)
	if _, more := next.(interface {
		Peek(f *flow.Flow) outbound.Outbound
	}); more {
		return peeks{next}
	}
	return next
}

// TestPeekKeepsNoSession: a source and its target are not kept together for being asked about.
func TestPeekKeepsNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(known)
		g := balance(k, group.StickySessions, "a b c d")
		f := session(1, "a.test")
		home := name(g.Peek(f))
		k.learn(t, home+"=0")
		if name(g.Peek(f)) == home {
			t.Fatal("dead")
		}
		k.learn(t, home+"=1")
		if got := name(g.Pick(f)); got != home {
			t.Errorf("%s: to ask was remembered", got)
		}
		k.learn(t, home+"=0")
		second := name(g.Pick(f))
		k.learn(t, home+"=1")
		time.Sleep(9 * time.Minute)
		if got := name(g.Peek(f)); got != second {
			t.Errorf("%s; who has moved stays", got)
		}
		time.Sleep(time.Minute)
		if got := name(g.Pick(f)); got != home {
			t.Errorf("%s: to ask has made it last longer", got)
		}
	})
}
