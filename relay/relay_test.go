package relay

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/switchyard-proxy/switchyard/relay/config"
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
	n, err := r.tryBuild(c, prev, nil)
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
	if _, err := r.tryBuild(c, nil, nil); err == nil || !strings.Contains(err.Error(), `is the file of the rule provider "a" already`) {
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
		_, err = r.tryBuild(c, nil, nil)
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

// TestSetsKnowTheirFile: rules that come while a file is there are given its sets, also when the file
// is put there by hand, or changed.
func TestSetsKnowTheirFile(t *testing.T) {
	r := newTestRelay(t)
	n := r.built(t, nil, "rules: ['GEOSITE,one,DIRECT', 'NOT,((GEOSITE,one)),REJECT', 'MATCH,DIRECT']\n")
	r.current.Store(n)
	put := func(list string) {
		t.Helper()
		entry := "\x0a" + string(rune(len(list))) + list + "\x12\x0a\x08\x03\x12\x06a.test"
		if err := os.WriteFile(filepath.Join(r.source.Paths.Home, "GeoSite.dat"), []byte("\x0a"+string(rune(len(entry)))+entry), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int { return n.Program.Info(0).Size }
	r.geo.catchUp()
	if size() != 0 {
		t.Error("there is no file")
	}
	put("ONE")
	r.geo.catchUp()
	if size() != 1 {
		t.Error("the file was not read")
	}
	put("OTHER")
	next := r.built(t, n, "rules: ['GEOSITE,one,DIRECT', 'GEOSITE,other,DIRECT']\n") // reads the new file for one of them
	if next.Program.Info(1).Size != 1 || size() != 1 {
		t.Error(next.Program.Info(1), size())
	}
	r.geo.catchUp()
	if size() != 0 {
		t.Error("the changed file was not read")
	}
}
