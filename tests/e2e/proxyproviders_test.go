package e2e

import (
	"bytes"
	"encoding/base64"
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

// provided is what the API shows of a proxy provider.
func provided(t *testing.T, d *testkit.Daemon, name string) api.ProxyProvider {
	t.Helper()
	return get[api.ProxyProvider](t, d, "/providers/proxies/"+url.PathEscape(name))
}

func nodesOf(p api.ProxyProvider) []string {
	names := make([]string, len(p.Proxies))
	for i := range p.Proxies {
		names[i] = p.Proxies[i].Name
	}
	return names
}

// has waits until a proxy provider has nodes, in this order, and nothing has gone wrong.
func has(t *testing.T, d *testkit.Daemon, name string, nodes ...string) (p api.ProxyProvider) {
	t.Helper()
	until(t, fmt.Sprintf("%s has %q", name, nodes), func() bool {
		p = provided(t, d, name)
		return slices.Equal(nodesOf(p), nodes) && p.Error == "" && p.UpdatedAt.Year() > 1
	})
	return p
}

// renew loads a proxy provider anew.
func renew(t *testing.T, d *testkit.Daemon, name string, status int, says string) {
	t.Helper()
	got, body := d.Do(t, "PUT", "/providers/proxies/"+url.PathEscape(name), "")
	if got != status || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), says) {
		t.Errorf("update of %s: %d %s; want %d, %s", name, got, body, status, says)
	}
}

// httpNode is a line of a list of nodes.
func httpNode(name, port string) string {
	return fmt.Sprintf("- {name: %q, type: http, server: 127.0.0.1, port: %s}\n", name, port)
}

// nodeList is a list of nodes as a subscription has it.
func nodeList(lines ...string) string { return "proxies:\n" + strings.Join(lines, "") }

// choose makes a member the choice of a group.
func choose(t *testing.T, d *testkit.Daemon, group, member string) {
	t.Helper()
	do(t, d, "PUT", "/proxies/"+group, fmt.Sprintf(`{"name":%q}`, member))
}

