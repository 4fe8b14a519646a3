package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// raw asks for a path as it is written.
func raw(t *testing.T, d *testkit.Daemon, method, path string, status int, says string) {
	t.Helper()
	got, body := d.Do(t, method, path, "")
	if got != status || !strings.Contains(body, says) {
		t.Errorf("%s %s: %d %s; want %d, %s", method, path, got, body, status, says)
	}
}

// TestProxyProviderAPI asks for everything that panels ask for, by names that are hard to write.
func TestProxyProviderAPI(t *testing.T) {
	w := newWeb(t, "")
	live := startNodeProxy(t, echoOrigin(t))
	const sub, nested = "ü/b %", "日本/1 🇯🇵"
	w.text("/list", nodeList(httpNode(nested, live.port), httpNode("dead", testDeadPort(t)), httpNode("healthcheck", live.port)))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"proxies:\n"+httpNode("top", live.port)+httpNode("dead", live.port)+fmt.Sprintf(`
proxy-groups:
- {name: taken, type: select, use: [%q]}
- {name: named, type: url-test, proxies: [top, taken], use: [%[1]q], url: 'http://well.test/', expected-status: 200-299/404, interval: 3600}
- {name: default, type: select, proxies: [top]}
- {name: all, type: select, include-all: true}
proxy-providers:
  %[1]q: {type: http, url: "%[2]s/list", interval: 3600, health-check: {enable: true, url: 'http://well.test/check', expected-status: '204', interval: 3600}}
  z: {type: inline, payload: [{name: z1, type: direct}]}
  all: {type: inline, payload: [{name: y1, type: direct}]}
rules: ['IN-TYPE,INNER,DIRECT']
`, sub, w.URL))
	has(t, d, sub, nested, "dead", "healthcheck")
	at, node := "/providers/proxies/"+url.PathEscape(sub), url.PathEscape(nested)
	if got, want := keysOf(t, d, "/providers/proxies", "providers"), []string{sub, "z", "all", "default", "named"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	p := provided(t, d, sub)
	if p.TestURL != "http://well.test/check" || p.ExpectedStatus != "204" || p.NextAt.Sub(p.UpdatedAt) != time.Hour || p.TriedAt.After(p.UpdatedAt) {
		t.Errorf("%+v", p)
	}
	if list := get[api.ProxyProviderMap](t, d, "/providers/proxies").Providers; len(list) != 5 || nodesOf(list[sub])[0] != nested {
		t.Errorf("%+v", list)
	}
	named := provided(t, d, "named")
	if named.VehicleType != "Compatible" || named.TestURL != "http://well.test/" || named.ExpectedStatus != "200-299/404" ||
		named.UpdatedAt.Year() != 1 || !slices.Equal(nodesOf(named), []string{"top", "taken"}) {
		t.Errorf("%+v", named)
	}
	if all := provided(t, d, "all"); all.VehicleType != "Inline" || !slices.Equal(nodesOf(all), []string{"y1"}) {
		t.Errorf("%+v", all)
	}
	if def := provided(t, d, "default"); def.VehicleType != "Compatible" || !slices.Equal(nodesOf(def), []string{"DIRECT", "REJECT", "top", "dead", "taken", "named", "default", "all"}) {
		t.Errorf("%q, %+v", nodesOf(def), def)
	}
	// What panels of others read must be there, whatever it holds.
	_, body := d.Do(t, "GET", "/providers/proxies", "")
	var strict struct {
		Providers map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &strict); err != nil {
		t.Fatal(err)
	}
	for name, p := range strict.Providers {
		for _, key := range []string{"name", "type", "vehicleType", "proxies", "testUrl", "expectedStatus", "updatedAt"} {
			if v := string(p[key]); v == "" || v == "null" {
				t.Errorf("%s has %s of %s", name, v, key)
			}
		}
		if _, err := time.Parse(time.RFC3339, strings.Trim(string(p["updatedAt"]), `"`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	raw(t, d, "GET", "/providers/proxies/nobody", 404, "Resource not found")
	raw(t, d, "GET", "/providers/proxies/nobody/healthcheck", 404, "Resource not found")
	raw(t, d, "GET", "/providers/proxies/nobody/x", 404, "Resource not found")
	raw(t, d, "GET", at+"/nobody", 404, "Resource not found")
	raw(t, d, "GET", at+"/top", 404, "Resource not found")
	raw(t, d, "PUT", "/providers/proxies/nobody", 404, "Resource not found")
	raw(t, d, "GET", at+"/nobody/healthcheck?url=http://well.test/&timeout=5000", 404, "Resource not found")
	raw(t, d, "PUT", at+"/dead", 405, "")
	for _, name := range []string{"z", "default", "named"} {
		raw(t, d, "PUT", "/providers/proxies/"+name, 204, "")
	}
	if z := provided(t, d, "z"); z.VehicleType != "Inline" || z.UpdatedAt.Before(p.UpdatedAt) {
		t.Errorf("%+v", z)
	}

	// Of two nodes that have a name, each is found where it is.
	mine := get[api.Proxy](t, d, at+"/dead")
	top := get[api.Proxy](t, d, "/proxies/dead")
	if *mine.ID == *top.ID || mine.ProviderName != sub || top.ProviderName != "" {
		t.Errorf("%+v, %+v", mine, top)
	}
	one := at + "/" + node + "/healthcheck"
	raw(t, d, "GET", one+"?url=http://well.test/mine&timeout=5000", 200, `"delay":`)
	raw(t, d, "GET", one+"?url=http://well.test/mine&timeout=5000&expected=200", 200, `"delay":`)
	raw(t, d, "GET", one+"?url=http://well.test/", 400, "Body invalid")
	raw(t, d, "GET", one+"?url=http://well.test/&timeout=1.5", 400, "Body invalid")
	raw(t, d, "GET", one+"?url=http://well.test/&timeout=5000&expected=x", 400, "Body invalid")
	raw(t, d, "GET", one+"?timeout=5000", 503, "An error occurred in the delay test")
	raw(t, d, "GET", one+"?url=http://well.test/&timeout=0", 504, "Timeout")
	raw(t, d, "GET", at+"/dead/healthcheck?url=http://well.test/mine&timeout=5000", 503, "An error occurred in the delay test")
	raw(t, d, "GET", "/providers/proxies/default/top/healthcheck?url=http://well.test/&timeout=5000", 200, `"delay":`)
	if o := get[api.Proxy](t, d, at+"/"+node); o.Extra["http://well.test/mine"].Alive || len(o.Extra["http://well.test/mine"].History) != 2 {
		t.Errorf("%+v", o)
	}

	// The check of all: it answers when all is known, with the provider's URL and the group's.
	tests := func(node, url string) int {
		t.Helper()
		return len(get[api.Proxy](t, d, at+"/"+node).Extra[url].History)
	}
	urls := []string{"http://well.test/check", "http://well.test/"}
	var before []int
	until(t, "the first tests are over", func() bool {
		before = before[:0]
		for _, url := range urls {
			before = append(before, tests(node, url), tests("dead", url))
		}
		return !slices.Contains(before, 0)
	})
	raw(t, d, "GET", at+"/healthcheck", 204, "")
	for i, url := range urls {
		if a, b := tests(node, url), tests("dead", url); a != before[2*i]+1 || b != before[2*i+1]+1 {
			t.Errorf("%s: %d and %d tests; before the check %v", url, a, b, before)
		}
	}
	if o := get[api.Proxy](t, d, at+"/dead"); o.Alive || o.Extra[urls[0]].Alive {
		t.Errorf("%+v", o)
	}
	for _, name := range []string{"z", "default", "named"} {
		raw(t, d, "GET", "/providers/proxies/"+name+"/healthcheck", 204, "")
	}
}

// TestProxyProviderChecks tests nodes again and again, lazily or not.
func TestProxyProviderChecks(t *testing.T) {
	origin := strings.TrimPrefix(wellOrigin(t), "http://")
	eager, lazy, off := startNodeProxy(t, origin), startNodeProxy(t, origin), startNodeProxy(t, origin)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+fmt.Sprintf(`
proxy-groups: [{name: G, type: select, use: [lazy]}]
proxy-providers:
  eager: {type: inline, payload: [{name: eager, type: http, server: 127.0.0.1, port: %s}], health-check: {enable: true, lazy: false, url: 'http://well.test/', interval: 1}}
  lazy: {type: inline, payload: [{name: lazy, type: http, server: 127.0.0.1, port: %s}], health-check: {enable: true, url: 'http://well.test/', interval: 1}}
  off: {type: inline, payload: [{name: off, type: http, server: 127.0.0.1, port: %s}], health-check: {url: 'http://well.test/', interval: 1}}
rules: ['MATCH,G']
`, eager.port, lazy.port, off.port))
	until(t, "three tests are over", func() bool { return eager.count.Load() >= 3 })
	if a, b := lazy.count.Load(), off.count.Load(); a != 1 || b != 0 {
		t.Errorf("%d tests of the lazy one, %d of the one that is off", a, b)
	}
	tests := func() int { return len(provided(t, d, "lazy").Proxies[0].History) }
	until(t, "the lazy one is tested while it is used", func() bool {
		_ = connect(t, d.Mixed, "x.test:80").Close()
		return tests() >= 3
	})
	n, had := eager.count.Load(), tests()
	until(t, "three more tests are over", func() bool { return eager.count.Load() >= n+3 })
	if a := tests(); a > had+1 {
		t.Errorf("%d tests of the lazy one, which nobody uses now; there were %d", a, had)
	}
	if p := provided(t, d, "off"); p.TestURL != "http://well.test/" || len(p.Proxies[0].History) != 0 {
		t.Errorf("%+v", p)
	}
}

// TestProxyProviderFiles changes a file that is watched, in every way that files change.
func TestProxyProviderFiles(t *testing.T) {
	a, b := httpNode("a", upstream(t, "a")), httpNode("b", upstream(t, "b"))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.Home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("list.yaml", nodeList(a))
	load(t, d, nowhere+`
proxy-groups: [{name: G, type: select, use: [list, later], filter: '^.$'}, {name: L, type: select, use: [later]}]
proxy-providers:
  list: {type: file, path: list.yaml}
  later: {type: file, path: lists/later.yaml, payload: [{name: spare, type: direct}]}
rules: ['MATCH,G']
`)
	takes(t, d, "x.test", "a") // at once
	later := provided(t, d, "later")
	if !slices.Equal(nodesOf(later), []string{"spare"}) || !strings.Contains(later.Error, "no such file") || later.VehicleType != "File" {
		t.Errorf("%+v", later)
	}
	id := *provided(t, d, "list").Proxies[0].ID
	write("list.yaml", nodeList(b)) // in place
	becomes(t, d, "x.test", "b")
	write("list.new", nodeList(a, b))
	if err := os.Rename(filepath.Join(d.Home, "list.new"), filepath.Join(d.Home, "list.yaml")); err != nil {
		t.Fatal(err)
	}
	p := has(t, d, "list", "a", "b")
	if *p.Proxies[0].ID == id {
		t.Errorf("a node that was gone is the same again: %+v", p)
	}
	becomes(t, d, "x.test", "a")

	// What is broken or gone changes nothing, but is said.
	for _, f := range []struct{ text, says string }{
		{"", "want `proxies`"},
		{"proxies: []\n", "no nodes"},
		{"proxies:\n- {name: a, type: http\n", "neither YAML nor share links"},
		{"proxies:\n- {name: a, type: http, server: 127.0.0.1}\n", `no node can be used: line 2, "a": a node of type http needs port`},
	} {
		write("list.yaml", f.text)
		until(t, fmt.Sprintf("%q is refused", f.text), func() bool { return strings.Contains(provided(t, d, "list").Error, f.says) })
		if p := provided(t, d, "list"); !slices.Equal(nodesOf(p), []string{"a", "b"}) {
			t.Errorf("%+v", p)
		}
	}
	renew(t, d, "list", 503, "no node can be used")
	if err := os.Remove(filepath.Join(d.Home, "list.yaml")); err != nil {
		t.Fatal(err)
	}
	until(t, "the missing file is seen", func() bool { return strings.Contains(provided(t, d, "list").Error, "no such file") })
	takes(t, d, "x.test", "a")
	write("list.yaml", nodeList(b))
	becomes(t, d, "x.test", "b")
	if p := provided(t, d, "list"); p.Error != "" {
		t.Errorf("%+v", p)
	}
	if err := os.Mkdir(filepath.Join(d.Home, "lists"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("lists/later.yaml", nodeList(a))
	renew(t, d, "later", 204, "")
	if l := shownProxy(t, d, "L"); !slices.Equal(l.All, []string{"a"}) {
		t.Errorf("%+v", l)
	}
}

// TestProxyProviderErrors writes configurations that cannot be: each is refused with its place and reason.
func TestProxyProviderErrors(t *testing.T) {
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	f := func(provider, more, says string) {
		t.Helper()
		b, err := json.Marshal(api.ConfigSource{Payload: nowhere + "proxy-providers:\n  " + provider + "\n" + more})
		if err != nil {
			t.Fatal(err)
		}
		status, body := d.Do(t, "PUT", "/configs", string(b))
		if status != 400 || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), says) {
			t.Errorf("%s: %d %s; want %s", provider, status, body, says)
		}
	}
	const ok = "nodes: {type: inline, payload: [{name: n, type: direct}]}"
	f(ok, "proxy-groups: [{name: G, type: select, use: [nods]}]", `no proxy provider is called "nods"`)
	f(ok, "proxy-groups: [{name: nodes, type: select, proxies: [DIRECT]}]", `the name "nodes" is that of a proxy provider`)
	f("p: {type: http}", "", "proxy-providers.p: a proxy provider of type http needs url")
	f("p: {type: file}", "", "needs path")
	f("p: {type: inline}", "", "needs payload")
	f("p: {url: 'http://127.0.0.1:1/'}", "", "want a type: http, file or inline")
	f("p: {type: magic}", "", "proxy-providers.p.type")
	f("p: {type: http, url: 'ftp://x.test/?token=secret'}", "", "proxy-providers.p.url")
	f("p: {type: file, path: ../list}", "", "path is not subpath of home directory or SAFE_PATHS")
	f("p: {type: http, url: 'http://127.0.0.1:1/', path: config.yaml}", "", "is a file of the daemon's own")
	f("p: {type: http, url: 'http://127.0.0.1:1/', path: x}\n  q: {type: file, path: ./x}", "", "proxy-providers.q.path: is the file of the proxy provider \"p\" already")
	f("p: {type: http, url: 'http://127.0.0.1:1/', proxy: nobody}", "", `proxy-providers.p.proxy: no proxy or group is called "nobody"`)
	f("p: {type: http, url: 'http://127.0.0.1:1/', dialer-proxy: nobody}", "", `no proxy or group is called "nobody"`)
	f("p: {type: http, url: 'http://127.0.0.1:1/', override: {dialer-proxy: nobody}}", "", `proxy-providers.p.override.dialer-proxy: no proxy or group is called "nobody"`)
	f("p: {type: http, url: 'http://127.0.0.1:1/', filter: '('}", "", "proxy-providers.p.filter")
	f("p: {type: http, url: 'http://127.0.0.1:1/', override: {ip-version: 5}}", "", "proxy-providers.p.override.ip-version")
	f("p: {type: http, url: 'http://127.0.0.1:1/', override: {proxy-name: [{pattern: '(', target: x}]}}", "", "proxy-providers.p.override.proxy-name[0]")
	f("p: {type: http, url: 'http://127.0.0.1:1/', health-check: {enable: true, url: 'ftp://x.test'}}", "", "proxy-providers.p.health-check.url")
	f("p: {type: http, url: 'http://127.0.0.1:1/', health-check: {enable: true, expected-status: x}}", "", "proxy-providers.p.health-check.expected-status")
	f("p: {type: inline, payload: [{name: n, type: http, server: 127.0.0.1}]}", "", "needs port")
	f("default: {type: inline, payload: [{name: n, type: direct}]}", "", `no provider can be called "default"`)
}
