package group_test

import (
	"errors"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
)

func TestFallback(t *testing.T) {
	k := new(known)
	g := group.NewFallback(group.Config{Name: "Fall", Members: members("a b c"), TestURL: testURL, Tests: k})
	now := func(want, fixed string) {
		t.Helper()
		if got := name(g.Pick(nil)); got != want || g.Fixed() != fixed {
			t.Errorf("%s, fixed %q; want %s, %q", got, g.Fixed(), want, fixed)
		}
	}
	now("a", "")
	k.learn(t, "a=0 b=900 c=1")
	now("b", "") // order counts, not speed
	k.learn(t, "a=900")
	now("a", "")
	if err := g.Pin("c"); err != nil {
		t.Fatal(err)
	}
	now("c", "c")
	k.learn(t, "c=0")
	now("a", "") // the pin of a dead member goes
	k.learn(t, "c=1")
	now("a", "")
	if wish, ok := g.Wish(); wish != "" || !ok {
		t.Errorf("wish %q, %v: what death took out stays out", wish, ok)
	}
	_ = g.Pin("b")
	k.learn(t, "b=0")
	if fixed := g.Fixed(); fixed != "" {
		t.Errorf("fixed %q, before anybody picked", fixed)
	}
	k.learn(t, "a=0 c=0")
	now("a", "") // all dead: the first
	if err := g.Pin("x"); !errors.Is(err, group.ErrNoMember) {
		t.Error(err)
	}
	g.SetWish("later")
	now("a", "later") // not found dead, only not found
	k.learn(t, "a=1")
	g.SetMembers(members("b later a"))
	now("later", "later")
	g.Unpin()
	k.learn(t, "later=0")
	now("a", "")

	mute := group.NewFallback(group.Config{Members: members("a+"), DisableUDP: true})
	if _, err := mute.DialPacket(t.Context(), &flow.Flow{}); mute.UDP() || !errors.Is(err, flow.ErrNoUDP) {
		t.Errorf("disable-udp: %v", err)
	}
	outer := group.NewFallback(group.Config{Members: members("z")})
	outer.SetMembers(append(mute.Members()[:0:0], mute))
	if _, err := outer.DialPacket(t.Context(), &flow.Flow{}); outer.UDP() || !errors.Is(err, flow.ErrNoUDP) {
		t.Errorf("disable-udp of a group inside: %v", err)
	}
}

// TestUnpinned tells that a pin is lost, once, with no lock held, and of nothing that somebody did.
func TestUnpinned(t *testing.T) {
	k := new(known)
	told := 0
	c := group.Config{Name: "Fall", Members: members("a b c"), TestURL: testURL, Tests: k}
	var g *group.Fallback
	c.Unpinned = func() {
		told++
		if g.Fixed() != "" {
			t.Error("told of a pin that is there")
		}
	}
	g = group.NewFallback(c)
	f := func(want int, what string) {
		t.Helper()
		for range 3 {
			g.Pick(nil)
			g.Now()
		}
		if told != want {
			t.Errorf("%s: told %d times; want %d", what, told, want)
		}
		told = 0
	}
	_ = g.Pin("b")
	k.learn(t, "a=1 b=1")
	f(0, "alive")
	k.learn(t, "b=0")
	f(1, "dead")
	k.learn(t, "b=1")
	f(0, "alive again")
	_ = g.Pin("c")
	g.Unpin()
	k.learn(t, "c=0")
	f(0, "taken out by hand")
	g.SetWish("gone")
	g.SetMembers(members("a"))
	f(0, "no member now")

	u := group.NewURLTest(c)
	k.learn(t, "a=1 b=0")
	_ = u.Pin("b")
	u.Pick(nil)
	if told != 0 {
		t.Error("the pin of an url-test waits for its member")
	}
}
