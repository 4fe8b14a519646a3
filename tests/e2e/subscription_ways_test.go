package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestSubscriptionUserInfo shows how much is used, whatever else the server says.
func TestSubscriptionUserInfo(t *testing.T) {
	w := newWeb(t, "")
	page := func(field string, status int) {
		w.page("/sub", func(rw http.ResponseWriter, _ *http.Request) {
			if field != "" {
				rw.Header().Set("subscription-userinfo", field)
			}
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, nodeList(httpNode("a", "1")))
		})
	}
	config := nowhere + fmt.Sprintf("proxy-providers: {sub: {type: http, url: '%s/sub', interval: 3600}, other: {type: http, url: '%[1]s/sub', interval: 3600}}\n", w.URL)
	page("upload=1024; Download=2048.7;total=1073741824; expire=1893456000; plan=gold", 200)
	d := testkit.Start(t, config)
	has(t, d, "sub", "a")
	shows := func(want api.SubscriptionInfo) {
		t.Helper()
		if p := provided(t, d, "sub"); p.SubscriptionInfo == nil || *p.SubscriptionInfo != want {
			t.Errorf("%+v; want %+v", p.SubscriptionInfo, want)
		}
	}
	first := api.SubscriptionInfo{Upload: 1024, Download: 2048, Total: 1073741824, Expire: 1893456000}
	shows(first)
	raw(t, d, "GET", "/providers/proxies/sub", 200, `"Upload":1024`) // with a capital
	page("", 200)
	renew(t, d, "sub", 204, "")
	shows(first) // which says nothing else
	page("total=5", 403)
	renew(t, d, "sub", 503, "403 Forbidden")
	shows(api.SubscriptionInfo{Total: 5})
	page("rubbish; total=x", 200)
	renew(t, d, "sub", 204, "")
	shows(api.SubscriptionInfo{Total: 5})
	page("", 500)
	d = d.Restart(t)
	shows(api.SubscriptionInfo{Total: 5})
	if p := has(t, d, "other", "a"); p.SubscriptionInfo == nil || p.SubscriptionInfo.Upload != 1024 {
		t.Errorf("%+v", p)
	}
	load(t, d, strings.Replace(config, "sub: {", "sub: {filter: a, ", 1))
	shows(api.SubscriptionInfo{Total: 5})
}

// TestSubscriptionRequest looks at what servers are asked, by which way, and what is told to whom.
func TestSubscriptionRequest(t *testing.T) {
	w, other := newWeb(t, ""), newWeb(t, "")
	host := strings.TrimPrefix(w.URL, "http://")
	for _, path := range []string{"/plain", "/header", "/user", "/way", "/self"} {
		w.text(path, nodeList(httpNode(path, "1")))
	}
	w.page("/packed", packed(strings.NewReader(nodeList(httpNode("/packed", "1")))))
	w.page("/moved", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Subscription-Userinfo", "total=1")
		http.Redirect(rw, r, other.URL+"/here", http.StatusFound)
	})
	other.page("/here", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Subscription-Userinfo", "total=2")
		_, _ = io.WriteString(rw, nodeList(httpNode("/moved", "1")))
	})
	way := startSocks(t, nil)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+fmt.Sprintf("proxies: [{name: way, type: socks5, server: 127.0.0.1, port: %s}]\n", way.port)+strings.ReplaceAll(`
proxy-groups:
- {name: G, type: select, proxies: [way]}
- {name: S, type: select, use: [self]}
proxy-providers:
  plain: {type: http, url: "http://HOST/plain?a=b#c"}
  packed: {type: http, url: "http://HOST/packed", size-limit: 500}
  header: {type: http, url: "http://HOST/header", header: {X-Token: [t1, t2], User-Agent: [clash-verge/1.0], Accept-Encoding: [br], If-None-Match: [x]}}
  user: {type: http, url: "http://us%40er:pa%3Ass@HOST/user"}
  moved: {type: http, url: "http://user:pass@HOST/moved", header: {X-Token: [t], Authorization: [Bearer b], Cookie: [c=d]}}
  way: {type: http, url: "http://HOST/way", proxy: G}
  self: {type: http, url: "http://HOST/self", proxy: S}
rules: ['IN-TYPE,INNER,DIRECT']
`, "HOST", host))
	for _, name := range []string{"plain", "packed", "header", "user", "moved", "way", "self"} {
		has(t, d, name, "/"+name)
	}
	asked := func(w *web, path string) *http.Request {
		t.Helper()
		r := w.requests(path)
		if len(r) != 1 {
			t.Fatalf("%s was asked for %d times", path, len(r))
		}
		return r[0]
	}
	if r := asked(w, "/plain"); !strings.HasPrefix(r.UserAgent(), "switchyard/") || r.Method != "GET" || r.URL.String() != "/plain?a=b" || r.Host != host {
		t.Errorf("%+v", r)
	}
	if h := asked(w, "/header").Header; !slices.Equal(h["X-Token"], []string{"t1", "t2"}) || h.Get("User-Agent") != "clash-verge/1.0" ||
		h.Get("Accept-Encoding") != "gzip" || h.Get("If-None-Match") != "" {
		t.Errorf("%+v", h)
	}
	if user, pass, _ := asked(w, "/user").BasicAuth(); user != "us@er" || pass != "pa:ss" {
		t.Errorf("%s %s", user, pass)
	}
	if h := asked(w, "/moved").Header; h.Get("X-Token") != "t" || h.Get("Authorization") != "Bearer b" || h.Get("Cookie") != "c=d" {
		t.Errorf("%+v", h)
	}
	if h := asked(other, "/here").Header; h.Get("X-Token")+h.Get("Authorization")+h.Get("Cookie")+h.Get("Referer") != "" || !strings.HasPrefix(h.Get("User-Agent"), "switchyard/") {
		t.Errorf("the other host gets %+v", h)
	}
	if u := provided(t, d, "moved").SubscriptionInfo; u == nil || u.Total != 2 {
		t.Errorf("%+v", u)
	}
	if got := way.requests(); !slices.Equal(got, []string{"@" + host}) {
		t.Errorf("the socks server saw %q", got)
	}
	// The one that came by its own group, which was empty, comes by its node now.
	renew(t, d, "self", 503, "connection refused")
	load(t, d, nowhere+fmt.Sprintf("global-ua: me/2\nproxy-providers: {ua: {type: http, url: 'http://%s/ua'}}\n", host))
	until(t, "/ua is asked for", func() bool { return len(w.requests("/ua")) > 0 })
	if r := w.requests("/ua")[0]; r.UserAgent() != "me/2" {
		t.Errorf("%+v", r.Header)
	}
}

