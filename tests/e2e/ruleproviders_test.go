package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// web is a server on loopback that tests change while it serves. It remembers what it was asked.
type web struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]http.HandlerFunc
	asked map[string][]*http.Request // their heads
}

// newWeb serves at addr, or where there is room when that is "".
func newWeb(t *testing.T, addr string) *web {
	t.Helper()
	w := &web{pages: make(map[string]http.HandlerFunc), asked: make(map[string][]*http.Request)}
	w.Server = httptest.NewUnstartedServer(w)
	if addr != "" {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Listener.Close()
		w.Listener = ln
	}
	w.Start()
	t.Cleanup(w.Close)
	return w
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked[r.URL.Path] = append(w.asked[r.URL.Path], r)
	page := w.pages[r.URL.Path]
	w.mu.Unlock()
	if page == nil {
		http.NotFound(rw, r)
		return
	}
	page(rw, r)
}

// page sets what there is at a path.
func (w *web) page(path string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[path] = h
}

// text puts a text at a path.
func (w *web) text(path, body string) {
	w.page(path, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, body) })
}

// requests are those for a path so far.
func (w *web) requests(path string) []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked[path])
}

// inner sends what the daemon itself wants directly, so that the nodes of answering get none of it.
const inner = "IN-TYPE,INNER,DIRECT\n"

// set is what the API shows of a rule provider.
func set(t *testing.T, d *testkit.Daemon, name string) api.RuleProvider {
	t.Helper()
	return get[api.RuleProvider](t, d, "/providers/rules/"+url.PathEscape(name))
}

// loaded waits until a rule provider has a number of entries and the download is over, and returns it.
func loaded(t *testing.T, d *testkit.Daemon, name string, count int) (p api.RuleProvider) {
	t.Helper()
	until(t, fmt.Sprintf("%s has %d entries", name, count), func() bool {
		p = set(t, d, name)
		return p.RuleCount == count && p.TriedAt.Year() > 1 && !p.UpdatedAt.Before(p.TriedAt)
	})
	return p
}

// update loads a rule provider anew.
func update(t *testing.T, d *testkit.Daemon, name string, status int, says string) {
	t.Helper()
	got, body := d.Do(t, "PUT", "/providers/rules/"+url.PathEscape(name), "")
	if got != status || !strings.Contains(body, says) {
		t.Errorf("update of %s: %d %s; want %d, %s", name, got, body, status, says)
	}
}

// TestRuleProviderRevalidates downloads a set and asks whether there is a newer one.
func TestRuleProviderRevalidates(t *testing.T) {
	w := newWeb(t, "")
	version := func(tag, body string) {
		w.page("/sites", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("ETag", tag)
			if r.Header.Get("If-None-Match") == tag {
				rw.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = io.WriteString(rw, body)
		})
	}
	version(`"one"`, "+.x.test\ny.test\n")
	const name = "a/b %"
	base := nowhere + answering(t, "a", "b") + ruleLines("rules", inner+"RULE-SET,"+name+",a\nMATCH,b") + fmt.Sprintf(`
rule-providers:
  %q: {type: http, behavior: domain, format: text, url: %q, interval: 3600, header: {X-Token: [t1, t2], User-Agent: [me/1]}}
`, name, w.URL+"/sites?token=secret")
	d := testkit.Start(t, "mixed-port: MIXED\n"+base)
	began := time.Now()
	p := loaded(t, d, name, 2)
	takes(t, d, "www.x.test", "a")
	takes(t, d, "z.test", "b")
	want := api.RuleProvider{
		Behavior: "Domain", Format: "TextRule", Name: name, RuleCount: 2, Type: "Rule", VehicleType: "HTTP",
		UpdatedAt: p.UpdatedAt, TriedAt: p.TriedAt, NextAt: p.UpdatedAt.Add(time.Hour), Warnings: p.Warnings,
	}
	if fmt.Sprint(p) != fmt.Sprint(want) || p.UpdatedAt.Before(began.Add(-10*time.Second)) || p.TriedAt.After(p.UpdatedAt) || len(p.Warnings) > 0 {
		t.Errorf("%+v; want %+v", p, want)
	}
	if list := get[api.RuleProviderMap](t, d, "/providers/rules").Providers; len(list) != 1 || fmt.Sprint(list[name]) != fmt.Sprint(p) {
		t.Errorf("%+v", list)
	}
	update(t, d, name, 204, "")
	if again := set(t, d, name); !again.UpdatedAt.After(p.UpdatedAt) || again.RuleCount != 2 {
		t.Errorf("confirmed: %+v", again)
	}
	version(`"two"`, "z.test\n")
	update(t, d, name, 204, "")
	takes(t, d, "www.x.test", "b")
	takes(t, d, "z.test", "a")
	d = d.Restart(t) // its files remember what the server said
	takes(t, d, "z.test", "a")
	update(t, d, name, 204, "")
	load(t, d, "etag-support: false\n"+base)
	update(t, d, name, 204, "")
	var sent []string
	for _, r := range w.requests("/sites") {
		sent = append(sent, r.Header.Get("If-None-Match"))
		if h := r.Header; !slices.Equal(h["X-Token"], []string{"t1", "t2"}) || h.Get("User-Agent") != "me/1" || r.URL.RawQuery != "token=secret" {
			t.Errorf("%v %v", r.URL, h)
		}
	}
	if want := []string{"", `"one"`, `"one"`, `"two"`, ""}; !slices.Equal(sent, want) {
		t.Errorf("sent %q; want %q", sent, want)
	}
	update(t, d, "nobody", 404, "")
	if strings.Contains(d.Log(), "secret") {
		t.Errorf("the log tells secrets:\n%s", d.Log())
	}
}