// keysOf are the keys of an object inside an answer, in their order.
func keysOf(t *testing.T, d *testkit.Daemon, path, field string) (keys []string) {
	t.Helper()
	object := get[map[string]json.RawMessage](t, d, path)[field]
	in := json.NewDecoder(bytes.NewReader(object))
	if open, err := in.Token(); open != json.Delim('{') || err != nil {
		t.Fatalf("%s: %.100s", path, object)
	}
	for in.More() {
		key, err := in.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		if err := in.Decode(new(json.RawMessage)); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// TestProxyProviderFormats has a list in every form. What is wrong in each is told, and the rest works.
func TestProxyProviderFormats(t *testing.T) {
	w := newWeb(t, "")
	a, b := upstream(t, "a"), upstream(t, "b")
	yaml := nodeList(httpNode("a", a), "- {name: no port, type: socks5, server: 127.0.0.1}\n", "- text\n",
		"- {name: odd, type: carrier-pigeon, server: 127.0.0.1, port: 1}\n", "- {type: http, server: 127.0.0.1, port: 1}\n",
		httpNode("b", b), httpNode("a", b), "- {name: later, type: vmess, server: 127.0.0.1, port: 1, uuid: x, alterId: 0, cipher: auto}\n")
	links := fmt.Sprintf("http://127.0.0.1:%s#a\r\n# words\r\nsocks5://127.0.0.1#no-port\r\n\r\npigeon://x@y:1#odd\r\nhttp://127.0.0.1:%s#b\r\n", a, b)
	w.text("/yaml", yaml)
	w.text("/links", links)
	w.text("/base64", base64.StdEncoding.EncodeToString([]byte(links)))
	w.text("/wrapped", base64.RawURLEncoding.EncodeToString([]byte(links))[:40]+"\n"+base64.RawURLEncoding.EncodeToString([]byte(links))[40:]+"\n")
	var providers, groups, rules strings.Builder
	names := []string{"yaml", "links", "base64", "wrapped", "file", "inline"}
	for _, name := range names {
		kind := "http, url: " + w.URL + "/" + name
		switch name {
		case "file":
			kind = "file, path: list.yaml"
		case "inline":
			kind = "inline, payload: [" + strings.ReplaceAll(strings.Trim(strings.TrimPrefix(yaml, "proxies:\n"), "- \n"), "\n- ", ", ") + "]"
		}
		fmt.Fprintf(&providers, "  %s: {type: %s}\n", name, kind)
		fmt.Fprintf(&groups, "- {name: g-%s, type: select, use: [%[1]s]}\n", name)
		fmt.Fprintf(&rules, "DOMAIN,%s.test,g-%[1]s\n", name)
	}
	config := nowhere + "proxies: [{name: main, type: direct}]\nproxy-groups:\n" + groups.String() +
		ruleLines("rules", inner+rules.String()+"MATCH,REJECT") + "proxy-providers:\n" + providers.String()
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	if err := os.WriteFile(filepath.Join(d.Home, "list.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	load(t, d, config)
	warns := func(p api.ProxyProvider, want ...string) {
		t.Helper()
		var got []string
		for _, w := range p.Warnings {
			got = append(got, fmt.Sprintf("%d %s: %s", w.Line, w.Name, w.Message))
		}
		ok := len(got) == len(want) && p.WarningCount == len(want)
		for i := range got {
			ok = ok && strings.Contains(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s warns, %d in all:\n%s\nwant\n%s", p.Name, p.WarningCount, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	vehicles := map[string]api.ProxyVehicleType{"file": "File", "inline": "Inline"}
	for _, name := range names {
		var p api.ProxyProvider
		switch name {
		case "links", "base64", "wrapped":
			p = has(t, d, name, "a", "b")
			if name == "wrapped" {
				break
			}
			warns(p, "3 no-port: ", "5 odd: ")
		default:
			p = has(t, d, name, "a", "b", "later")
			if name == "inline" {
				if len(p.Warnings) != 6 || p.Warnings[0].Name != "no port" {
					t.Errorf("%+v", p.Warnings)
				}
				break
			}
			warns(p, "3 no port: a node of type socks5 needs port", "4 : want a map", `5 odd: type: unknown type "carrier-pigeon"`,
				"6 : want a name", "8 a: the name is that of node 0 already", "9 later: vmess: not supported yet")
		}
		if want := vehicles[name]; p.VehicleType != want && (want != "" || p.VehicleType != "HTTP") || p.Name != name || p.Type != "Proxy" ||
			p.TestURL != "" || p.ExpectedStatus != "*" || p.SubscriptionInfo != nil || p.UpdatedAt.Before(began.Add(-10*time.Second)) {
			t.Errorf("%+v", p)
		}
		for _, o := range p.Proxies {
			if o.ProviderName != name || o.ID == nil || *o.ID == "" || !o.Alive || o.History == nil || o.Extra == nil {
				t.Errorf("%s: %+v", name, o)
			}
		}
		for _, node := range []string{"a", "b"} {
			choose(t, d, "g-"+name, node)
			takes(t, d, name+".test", node)
		}
	}
	want := slices.Concat(names, []string{"default"})
	for range 3 {
		if got := keysOf(t, d, "/providers/proxies", "providers"); !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
	if got := nodesOf(provided(t, d, "default")); !slices.Equal(got, []string{"DIRECT", "REJECT", "main", "g-yaml", "g-links", "g-base64", "g-wrapped", "g-file", "g-inline"}) {
		t.Errorf("default has %q", got)
	}
	all := keysOf(t, d, "/proxies", "proxies")
	if !slices.IsSorted(all) || !slices.Contains(all, "a") || !slices.Contains(all, "later") {
		t.Errorf("%q", all)
	}
}

// TestProxyProviderGroups has groups that take nodes in every way, in their order; lists change under them.
func TestProxyProviderGroups(t *testing.T) {
	w := newWeb(t, "")
	port := upstream(t, "x")
	socks := func(name string) string {
		return fmt.Sprintf("- {name: %s, type: socks5, server: 127.0.0.1, port: %s}\n", name, port)
	}
	w.text("/one", nodeList(httpNode("hk-1", port), httpNode("us-1", port), socks("hk-2")))
	w.text("/two", nodeList(httpNode("jp-1", port), socks("us-2")))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"proxies:\n"+httpNode("z-file", port)+httpNode("a-file", port)+strings.ReplaceAll(`
proxy-groups:
- {name: use, type: select, use: [two, one]}
- {name: named, type: select, proxies: [z-file, use], use: [one], filter: '^us'}
- {name: all, type: select, include-all: true}
- {name: nodes, type: select, include-all-proxies: true, use: [two]}
- {name: order, type: select, include-all-providers: true, use: [one], filter: '^us`+"`"+`hk`+"`"+`1$'}
- {name: without, type: url-test, include-all: true, exclude-filter: '2$', exclude-type: 'direct|URLTest', url: 'http://127.0.0.1:1/', interval: 3600}
- {name: kinds, type: fallback, use: [one, two], exclude-type: Socks5, url: 'http://127.0.0.1:1/', interval: 3600}
- {name: korea, type: select, use: [one, two], filter: kr}
- {name: spare, type: load-balance, use: [one], filter: kr, empty-fallback: a-file, url: 'http://127.0.0.1:1/', interval: 3600}
proxy-providers:
  two: {type: http, url: "URL/two"}
  one: {type: http, url: "URL/one"}
  part: {type: http, url: "URL/one", filter: 'us`+"`"+`hk', exclude-filter: 'hk-1', override: {additional-prefix: 'p '}}
  kinds-of: {type: http, url: "URL/one", exclude-type: 'Socks5|vmess', override: {additional-suffix: ' k'}}
rules: ['IN-TYPE,INNER,DIRECT', 'DOMAIN,korea.test,korea', 'MATCH,use']
`, "URL", w.URL))
	has(t, d, "one", "hk-1", "us-1", "hk-2")
	has(t, d, "two", "jp-1", "us-2")
	has(t, d, "part", "p us-1", "p hk-2")
	has(t, d, "kinds-of", "hk-1 k", "us-1 k")
	all := func(group string, want ...string) {
		t.Helper()
		if got := shownProxy(t, d, group).All; !slices.Equal(got, want) {
			t.Errorf("%s has %q; want %q", group, got, want)
		}
	}
	all("use", "jp-1", "us-2", "hk-1", "us-1", "hk-2")
	all("named", "z-file", "use", "us-1")
	all("all", "a-file", "z-file", "hk-1 k", "us-1 k", "hk-1", "us-1", "hk-2", "p us-1", "p hk-2", "jp-1", "us-2")
	all("nodes", "a-file", "z-file", "jp-1", "us-2")
	all("order", "us-1 k", "us-1", "us-2", "hk-1 k", "hk-1", "hk-2", "p hk-2", "p us-1", "jp-1")
	all("without", "a-file", "z-file", "hk-1 k", "us-1 k", "hk-1", "us-1", "p us-1", "jp-1")
	all("kinds", "hk-1", "us-1", "jp-1")
	all("korea", "COMPATIBLE")
	all("spare", "a-file")
	if got := len(w.requests("/one")); got != 3 {
		t.Errorf("%d downloads for three providers", got)
	}

	w.text("/one", nodeList(httpNode("kr-1", port), httpNode("us-3", port)))
	renew(t, d, "one", 204, "")
	all("use", "jp-1", "us-2", "kr-1", "us-3")
	all("named", "z-file", "use", "us-3")
	all("order", "us-1 k", "us-3", "us-2", "hk-1 k", "p hk-2", "kr-1", "p us-1", "jp-1")
	all("korea", "kr-1")
	all("spare", "kr-1")
	takes(t, d, "korea.test", "x")
	if status, body := d.Do(t, "PUT", "/proxies/use", `{"name":"hk-1"}`); status != 400 || !strings.Contains(body, "Selector update error: proxy not exist") {
		t.Errorf("%d %s", status, body)
	}
	w.text("/one", nodeList(httpNode("hk-1", port)))
	renew(t, d, "one", 204, "")
	all("korea", "COMPATIBLE")
	all("spare", "a-file")
	host := page(t)
	load(t, d, strings.ReplaceAll(nowhere+`
proxy-groups: [{name: korea, type: select, use: [one], filter: kr}]
proxy-providers: {one: {type: http, url: "URL/one"}}
rules: ['MATCH,korea']
`, "URL", w.URL))
	if got, err := fetch(t, d.Mixed, "http://"+host+"/"); err != nil || !strings.HasPrefix(got, "GET / ") { // which is direct
		t.Errorf("%q, %v", got, err)
	}
}