// TestSubscriptionStalls has servers that fall silent: nothing waits for them, and nodes that are there work.
func TestSubscriptionStalls(t *testing.T) {
	w := newWeb(t, "")
	began, gone := make(chan string, 16), make(chan string, 16)
	silent := func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mute" {
			rw.Header().Set("Content-Length", "100000")
			if r.URL.Path == "/half" {
				_, _ = io.WriteString(rw, "proxies:\n- {name: x, type: direct}\n")
			}
			rw.(http.Flusher).Flush()
		}
		began <- r.URL.Path
		<-r.Context().Done()
		gone <- r.URL.Path
	}
	paths := []string{"/half", "/head", "/mute"}
	for _, path := range paths {
		w.page(path, silent)
	}
	all := func(from chan string) {
		t.Helper()
		var got []string
		for range paths {
			select {
			case path := <-from:
				got = append(got, path)
			case <-time.After(10 * time.Second):
				t.Fatalf("only %v", got)
			}
		}
		if slices.Sort(got); !slices.Equal(got, paths) {
			t.Fatalf("%v; want %v", got, paths)
		}
	}
	w.text("/well", nodeList(httpNode("a", upstream(t, "a"))))
	testkit.Binary(t)
	start := time.Now()
	config := nowhere + strings.ReplaceAll(`
proxy-groups: [{name: G, type: url-test, use: [mute, head, half, well], url: 'http://127.0.0.1:1/', interval: 3600}]
proxy-providers:
  mute: {type: http, url: "URL/mute"}
  head: {type: http, url: "URL/head", payload: [{name: spare, type: direct}]}
  half: {type: http, url: "URL/half"}
  well: {type: http, url: "URL/well", path: well.yaml}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,G']
`, "URL", w.URL)
	d := testkit.Start(t, "mixed-port: MIXED\n"+config)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the start took %v", took)
	}
	all(began)
	has(t, d, "well", "a")
	if g := shownProxy(t, d, "G"); !slices.Equal(g.All, []string{"spare", "a"}) {
		t.Errorf("%+v", g)
	}
	for _, name := range []string{"mute", "half"} {
		if p := provided(t, d, name); len(p.Proxies) != 0 || p.UpdatedAt.Year() != 1 || p.Error != "" {
			t.Errorf("%+v", p)
		}
	}

	// One that has a list stalls as it is refreshed, and a reload takes it away.
	w.page("/well", silent)
	answered := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest("PUT", d.BaseURL+"/providers/proxies/well", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- resp.Status + " " + string(b)
	}()
	if path := <-began; path != "/well" {
		t.Errorf("%s is asked for", path)
	}
	if p := provided(t, d, "well"); !slices.Equal(nodesOf(p), []string{"a"}) || p.Error != "" {
		t.Errorf("%+v", p)
	}
	load(t, d, strings.Replace(config, "path: well.yaml", "path: well.yaml, interval: 3600", 1)) // the file is there
	if got := <-answered; !strings.HasPrefix(got, "503") || !strings.Contains(got, "a change of the configuration has taken the provider away") {
		t.Errorf("%s", got)
	}
	if path := <-gone; path != "/well" {
		t.Errorf("%s has ended", path)
	}
	if p := provided(t, d, "well"); !slices.Equal(nodesOf(p), []string{"a"}) {
		t.Errorf("%+v", p)
	}
	load(t, d, nowhere)
	all(gone)
	load(t, d, config)
	all(began)
	start = time.Now()
	d.Signal(t, syscall.SIGTERM)
	if code, took := d.Wait(t), time.Since(start); code != 0 || took > 2*time.Second {
		t.Errorf("exit code %d after %v\n%s", code, took, d.Log())
	}
	all(gone)
}