// tunnels is a proxy of HTTP that remembers where its tunnels lead.
func tunnels(t *testing.T) (port string, targets func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.Host)
		mu.Unlock()
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer far.Close()
		near, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer near.Close()
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
		_, _ = io.Copy(near, far)
	}))
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	return port, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// TestRuleProviderWays downloads through a node, by the rules, packed, and from where a server sends us.
func TestRuleProviderWays(t *testing.T) {
	w, other := newWeb(t, ""), newWeb(t, "")
	w.text("/plain", "plain.test\n")
	w.page("/packed", func(rw http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			http.Error(rw, "nobody asked for gzip", http.StatusNotAcceptable)
			return
		}
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		_, _ = io.WriteString(z, strings.Repeat("# a comment that is longer than the limit\n", 10)+"packed.test\n")
		_ = z.Close()
	})
	w.page("/moved", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, other.URL+"/here", http.StatusFound)
	})
	other.text("/here", "moved.test\n")
	w.text("/bounded", "bounded.test\n")
	port, targets := tunnels(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+answering(t, "a", "b")+fmt.Sprintf("- {name: way, type: http, server: 127.0.0.1, port: %s}\n", port)+
		"proxy-groups: [{name: G, type: select, proxies: [way]}]\n"+
		ruleLines("rules", inner+"RULE-SET,way,a\nRULE-SET,packed,a\nRULE-SET,moved,a\nRULE-SET,bounded,a\nMATCH,b")+strings.ReplaceAll(`
rule-providers:
  way: {type: http, behavior: domain, format: text, url: "URL/plain", proxy: G, path: sets/way.txt}
  packed: {type: http, behavior: domain, format: text, url: "URL/packed", size-limit: 1000}
  moved: {type: http, behavior: domain, format: text, url: "URL/moved", header: {X-Token: [t]}}
  bounded: {type: http, behavior: domain, format: text, url: "URL/bounded", size-limit: 100}
`, "URL", w.URL))
	for set, host := range map[string]string{"way": "plain", "packed": "packed", "moved": "moved", "bounded": "bounded"} {
		loaded(t, d, set, 1)
		takes(t, d, host+".test", "a")
	}
	if got, want := targets(), []string{"CONNECT " + strings.TrimPrefix(w.URL, "http://")}; !slices.Equal(got, want) {
		t.Errorf("the node saw %v; want %v", got, want)
	}
	if b, err := os.ReadFile(filepath.Join(d.Home, "sets", "way.txt")); string(b) != "plain.test\n" {
		t.Errorf("kept %q, %v", b, err)
	}
	if first, then := w.requests("/moved"), other.requests("/here"); len(first) != 1 || first[0].Header.Get("X-Token") != "t" ||
		len(then) != 1 || then[0].Header.Get("X-Token") != "" || !strings.HasPrefix(then[0].UserAgent(), "switchyard/") {
		t.Errorf("%+v, then %+v", first, then)
	}
	w.text("/bounded", strings.Repeat("other.test\n", 10))
	update(t, d, "bounded", 503, "larger than 100 bytes")
	w.page("/bounded", func(rw http.ResponseWriter, _ *http.Request) { // without a length
		for range 100 {
			_, _ = io.WriteString(rw, "other.test\n")
			rw.(http.Flusher).Flush()
		}
	})
	update(t, d, "bounded", 503, "larger than 100 bytes")
	takes(t, d, "bounded.test", "a")
	takes(t, d, "other.test", "b")
}

