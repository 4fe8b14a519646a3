package rule

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestOracleOnRealLists compares programs with the oracle on lists of the family, which are no part of
// this repository: SWITCHYARD_DATA names their folder.
func TestOracleOnRealLists(t *testing.T) {
	dir := filepath.Join(cmp.Or(os.Getenv("SWITCHYARD_DATA"), filepath.Join("..", "..", "..", "shared", "data")), "rulesets")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no real lists: %v", err)
	}
	w := &world{Rand: rand.New(rand.NewPCG(3, 5))}
	w.o.sets = make(map[string]*oracleSet)
	made := make(map[string]*Set)
	lines := func(name, behavior, file string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		w.o.sets[name] = &oracleSet{behavior, strings.Fields(string(data))}
		made[name] = new(Set)
		return data
	}
	for _, name := range []string{"google", "category-ads-all", "private", "cn"} {
		d, bad, err := ruleset.ReadDomains(lines(name, "domain", "domain/"+name+".list"), ruleset.Text)
		if err != nil || bad.Total > 0 {
			t.Fatal(err, bad)
		}
		made[name].Replace(&Content{Domains: d, Count: d.Len()})
	}
	for _, name := range []string{"telegram", "cn", "private"} {
		p, bad, err := ruleset.ReadPrefixes(lines("ip-"+name, "ipcidr", "ipcidr/"+name+".list"), ruleset.Text)
		if err != nil || bad.Total > 0 {
			t.Fatal(err, bad)
		}
		made["ip-"+name].Replace(&Content{Prefixes: p, Count: p.Len()})
	}
	lines("gfw", "classical", "classical/gfw.list")
	var classical []Rule
	for _, l := range w.o.sets["gfw"].lines {
		r, err := ParseCondition(l)
		if err != nil {
			t.Fatal(l, err)
		}
		classical = append(classical, r)
	}
	p := CompileSet(classical, nil, func(i int, err error) { t.Fatal(classical[i], err) })
	made["gfw"].Replace(&Content{Rules: p, Count: p.Len()})

	var rules []Rule
	for _, name := range []string{"private", "category-ads-all", "google", "gfw", "ip-telegram", "ip-private", "cn", "ip-cn"} {
		rules = append(rules, Rule{Type: "RULE-SET", Payload: name, Target: name})
	}
	program, errs := Compile(rules, &Env{RuleSet: func(name string) (*Set, error) { return made[name], nil }})
	if errs != nil {
		t.Fatal(errs[0])
	}
	held, flows := make(map[string]int), 400
	if testkit.Race {
		flows = 150
	}
	for n := range flows {
		f := flow.Flow{Network: flow.TCP, Source: netip.MustParseAddrPort("10.0.0.1:1"), To: flow.Addr{Port: 443}, LookedUp: true}
		switch n % 3 {
		case 0:
			f.To.IP = w.addrNear("ip-telegram", "ip-cn", "ip-private")
		default:
			f.To.Host = w.hostNear("google", "category-ads-all", "cn", "gfw", "private")
		}
		got := program.Match(&f, 0)
		want, target, _ := w.o.walk(rules, &facts{Flow: f}, 0)
		if got.Rule != want {
			t.Errorf("%+v: rule %d, want %d", f.To, got.Rule, want)
		}
		held[target]++
	}
	t.Log(held)
	if len(held) < 7 {
		t.Errorf("the flows meet only %v", held)
	}
}

// hostNear is an entry of one of the sets, or a name beside, above or below it.
func (w *world) hostNear(sets ...string) string {
	line := pick(w, w.o.sets[pick(w, sets...)].lines...)
	if _, payload, ok := strings.Cut(line, ","); ok {
		line, _, _ = strings.Cut(payload, ",")
	}
	host := strings.TrimLeft(strings.ReplaceAll(strings.ToLower(line), "*", "x"), "+.")
	switch w.IntN(5) {
	case 0:
		return "www." + host
	case 1:
		return "x" + host
	case 2:
		if _, above, ok := strings.Cut(host, "."); ok {
			return above
		}
	}
	return host
}

// addrNear is an address at the edge of an entry of one of the sets.
func (w *world) addrNear(sets ...string) netip.Addr {
	p := netip.MustParsePrefix(pick(w, w.o.sets[pick(w, sets...)].lines...))
	a := p.Masked().Addr()
	switch w.IntN(3) {
	case 0:
		if before := a.Prev(); before.IsValid() {
			return before
		}
	case 1:
		return a.Next()
	}
	return a
}
