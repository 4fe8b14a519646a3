package relay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// newTestRelay is a relay that serves nothing, with a home directory.
func newTestRelay(t *testing.T) *Relay {
	t.Helper()
	home := t.TempDir()
	hub := logs.NewHub(io.Discard, slog.LevelInfo)
	return New(hub, state.New(filepath.Join(home, state.FileName), hub.Logger()), Source{Paths: config.Paths{Home: home}})
}

// built builds a configuration beside prev.
func (r *Relay) built(t *testing.T, prev *Running, text string) *Running {
	t.Helper()
	c, _, err := r.source.parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.build(c, prev, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReloadsForget changes the rule providers again and again: what is gone is not held by what is
// there, one kept provider included.
func TestReloadsForget(t *testing.T) {
	leak.Check(t)
	r := newTestRelay(t)
	text := func(n int) string {
		return fmt.Sprintf("rule-providers:\n  stays: {type: inline, behavior: domain, payload: [a.test]}\n"+
			"  changes: {type: inline, behavior: domain, payload: [b%d.test]}\nrules: ['RULE-SET,stays,DIRECT', 'RULE-SET,changes,DIRECT']\n", n)
	}
	now := r.built(t, nil, text(0))
	gone := []weak.Pointer[Running]{weak.Make(now)}
	for n := range 5 {
		next := r.built(t, now, text(n+1))
		if next.ruleSets["stays"] != now.ruleSets["stays"] || next.ruleSets["changes"] == now.ruleSets["changes"] {
			t.Fatal("the wrong provider is kept")
		}
		gone = append(gone, weak.Make(next))
		now = next
	}
	for end := time.Now().Add(5 * time.Second); ; {
		runtime.GC()
		left := 0
		for _, p := range gone[:len(gone)-1] {
			if p.Value() != nil {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d configurations are held", left, len(gone)-1)
		}
	}
	runtime.KeepAlive(now)
}

// TestProviderFiles gives each provider that is downloaded a file of its own.
func TestProviderFiles(t *testing.T) {
	r := newTestRelay(t)
	n := r.built(t, nil, "rule-providers:\n  a: {type: http, behavior: domain, url: 'http://127.0.0.1:1/x'}\n"+
		"  b: {type: http, behavior: ipcidr, url: 'http://127.0.0.1:1/x'}\n  c: {type: http, behavior: domain, url: 'http://127.0.0.1:1/y', path: y}\n")
	seen := make(map[string]bool)
	for _, p := range n.RuleProviders {
		if p.path == "" || seen[p.path] {
			t.Errorf("%s: %q", p.config.Name, p.path)
		}
		seen[p.path] = true
	}
	c, _, err := r.source.parse("test", []byte("rule-providers:\n  a: {type: http, behavior: domain, url: 'http://127.0.0.1:1/x', path: p}\n  b: {type: file, behavior: domain, path: ./p}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.build(c, nil, nil); err == nil || !strings.Contains(err.Error(), `is the file of the rule provider "a" already`) {
		t.Error(err)
	}
}

// TestForbiddenFiles keeps rule providers off the daemon's own files.
func TestForbiddenFiles(t *testing.T) {
	r := newTestRelay(t)
	home := r.source.Paths.Home
	r.source.File = filepath.Join(home, "config.yaml")
	if err := os.WriteFile(filepath.Join(home, "key.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(kind, path, want string) {
		t.Helper()
		c, _, err := r.source.parse("test", fmt.Appendf(nil, "tls: {certificate: key.pem, private-key: ./key.pem}\n"+
			"rule-providers:\n  p: {type: %s, behavior: domain, url: 'http://127.0.0.1:1/x', path: %q}\n", kind, path))
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.build(c, nil, nil)
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%s %s: %s; want %s", kind, path, got, want)
		}
	}
	for _, kind := range []string{"http", "file"} {
		f(kind, "config.yaml", "is a file of the daemon's own")
		f(kind, "Cache.DB", "is a file of the daemon's own")
		f(kind, "./controller.secret", "is a file of the daemon's own")
		f(kind, "geosite.dat", "is a file of the daemon's own")
		f(kind, filepath.Join(home, "key.pem"), "is a file of the daemon's own")
		f(kind, "list.compiled", "compiled set")
		f(kind, ".", "is a directory")
		f(kind, "list.yaml", "<nil>")
	}
}

// TestKeysAreNoRuleSets: nothing of a key is quoted, whatever its file is called.
func TestKeysAreNoRuleSets(t *testing.T) {
	r := newTestRelay(t)
	if err := os.WriteFile(filepath.Join(r.source.Paths.Home, "list"), []byte("-----BEGIN PRIVATE KEY-----\nhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := r.built(t, nil, "rule-providers:\n  p: {type: file, behavior: domain, format: text, path: list}\n")
	i := n.RuleProviders[0].info()
	if i.Err == nil || i.Warnings.Total > 0 || strings.Contains(fmt.Sprint(i.Err), "hunter2") {
		t.Errorf("%+v", i)
	}
}

// TestNamelessSubRules once ended the process.
func TestNamelessSubRules(t *testing.T) {
	r := newTestRelay(t)
	_, _, err := r.source.parse("test", []byte("rules: ['MATCH,DIRECT']\nsub-rules: {'': ['MATCH,DIRECT','IP-CIDR,x,DIRECT','IP-CIDR,y,DIRECT']}\n"))
	if err == nil || !strings.Contains(err.Error(), "want a name for the sub-rules") {
		t.Error(err)
	}
}

// putSites writes a GeoSite.dat with so many names in each list: a.test, b.test and so on.
func putSites(t *testing.T, r *Relay, lists map[string]int) {
	t.Helper()
	data := ""
	for list, n := range lists {
		entry := "\x0a" + string(rune(len(list))) + list
		for i := range n {
			entry += "\x12\x0a\x08\x03\x12\x06" + string(rune('a'+i)) + ".test"
		}
		data += "\x0a" + string(rune(len(entry))) + entry
	}
	if err := os.WriteFile(filepath.Join(r.source.Paths.Home, "GeoSite.dat"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run makes a configuration the one that runs, and looks at the geo data.
func (r *Relay) run(t *testing.T, text string) *Running {
	t.Helper()
	n := r.built(t, r.current.Load(), text)
	r.current.Store(n)
	r.geo.catchUp()
	return n
}

// sizes are the numbers of entries of the lists that rules refer to.
func sizes(n *Running) (all []int) {
	for i := range n.Program.Len() {
		all = append(all, n.Program.Info(i).Size)
	}
	return all
}

// TestSetsKnowTheirFile: rules are given what the file has, also when it is put there or changed by
// hand, and when they come, go and come back meanwhile.
func TestSetsKnowTheirFile(t *testing.T) {
	r := newTestRelay(t)
	f := func(n *Running, want ...int) {
		t.Helper()
		r.geo.catchUp()
		if got := sizes(n); !slices.Equal(got, want) {
			t.Errorf("%v; want %v", got, want)
		}
	}
	const both, two = "rules: ['GEOSITE,one,DIRECT', 'GEOSITE,two,DIRECT']\n", "rules: ['GEOSITE,two,DIRECT']\n"
	n := r.run(t, both)
	f(n, 0, 0)
	putSites(t, r, map[string]int{"ONE": 1, "TWO": 1})
	f(n, 1, 1)
	n = r.run(t, two)
	putSites(t, r, map[string]int{"ONE": 3, "TWO": 3})
	f(n, 3)
	f(r.run(t, both), 3, 3)
	putSites(t, r, map[string]int{"TWO": 2})
	f(r.run(t, "rules: ['GEOSITE,one,DIRECT', 'GEOSITE,two,DIRECT', 'GEOSITE,three,DIRECT']\n"), 0, 2, 0)
}

// TestUnusedProviderKeepsItsSets: a rule set that no rule names for long is as good as before when one
// does again.
func TestUnusedProviderKeepsItsSets(t *testing.T) {
	r := newTestRelay(t)
	const provider = "rule-providers:\n  c: {type: inline, behavior: classical, payload: ['GEOSITE,one']}\n"
	r.run(t, provider+"rules: ['GEOSITE,gone,DIRECT', 'MATCH,DIRECT']\n")
	r.run(t, provider+"rules: ['MATCH,DIRECT']\n")
	for _, s := range r.geo.sets {
		s.asked = s.asked.Add(-keepUnused - time.Second)
	}
	r.geo.forget()
	if len(r.geo.sets) != 1 {
		t.Errorf("%d sets are kept", len(r.geo.sets))
	}
	n := r.run(t, provider+"rules: ['RULE-SET,c,REJECT', 'MATCH,DIRECT']\n")
	putSites(t, r, map[string]int{"ONE": 1})
	r.geo.catchUp()
	fl := flow.Flow{To: flow.Addr{Host: "a.test"}}
	if hit := n.Program.Match(&fl, 0); hit.Rule != 0 {
		t.Errorf("%+v", hit)
	}
}

// TestKeptProviderLosesItsFile: a file that has come to be the daemon's own is a rule set's no longer.
func TestKeptProviderLosesItsFile(t *testing.T) {
	r := newTestRelay(t)
	const provider = "rule-providers:\n  p: {type: http, behavior: domain, url: 'http://127.0.0.1:1/x', path: key.pem}\nrules: ['RULE-SET,p,DIRECT']\n"
	n := r.run(t, provider)
	c, _, err := r.source.parse("test", []byte("tls: {certificate: key.pem, private-key: key.pem}\n"+provider))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.build(c, n, nil)
	if got := fmt.Sprint(err); !strings.Contains(got, "daemon's own") || strings.Contains(got, "not found") {
		t.Error(got)
	}
}

// TestPanicsEndAChange: a part that has a bug ends the change, and what was prepared before is undone.
func TestPanicsEndAChange(t *testing.T) {
	r := newTestRelay(t)
	r.inbounds, r.sources = newInbounds(r.engine, r.log), newSources(r.log)
	t.Cleanup(r.sources.stop)
	var aborted bool
	r.Add(part{func() (config.Change, error) { return undo{&aborted}, nil }})
	r.Add(part{func() (config.Change, error) { panic("a bug") }})
	c, _, err := r.source.parse("test", []byte("mode: rule\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Apply(c)
	var step *StepError
	if !errors.As(err, &step) || step.Step != "part" || !aborted || r.current.Load() != nil {
		t.Errorf("%v, aborted: %v", err, aborted)
	}
}

type part struct{ prepare func() (config.Change, error) }

func (p part) Prepare(_, _ *config.Config) (config.Change, error) { return p.prepare() }
func (part) Name() string                                         { return "part" }
func (part) Stop() error                                          { return nil }

type undo struct{ aborted *bool }

func (undo) Commit()  {}
func (u undo) Abort() { *u.aborted = true }