// TestRuleProviderServerDown starts while a server is down: nothing waits for it. Once a set was
// there, a start needs no server.
func TestRuleProviderServerDown(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+answering(t, "a", "b")+ruleLines("rules", inner+"RULE-SET,sites,a\nNOT,((NOT,((RULE-SET,sites)))),a\nMATCH,b")+fmt.Sprintf(`
rule-providers:
  sites: {type: http, behavior: classical, url: "http://%s/sites.yaml", interval: 86400}
`, addr))
	takes(t, d, "x.test", "b") // it matches nothing
	var p api.RuleProvider
	until(t, "the download is tried", func() bool {
		p = set(t, d, "sites")
		return p.TriedAt.Year() > 1
	})
	if wait := p.NextAt.Sub(p.TriedAt); p.RuleCount != 0 || p.UpdatedAt.Year() != 1 || !strings.Contains(p.Error, "connection refused") || wait < time.Second || wait > time.Minute {
		t.Errorf("%+v", p)
	}
	d.WaitLog(t, `provider \"sites\": http://`+addr)
	update(t, d, "sites", 503, "connection refused")
	w := newWeb(t, addr)
	w.text("/sites.yaml", "payload:\n  - DOMAIN-SUFFIX,x.test\n  - 'DST-PORT,81'\n")
	update(t, d, "sites", 204, "")
	if p = set(t, d, "sites"); p.RuleCount != 2 || p.Error != "" || !p.NextAt.Equal(p.UpdatedAt.Add(24*time.Hour)) {
		t.Errorf("%+v", p)
	}
	takes(t, d, "x.test", "a")
	takes(t, d, "y.test:81", "a")
	takes(t, d, "y.test", "b")
	w.Close()
	// The family's name for the kept file.
	if _, err := os.Stat(filepath.Join(d.Home, "rules", fmt.Sprintf("%x", md5.Sum([]byte("http://"+addr+"/sites.yaml"))))); err != nil {
		t.Error(err)
	}
	d = d.Restart(t)
	takes(t, d, "x.test", "a")
	if p = set(t, d, "sites"); p.RuleCount != 2 || p.Error != "" || p.UpdatedAt.Year() == 1 {
		t.Errorf("%+v", p)
	}
	update(t, d, "sites", 503, "connection refused")
	takes(t, d, "x.test", "a")
}

// TestRuleProviderBadUpdates serves what is no set: the set that was there stays, and its file.
func TestRuleProviderBadUpdates(t *testing.T) {
	w := newWeb(t, "")
	good := map[string]string{
		"text": "x.test\n", "yaml": "payload: ['x.test']\n", "lines": "DOMAIN,x.test\n",
	}
	for name, body := range good {
		w.text("/"+name, body)
	}
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+answering(t, "a", "b")+ruleLines("rules",
		inner+"AND,((RULE-SET,text),(RULE-SET,yaml),(RULE-SET,lines)),a\nMATCH,b")+strings.ReplaceAll(`
rule-providers:
  text: {type: http, behavior: domain, format: text, url: "URL/text", path: text}
  yaml: {type: http, behavior: domain, format: yaml, url: "URL/yaml", path: yaml}
  lines: {type: http, behavior: classical, format: text, url: "URL/lines", path: lines}
`, "URL", w.URL))
	for name := range good {
		loaded(t, d, name, 1)
	}
	f := func(name, says string, page http.HandlerFunc) {
		t.Helper()
		before := set(t, d, name)
		w.page("/"+name, page)
		update(t, d, name, 503, says)
		update(t, d, name, 503, `"code":"update_failed"`)
		p := set(t, d, name)
		if p.RuleCount != 1 || !strings.Contains(p.Error, says) || !p.UpdatedAt.Equal(before.UpdatedAt) || !p.TriedAt.After(before.TriedAt) {
			t.Errorf("%s, %s: %+v", name, says, p)
		}
		takes(t, d, "x.test", "a")
		if b, err := os.ReadFile(filepath.Join(d.Home, name)); string(b) != good[name] {
			t.Errorf("%s, %s: the kept file is %q, %v", name, says, b, err)
		}
	}
	body := func(s string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, s) }
	}
	const html = "<!DOCTYPE html>\n<html><body>Log in</body></html>\n"
	for name := range good {
		f(name, "the rule set is empty", body(""))
		f(name, "the rule set is empty", body("# nothing\n\n"))
		f(name, "this is a page of HTML", body(html))
		f(name, "404 Not Found", http.NotFound)
		f(name, "502 Bad Gateway", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
		f(name, "unexpected EOF", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "payload:\n- y.test\n")
		})
		f(name, "more than 10 redirects", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, r.URL.Path, http.StatusFound) })
	}
	f("text", "none of the 2 entries can be used; line 1", body("a b\nc d\n"))
	f("yaml", "yaml: ", body("payload: ['x.test'\n"))
	f("yaml", "there is no payload", body("proxies: []\n"))
	f("lines", "none of the 2 entries can be used; line 1", body("FOO,bar\nRULE-SET,text\n"))
	for name, text := range good {
		w.text("/"+name, text)
		update(t, d, name, 204, "")
		if p := set(t, d, name); p.Error != "" {
			t.Errorf("%+v", p)
		}
	}
}

