package group_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/group"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
)

func balance(k *known, s group.Strategy, words string) *group.LoadBalance {
	return group.NewLoadBalance(group.Config{
		Name: "LB", Members: members(words), TestURL: testURL, Tests: k, Strategy: s,
	})
}

func to(host string) *flow.Flow { return &flow.Flow{Network: flow.TCP, To: flow.Addr{Host: host}} }

func TestRoundRobin(t *testing.T) {
	k := new(known)
	g := balance(k, group.RoundRobin, "a b c+")
	f := func(learnt, want string) {
		t.Helper()
		k.learn(t, learnt)
		if got := picks(g, 6, nil); got != want {
			t.Errorf("%s: %s; want %s", learnt, got, want)
		}
	}
	f("", "a b c a b c")
	f("b=0", "a c a c a c")
	f("a=0 c=0", "a a a a a a") // all dead: the first
	f("b=1", "b b b b b b")
	f("a=1", "a b a b a b")
	k.learn(t, "c=1")
	if got := picks(g, 3, &flow.Flow{Network: flow.UDP}); got != "c c c" || !g.UDP() {
		t.Errorf("%s carries UDP, %v", got, g.UDP())
	}
	k.learn(t, "c=0") // better a dead one than one that cannot
	if got := picks(g, 2, &flow.Flow{Network: flow.UDP}); got != "c c" {
		t.Error(got)
	}
	if none := balance(k, group.RoundRobin, "a b"); none.UDP() {
		t.Error("UDP, which no member carries")
	}
}

// TestRoundRobinTakesTurns also when many ask at once.
func TestRoundRobinTakesTurns(t *testing.T) {
	g := balance(new(known), group.RoundRobin, "a b")
	var wait sync.WaitGroup
	counts := make([]int, 4)
	for i := range counts {
		wait.Go(func() {
			for range 250 {
				if name(g.Pick(nil)) == "a" {
					counts[i]++
				}
			}
		})
	}
	wait.Wait()
	if n := counts[0] + counts[1] + counts[2] + counts[3]; n != 500 {
		t.Errorf("a had %d of 1000 turns", n)
	}
}

func TestConsistentHashing(t *testing.T) {
	k := new(known)
	g := balance(k, group.ConsistentHashing, "a b c d e")
	same := func(hosts string) {
		t.Helper()
		got := map[string]bool{}
		for h := range strings.FieldsSeq(hosts) {
			got[name(g.Pick(to(h)))] = true
		}
		if len(got) != 1 {
			t.Errorf("%s: %v", hosts, got)
		}
	}
	for i := range 20 { // one member by chance is no proof
		same(fmt.Sprintf("site%d.test a.site%[1]d.test b.a.site%[1]d.test", i))
		same(fmt.Sprintf("site%d.co.uk www.site%[1]d.co.uk", i))
	}
	used := map[string]int{}
	for i := range 500 {
		used[name(g.Pick(to(fmt.Sprintf("s%d.co.uk", i))))]++ // co.uk is nobody's
		used[name(g.Pick(&flow.Flow{To: flow.Addr{IP: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})}}))]++
	}
	for m, n := range used {
		if n < 120 || n > 280 {
			t.Errorf("%s has %d of 1000", m, n)
		}
	}
	for _, odd := range []string{"localhost", "com", "co.uk", "192.0.2.1", "a"} {
		same(odd + " " + odd)
	}
	g.Pick(nil)
	g.Pick(to(""))
}

// TestHashingIsStable when members die and return: only the flows of the dead move, to all others, and
// they come back.
func TestHashingIsStable(t *testing.T) {
	k := new(known)
	g := balance(k, group.ConsistentHashing, "a b c d e")
	where := func() (at [500]string) {
		for i := range at {
			at[i] = name(g.Pick(to(fmt.Sprintf("s%d.test", i))))
		}
		return at
	}
	before := where()
	k.learn(t, "b=0")
	after := where()
	took := map[string]int{}
	for i := range before {
		switch {
		case after[i] == "b":
			t.Fatal("a dead member has flows")
		case before[i] == "b":
			took[after[i]]++
		case before[i] != after[i]:
			t.Errorf("%s moved to %s", before[i], after[i])
		}
	}
	if len(took) != 4 {
		t.Errorf("who took over: %v", took)
	}
	k.learn(t, "b=1")
	if where() != before {
		t.Error("not as before")
	}
	k.learn(t, "a=0 b=0 c=0 e=0")
	for _, m := range where() {
		if m != "d" {
			t.Fatalf("%s; d alone is alive", m)
		}
	}
	k.learn(t, "d=0")
	if where()[7] != "a" {
		t.Error("all dead: the first")
	}
}

