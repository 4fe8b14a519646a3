package group_test

import (
	"errors"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func member(name string, udp bool) outbound.Outbound {
	return outbound.NewUnbuilt(outbound.Info{Name: name, UDP: udp}, "x")
}

func TestSelect(t *testing.T) {
	g := group.NewSelect(group.Config{
		Name: "G", Members: []outbound.Outbound{member("a", false), member("b", true)}, Default: "b",
	})
	now := func(want string, udp bool) {
		t.Helper()
		if g.Now().Info().Name != want || g.Pick(nil) != g.Now() || g.UDP() != udp {
			t.Errorf("%s, UDP %v; want %s, %v", g.Now().Info().Name, g.UDP(), want, udp)
		}
	}
	now("b", true)
	if err := g.Select("a"); err != nil {
		t.Fatal(err)
	}
	now("a", false)
	if err := g.Select("c"); !errors.Is(err, group.ErrNoMember) {
		t.Error(err)
	}
	now("a", false) // a wrong choice changes nothing

	if wish, ok := g.Wish(); !ok || wish != "a" {
		t.Errorf("wish %q, %v", wish, ok)
	}

	later := group.NewSelect(group.Config{Name: "L", Members: []outbound.Outbound{member("a", false)}})
	if _, ok := later.Wish(); ok {
		t.Error("a default is no wish")
	}
	later.SetWish("not yet") // comes true where it is a member
	if wish, _ := later.Wish(); wish != "not yet" || later.Now().Info().Name != "a" {
		t.Errorf("wish %q, now %q", wish, later.Now().Info().Name)
	}

	outer := group.NewSelect(group.Config{Name: "O", Members: []outbound.Outbound{g}, Default: "gone"})
	if outer.Now() != outbound.Outbound(g) || outer.UDP() {
		t.Error("an unknown default is the first member, and UDP is what the leaf can")
	}
	_ = g.Select("b")
	if !outer.UDP() {
		t.Error("the inner choice decides about UDP")
	}
	mute := group.NewSelect(group.Config{Name: "M", Members: []outbound.Outbound{g}, DisableUDP: true})
	if _, err := mute.DialPacket(t.Context(), &flow.Flow{}); mute.UDP() || !errors.Is(err, flow.ErrNoUDP) {
		t.Errorf("disable-udp: %v", err)
	}
}