// TestRuleProviderFiles changes files that are watched, in every way that files change.
func TestRuleProviderFiles(t *testing.T) {
	base := nowhere + answering(t, "a", "b") + ruleLines("rules", "RULE-SET,names,a\nRULE-SET,later,a\nMATCH,b") + `
rule-providers:
  names: {type: file, behavior: domain, format: text, path: names.txt}
  later: {type: file, behavior: classical, path: sets/later.yaml}
`
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.Home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("names.txt", "x.test\n")
	if err := os.Mkdir(filepath.Join(d.Home, "sets"), 0o700); err != nil {
		t.Fatal(err)
	}
	load(t, d, base)
	takes(t, d, "x.test", "a")
	if p := set(t, d, "later"); p.RuleCount != 0 || !strings.Contains(p.Error, "no such file") || p.VehicleType != "File" {
		t.Errorf("%+v", p)
	}
	write("names.txt", "y.test\n")
	becomes(t, d, "y.test", "a")
	takes(t, d, "x.test", "b")
	write("names.new", "z.test\n")
	if err := os.Rename(filepath.Join(d.Home, "names.new"), filepath.Join(d.Home, "names.txt")); err != nil {
		t.Fatal(err)
	}
	becomes(t, d, "z.test", "a")
	write("sets/later.yaml", "payload:\n- DOMAIN,later.test\n")
	becomes(t, d, "later.test", "a")
	// What is broken or gone changes nothing, but is said.
	write("names.txt", "")
	until(t, "the empty file is seen", func() bool { return strings.Contains(set(t, d, "names").Error, "empty") })
	takes(t, d, "z.test", "a")
	update(t, d, "names", 503, "the rule set is empty")
	if err := os.Remove(filepath.Join(d.Home, "names.txt")); err != nil {
		t.Fatal(err)
	}
	until(t, "the missing file is seen", func() bool { return strings.Contains(set(t, d, "names").Error, "no such file") })
	takes(t, d, "z.test", "a")
	write("names.txt", "x.test\n")
	becomes(t, d, "x.test", "a")
	if p := set(t, d, "names"); p.Error != "" || p.RuleCount != 1 {
		t.Errorf("%+v", p)
	}
}