// TestHashingGrows moves about one part in six to a sixth member, and nothing among the others.
func TestHashingGrows(t *testing.T) {
	few, more := balance(new(known), 0, "a b c d e"), balance(new(known), 0, "a b c d e f")
	moved := 0
	for i := range 600 {
		f := to(fmt.Sprintf("s%d.test", i))
		x, y := name(few.Pick(f)), name(more.Pick(f))
		if x == y {
			continue
		}
		if moved++; y != "f" {
			t.Errorf("from %s to %s", x, y)
		}
	}
	if moved < 60 || moved > 140 {
		t.Errorf("%d of 600 moved", moved)
	}
}

func session(source byte, host string) *flow.Flow {
	f := to(host)
	f.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, source}), 4000)
	return f
}

func TestStickySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(known)
		g := balance(k, group.StickySessions, "a b c d")
		f := session(1, "www.a.test")
		home := name(g.Pick(f))
		if again := name(g.Pick(session(1, "b.a.test"))); again != home {
			t.Errorf("%s and %s for one source and site", home, again)
		}
		others := map[string]bool{}
		for i := range byte(50) {
			others[name(g.Pick(session(i, "a.test")))] = true
		}
		if len(others) != 4 {
			t.Errorf("all sources together use %v", others)
		}

		k.learn(t, home+"=0")
		second := name(g.Pick(f))
		if second == home {
			t.Fatal("dead")
		}
		k.learn(t, home+"=1")
		stays := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			if got := name(g.Pick(f)); got != want {
				t.Errorf("%s after %v; want %s", got, after, want)
			}
		}
		stays(0, second) // who has moved stays
		stays(9*time.Minute, second)
		stays(10*time.Minute-time.Nanosecond, second)
		stays(10*time.Minute, home) // until ten minutes without a flow are over

		k.learn(t, home+"=0")
		stays(0, second)
		k.learn(t, home+"=1")
		for i := range 999 {
			g.Pick(session(byte(i), fmt.Sprintf("s%d.test", i)))
		}
		stays(0, second) // 1000 are remembered, and this one was used now
		for i := range 1000 {
			g.Pick(session(byte(i), fmt.Sprintf("t%d.test", i)))
		}
		stays(0, home) // others have taken its place

		k.learn(t, home+"=0")
		stays(0, second)
		k.learn(t, home+"=1")
		g.SetMembers(members("x y " + second + " " + home))
		stays(0, second) // by its name
		g.SetMembers(members("x"))
		stays(0, "x")
	})
}

// TestManyGroupsInGroups asks groups in groups, in very many ways to nodes that carry no UDP, for UDP:
// the answer comes soon, and it is the dial's to find out.
func TestManyGroupsInGroups(t *testing.T) {
	list := members("a b")
	for i := range 40 {
		list = append(list, group.NewLoadBalance(group.Config{Name: fmt.Sprint(i), Members: list[:len(list):len(list)]}))
	}
	top := list[len(list)-1].(*group.LoadBalance)
	if !top.UDP() {
		t.Error("who does not know says yes")
	}
	if m := top.Pick(&flow.Flow{Network: flow.UDP}); m == nil {
		t.Error("nobody")
	}
	if few := list[5].(*group.LoadBalance); few.UDP() {
		t.Error("few ways are all looked at")
	}
}

func TestParseStrategy(t *testing.T) {
	for _, s := range []group.Strategy{group.ConsistentHashing, group.RoundRobin, group.StickySessions} {
		if got, ok := group.ParseStrategy(s.String()); got != s || !ok {
			t.Error(s)
		}
	}
	if s, ok := group.ParseStrategy(""); s != group.ConsistentHashing || !ok {
		t.Error("the default")
	}
	if _, ok := group.ParseStrategy("random"); ok {
		t.Error("random")
	}
	var _ outbound.Outbound = balance(nil, 0, "a")
}
