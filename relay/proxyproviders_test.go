package relay

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/logs"
	"github.com/switchyard-proxy/switchyard/relay/state"
)

// runProviders runs a relay in a home directory of its own; text is its configuration.
func runProviders(t *testing.T, home string, log *bytes.Buffer) (r *Relay, apply func(text string) error) {
	t.Helper()
	hub := logs.NewHub(log, slog.LevelInfo)
	paths := config.Paths{Home: home}
	r = New(hub, state.New(filepath.Join(home, state.FileName), hub.Logger()), Source{Paths: paths})
	r.inbounds, r.sources = newInbounds(r.engine, r.log), newSources(r.log)
	t.Cleanup(func() {
		r.sources.stop()
		_ = r.store.Close()
	})
	return r, func(text string) error {
		c, diags := config.Parse("f", []byte(text))
		if err := diags.Err(); err != nil {
			t.Fatal(err)
		}
		c.Paths = paths
		return r.Apply(c)
	}
}

func membersOf(r *Relay, group string) string {
	var names []string
	for _, g := range r.Groups() {
		if g.Info().Name != group {
			continue
		}
		for _, m := range g.Members() {
			names = append(names, m.Info().Name)
		}
	}
	return strings.Join(names, " ")
}

// TestProviderKeepsItsNodes when its URL changes and the new one brings nothing; a group that has none is told of.
func TestProviderKeepsItsNodes(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/one" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Subscription-Userinfo", "upload=1; total=9")
		_, _ = w.Write([]byte("proxies: [{name: x, type: direct}, {name: y, type: direct, dialer-proxy: nobody}]"))
	}))
	t.Cleanup(web.Close)
	var log bytes.Buffer
	r, apply := runProviders(t, t.TempDir(), &log)
	text := "proxy-providers: {p: {type: http, url: '" + web.URL + "/one', proxy: DIRECT}}\nproxy-groups: [{name: G, type: select, use: [p]}]"
	if err := apply(text); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateProxyProvider(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if got := membersOf(r, "G"); got != "x y" {
		t.Fatal(got)
	}
	p, _ := r.ProxyProvider("p")
	if p.Used == nil || p.Used.Total != 9 || p.ProblemCount != 1 || p.Problems[0].Text != `dialer-proxy: no proxy or group is called "nobody"` || p.Problems[0].Line != 1 {
		t.Errorf("%+v", p)
	}
	x := r.Outbound("x")
	if err := apply(strings.Replace(text, "/one", "/two", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateProxyProvider(t.Context(), "p"); err == nil {
		t.Error("a status is a list")
	}
	if got := membersOf(r, "G"); got != "x y" || r.Outbound("x") != x {
		t.Errorf("%s: the nodes are gone", got)
	}
	if err := apply(strings.Replace(text, "/one', ", "/two', interval: 60, ", 1)); err != nil {
		t.Fatal(err)
	}
	if got := membersOf(r, "G"); got != "x y" || r.Outbound("x") != x {
		t.Errorf("%s: the nodes are gone with the next change", got)
	}
	if _, err := r.UpdateProxyProvider(t.Context(), "p"); err == nil {
		t.Error("a status is a list")
	}
	if p, _ = r.ProxyProvider("p"); p.Err == nil || p.Used != nil {
		t.Errorf("%+v: of the other subscription", p)
	}
	if err := apply("proxy-providers: {q: {type: file, path: none.yaml}}\nproxy-groups: [{name: G, type: select, use: [q]}]"); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, `group \"G\" has no members while provider \"q\" has no nodes: it goes through COMPATIBLE`) {
		t.Error(got)
	}
}

// TestPayloadIsEdited: the nodes of the file hold until something is loaded, in the words of the file that runs.
func TestPayloadIsEdited(t *testing.T) {
	r, apply := runProviders(t, t.TempDir(), new(bytes.Buffer))
	text := "proxy-providers: {p: {type: http, url: 'http://127.0.0.1:1/x', proxy: DIRECT, payload: [{name: one, type: direct}, {name: same, type: direct}]}}\n" +
		"proxy-groups: [{name: G, type: select, use: [p]}]"
	if err := apply(text); err != nil {
		t.Fatal(err)
	}
	same := r.Outbound("same")
	if err := apply(strings.Replace(text, "one", "two", 1)); err != nil {
		t.Fatal(err)
	}
	if got := membersOf(r, "G"); got != "two same" || r.Outbound("same") != same {
		t.Error(got)
	}
}

// TestProviderIsNoReasonToRefuse a file: its list has a node of the name of one that dials through the group.
func TestProviderIsNoReasonToRefuse(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "p.yaml"), []byte("proxies: [{name: a, type: direct}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, apply := runProviders(t, home, new(bytes.Buffer))
	text := "proxies: [{name: a, type: http, server: a.test, port: 1, dialer-proxy: G}]\n" +
		"proxy-providers: {p: {type: file, path: p.yaml}}\nproxy-groups: [{name: G, type: select, use: [p]}]"
	if err := apply(text); err != nil {
		t.Error(err)
	}
	if err := apply(strings.Replace(text, "use: [p]", "include-all: true", 1)); err == nil || !strings.Contains(err.Error(), "dials through itself: a -> G -> a") {
		t.Errorf("%v: of the node of the file", err)
	}
}

// TestGroupsFilterOnce what they are made of: a refresh of a provider that they do not use is none of theirs.
func TestGroupsFilterOnce(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"p.yaml", "q.yaml"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte("proxies: [{name: a, type: direct}, {name: b, type: direct}]"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, apply := runProviders(t, home, new(bytes.Buffer))
	text := "proxy-providers: {p: {type: file, path: p.yaml}, q: {type: file, path: q.yaml}}\n" +
		"proxy-groups: [{name: G, type: select, use: [p], filter: 'a|b'}]"
	if err := apply(text); err != nil {
		t.Fatal(err)
	}
	taken := func() any {
		g := r.current.Load().built[0]
		return &g.provide()[0]
	}
	first := taken()
	if err := os.WriteFile(filepath.Join(home, "q.yaml"), []byte("proxies: [{name: c, type: direct}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateProxyProvider(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	if err := apply(text + "\nmode: rule"); err != nil {
		t.Fatal(err)
	}
	if taken() != first {
		t.Error("filtered again")
	}
	wanted := 0
	for range r.current.Load().wants() {
		wanted++
	}
	if err := apply(strings.Replace(text, "a|b", "b", 1)); err != nil {
		t.Fatal(err)
	}
	if got := membersOf(r, "G"); got != "b" || wanted != 0 {
		t.Errorf("%s, %d wants", got, wanted)
	}
}

// TestTry acquires what a configuration needs, says what fails, and leaves nothing behind.
func TestTry(t *testing.T) {
	home := t.TempDir()
	r, apply := runProviders(t, home, new(bytes.Buffer))
	if err := apply("mode: rule"); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	try := func() error {
		c, _ := config.Parse("f", fmt.Appendf(nil, "socks-port: %d", busy.Addr().(*net.TCPAddr).Port))
		c.Paths = config.Paths{Home: home}
		return r.Try(c)
	}
	var step *StepError
	if err := try(); !errors.As(err, &step) || step.Step != "inbounds" {
		t.Errorf("%v", err)
	}
	busy.Close()
	for range 2 { // what the first has bound is free again
		if err := try(); err != nil {
			t.Error(err)
		}
	}
	if r.Config().SocksPort != 0 {
		t.Error("it was applied")
	}
}