// TestRuleProviderKinds has a set of every behavior and format.
func TestRuleProviderKinds(t *testing.T) {
	w, dir := newWeb(t, ""), t.TempDir()
	binary := func(behavior, text string) {
		t.Helper()
		source, target := filepath.Join(dir, behavior+".txt"), filepath.Join(dir, behavior+".mrs")
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out := command(t, nil, "convert-ruleset", behavior, "text", source, target); code != 0 {
			t.Fatalf("%d %s", code, out)
		}
		b, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		w.text("/"+behavior, string(b))
	}
	binary("domain", "+.names.test\n*.one.test\n")
	binary("ipcidr", "203.0.113.0/24\n2001:db8::/32\n127.0.0.0/8\n")
	w.text("/lines", "# rules\nDOMAIN-KEYWORD,key\n\nFOO,bar\nIP-CIDR,198.51.100.0/24,b,no-resolve\nDST-PORT,x\nDST-PORT,8080\n")
	w.text("/yaml", "payload:\n  - 192.0.2.0/25\n  - 'not a prefix'\n")
	base := nowhere + "ipv6: false\n" + answering(t, "a", "b") + strings.ReplaceAll(`
rule-providers:
  names: {type: http, behavior: domain, format: mrs, url: "URL/domain"}
  cidrs: {type: http, behavior: ipcidr, format: mrs, url: "URL/ipcidr"}
  lines: {type: http, behavior: classical, format: text, url: "URL/lines"}
  yaml: {type: http, behavior: ipcidr, url: "URL/yaml"}
  typed: {type: inline, behavior: classical, payload: ["DOMAIN,in.test", "MATCH", "GEOIP,lan,no-resolve"]}
  words: {type: inline, behavior: domain, payload: ["+.word.test"]}
`, "URL", w.URL)
	use := func(d *testkit.Daemon, rules string) { load(t, d, base+ruleLines("rules", inner+rules)) }
	d := testkit.Start(t, "mixed-port: MIXED\n"+base+ruleLines("rules", inner+"MATCH,b"))
	for name, want := range map[string]int{"names": 2, "cidrs": 3, "lines": 3, "yaml": 1, "typed": 2, "words": 1} {
		loaded(t, d, name, want)
	}
	use(d, "RULE-SET,names,a\nRULE-SET,words,a\nMATCH,b")
	takes(t, d, "names.test", "a")
	takes(t, d, "w.one.test", "a")
	takes(t, d, "one.test", "b")
	takes(t, d, "deep.w.one.test", "b")
	takes(t, d, "very.word.test", "a")
	use(d, "RULE-SET,cidrs,a,no-resolve\nRULE-SET,yaml,a\nMATCH,b")
	takes(t, d, "203.0.113.7", "a")
	takes(t, d, "[2001:db8::7]", "a")
	takes(t, d, "203.0.114.7", "b")
	takes(t, d, "192.0.2.127", "a")
	takes(t, d, "192.0.2.128", "b")
	takes(t, d, "localhost", "b")
	use(d, "RULE-SET,cidrs,a\nMATCH,b")
	takes(t, d, "localhost", "a") // which was looked up
	use(d, "RULE-SET,cidrs,a,src\nMATCH,b")
	takes(t, d, "203.0.114.7", "a") // we come from 127.0.0.1
	use(d, "RULE-SET,lines,a\nRULE-SET,typed,a\nMATCH,b")
	takes(t, d, "monkey.test", "a")
	takes(t, d, "198.51.100.3", "a")
	takes(t, d, "x.test:8080", "a")
	takes(t, d, "x.test", "b")
	takes(t, d, "in.test", "a")
	takes(t, d, "10.9.8.7", "a")

	warns := func(name string, lines ...int) {
		t.Helper()
		p := set(t, d, name)
		var got []int
		for _, w := range p.Warnings {
			got = append(got, w.Line)
		}
		if !slices.Equal(got, lines) || p.WarningCount != len(lines) || p.Error != "" {
			t.Errorf("%s: %+v; want warnings of lines %v", name, p, lines)
		}
	}
	warns("lines", 4, 6)
	warns("yaml", 3)
	warns("typed", 2)
	warns("names")
	if first := set(t, d, "lines").Warnings[0].Message; !strings.Contains(first, "FOO,bar") || !strings.Contains(first, "unsupported rule type: FOO") {
		t.Error(first)
	}
	typed := set(t, d, "typed")
	if typed.VehicleType != "Inline" || typed.Format != "" || len(typed.Payload) != 3 {
		t.Errorf("%+v", typed)
	}
	update(t, d, "typed", 204, "")
}

// TestRuleProviderErrors writes configurations that cannot be: each is refused with its reason.
func TestRuleProviderErrors(t *testing.T) {
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"rules: ['MATCH,DIRECT']\n")
	dir := t.TempDir()
	f := func(provider, rule, says string) {
		t.Helper()
		yaml := nowhere + "rule-providers:\n  " + provider + "\n" + ruleLines("rules", rule)
		file := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out := command(t, nil, "-t", "-d", dir, "-f", file); code != 1 || !strings.Contains(out, says) {
			t.Errorf("-t: %d %s; want %s", code, out, says)
		}
		status, body := d.Do(t, "PUT", "/configs", fmt.Sprintf(`{"payload":%q}`, yaml))
		says, _, _ = strings.Cut(says, "\n")
		if status != 400 || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), says) {
			t.Errorf("PUT: %d %s; want %s", status, body, says)
		}
	}
	const ok = `sites: {type: inline, behavior: domain, payload: [x.test]}`
	f(`s: {type: file, behavior: domain, path: ../s.yaml}`, "MATCH,DIRECT", "path is not subpath of home directory or SAFE_PATHS: ../s.yaml \n allowed paths: ["+dir+"]")
	f(`s: {type: http, behavior: domain, url: "http://127.0.0.1:1/", path: /etc/s.yaml}`, "MATCH,DIRECT", "path is not subpath of home directory or SAFE_PATHS: /etc/s.yaml")
	f(ok, "RULE-SET,stes,DIRECT", `rules[0]: [RULE-SET,stes,DIRECT]: rule set [stes] not found`)
	f(ok, "RULE-SET,stes,DIRECT", `sites`)
	f(ok, "AND,((RULE-SET,nobody),(NETWORK,tcp)),DIRECT", "rule set [nobody] not found")
	f(`s: {type: http, behavior: domain, url: "http://127.0.0.1:1/", proxy: nobody}`, "MATCH,DIRECT", `no proxy or group is called "nobody"`)
	f(`s: {type: http, behavior: domain}`, "MATCH,DIRECT", "needs url")
	f(`s: {type: file, behavior: classical, format: mrs, path: s.mrs}`, "MATCH,DIRECT", "mrs holds no classical rules")
	f("a: {type: http, behavior: domain, url: 'http://127.0.0.1:1/', path: same}\n  b: {type: http, behavior: domain, url: 'http://127.0.0.1:1/b', path: ./same}", "MATCH,DIRECT", "is the file of the rule provider")

	other := t.TempDir()
	file := filepath.Join(dir, "safe.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "rule-providers: {s: {type: file, behavior: domain, path: %q}}\nrules: ['RULE-SET,s,DIRECT']\n", filepath.Join(other, "s.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, []string{"SAFE_PATHS=" + other}, "-t", "-d", dir, "-f", file); code != 0 {
		t.Errorf("a safe path: %d %s", code, out)
	}
	if code, out := command(t, nil, "-t", "-d", dir, "-f", file); code != 1 {
		t.Errorf("a path that is not safe: %d %s", code, out)
	}
}

// TestRuleProviderStaysOverReloads keeps a provider that did not change, and downloads one that did.
func TestRuleProviderStaysOverReloads(t *testing.T) {
	w := newWeb(t, "")
	w.text("/one", "x.test\n")
	w.text("/two", "x.test\ny.test\n")
	nodes := answering(t, "a", "b")
	with := func(page, rules string) string {
		return nowhere + nodes + ruleLines("rules", inner+rules) +
			fmt.Sprintf("rule-providers:\n  s: {type: http, behavior: domain, format: text, url: '%s/%s', path: s.txt}\n", w.URL, page)
	}
	d := testkit.Start(t, "mixed-port: MIXED\n"+with("one", "RULE-SET,s,a\nMATCH,b"))
	before := loaded(t, d, "s", 1)
	for range 3 {
		load(t, d, "# moved down\n\n"+with("one", "DOMAIN,z.test,b\nRULE-SET,s,a\nMATCH,b"))
		takes(t, d, "x.test", "a") // at once
		if p := set(t, d, "s"); fmt.Sprint(p) != fmt.Sprint(before) {
			t.Fatalf("%+v; was %+v", p, before)
		}
	}
	if status, body := d.Do(t, "PATCH", "/configs", `{"ipv6":false}`); status != 204 {
		t.Errorf("%d %s", status, body)
	}
	if p := set(t, d, "s"); fmt.Sprint(p) != fmt.Sprint(before) {
		t.Errorf("%+v; was %+v", p, before)
	}
	load(t, d, with("two", "RULE-SET,s,a\nMATCH,b"))
	takes(t, d, "x.test", "a") // by the kept file, until the other is there
	loaded(t, d, "s", 2)
	takes(t, d, "y.test", "a")
	if one, two := len(w.requests("/one")), len(w.requests("/two")); one != 1 || two != 1 {
		t.Errorf("%d and %d downloads", one, two)
	}
}

// TestRuleProviderDownloadsEnd reloads and stops while servers are silent: nothing waits for them.
func TestRuleProviderDownloadsEnd(t *testing.T) {
	w := newWeb(t, "")
	began, gone := make(chan string, 10), make(chan string, 10)
	silent := func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" { // begins to answer
			rw.Header().Set("Content-Length", "1000")
			_, _ = rw.Write(bytes.Repeat([]byte("x.test\n"), 10))
			rw.(http.Flusher).Flush()
		}
		began <- r.URL.Path
		<-r.Context().Done()
		gone <- r.URL.Path
	}
	w.page("/silent", silent)
	w.page("/slow", silent)
	wait := func(from chan string, want ...string) {
		t.Helper()
		var got []string
		for range want {
			select {
			case path := <-from:
				got = append(got, path)
			case <-time.After(10 * time.Second):
				t.Fatalf("only %v; want %v", got, want)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%v; want %v", got, want)
		}
	}
	providers := strings.ReplaceAll(`
rule-providers:
  silent: {type: http, behavior: domain, format: text, url: "URL/silent"}
  slow: {type: http, behavior: domain, format: text, url: "URL/slow"}
`, "URL", w.URL)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"rules: ['MATCH,DIRECT']\n"+providers)
	wait(began, "/silent", "/slow")
	load(t, d, nowhere+"rules: ['MATCH,DIRECT']\n")
	wait(gone, "/silent", "/slow")
	load(t, d, nowhere+"rules: ['MATCH,DIRECT']\n"+providers)
	wait(began, "/silent", "/slow")
	started := time.Now()
	d.Signal(t, syscall.SIGTERM)
	if code, took := d.Wait(t), time.Since(started); code != 0 || took > 2*time.Second {
		t.Errorf("exit code %d after %v\n%s", code, took, d.Log())
	}
	wait(gone, "/silent", "/slow")
}

// TestConvertRuleSet makes a binary set out of each format, and text of that again.
func TestConvertRuleSet(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	convert := func(code int, says string, args ...string) {
		t.Helper()
		if got, out := command(t, nil, append([]string{"convert-ruleset"}, args...)...); got != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit code %d, %s\nwant %d, %s", args, got, out, code, says)
		}
	}
	f := func(behavior, format, text, want, says string) {
		t.Helper()
		if err := os.WriteFile(path("in"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		convert(0, says, behavior, format, path("in"), path("mrs"))
		if b, err := os.ReadFile(path("mrs")); !bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // zstd
			t.Errorf("%.8x, %v", b, err)
		}
		convert(0, path("out"), behavior, "mrs", path("mrs"), path("out"))
		b, err := os.ReadFile(path("out"))
		got := strings.Fields(string(b))
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	f("domain", "text", "# names\n+.a.test\nB.test\n*.c.test\n.d.test\n", "*.c.test +.a.test .d.test b.test", path("mrs"))
	f("domain", "yaml", "payload:\n- 'x.test'\n- a b\n", "x.test", path("in")+":3: warning: left out")
	f("ipcidr", "text", "192.0.2.0/24\n2001:db8::/32\n198.51.100.7\n", "192.0.2.0/24 198.51.100.7/32 2001:db8::/32", path("mrs"))
	f("ipcidr", "yaml", "payload:\n  - '10.0.0.0/9'\n  - 10.128.0.0/9\n", "10.0.0.0/8", path("mrs"))
	convert(1, "the rule set is empty", "domain", "text", os.DevNull, path("none"))
	convert(1, "mrs: ", "domain", "mrs", path("in"), path("none"))
	convert(1, "this is a set of behavior ipcidr", "domain", "mrs", path("mrs"), path("none"))
	convert(1, "no such file", "domain", "text", path("nobody"), path("none"))
	convert(1, "have no binary form", "classical", "text", path("in"), path("none"))
	convert(2, "want domain, ipcidr or classical", "names", "text", path("in"), path("none"))
	convert(2, "want yaml, text or mrs", "domain", "srs", path("in"), path("none"))
	convert(2, "Usage: switchyard convert-ruleset", "domain")
	convert(3, "write ", "ipcidr", "yaml", path("in"), filepath.Join(path("in"), "none"))
	if _, err := os.Stat(path("none")); !os.IsNotExist(err) {
		t.Error("a failure leaves a file behind")
	}
}
