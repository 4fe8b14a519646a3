package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestIdleSnapshot: yacd and clash-dashboard break where there is no list (trap 1).
func TestIdleSnapshot(t *testing.T) {
	h := newHousehold(t, "")
	if body := mustDo(t, h.Daemon, "GET", "/connections", "", 200); !strings.Contains(body, `"connections":[]`) {
		t.Error(body)
	}
	ws, _, err := h.dial(t, "/connections?token=", nil)
	if err != nil {
		t.Fatal(err)
	}
	if m := next(t, ws); !strings.Contains(m, `"connections":[]`) {
		t.Error(m)
	}
}

// TestPagesCanReadErrors: without these fields a page cannot tell a wrong secret from no daemon (trap 2).
func TestPagesCanReadErrors(t *testing.T) {
	h := newHousehold(t, "secret: "+hostileSecret+"\n")
	f := func(method, path, body, key string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, h.BaseURL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://panel.test")
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != want || res.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(res.Header.Get("Vary"), "Origin") {
			t.Errorf("%s %s: %d %v; want %d", method, path, res.StatusCode, res.Header, want)
		}
	}
	const good = hostileSecret
	f("GET", "/version", "", "", 401)
	f("PUT", "/proxies/Outer", `{"name":"plain"}`, "x", 401)
	f("GET", "/traffic", "", "x", 401)
	f("PATCH", "/configs", "{", good, 400)
	f("GET", "/proxies/nobody", "", good, 404)
	f("GET", "/nowhere", "", good, 404)
	f("POST", "/version", "", good, 405)
	f("GET", "/proxies/dead/delay?timeout=5000&url=http://127.0.0.1:1/", "", good, 503)
	f("GET", "/proxies/plain/delay?timeout=0&url=http://127.0.0.1:1/", "", good, 504)
	f("PUT", "/storage/x", `"`+strings.Repeat("x", 2<<20)+`"`, good, 413)
	f("GET", "/dns/query?name=x.test", "", good, 500)
	f("POST", "/upgrade", "", good, 500)
}

// TestPreflights: browsers ask before they let a page ask, and send no secret then.
func TestPreflights(t *testing.T) {
	f := func(d *testkit.Daemon, path, method, fields, origin string, private bool, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", d.BaseURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", method)
		req.Header.Set("Access-Control-Request-Headers", fields)
		if private {
			req.Header.Set("Access-Control-Request-Private-Network", "true")
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		var got []string
		for _, name := range []string{"Origin", "Methods", "Headers", "Private-Network", "Credentials"} {
			got = append(got, res.Header.Get("Access-Control-Allow-"+name))
		}
		if line := strings.Join(got, "|"); res.StatusCode != 200 || len(b) > 0 || line != want {
			t.Errorf("%s %s of %s: %d %q %q; want %q", method, path, origin, res.StatusCode, b, line, want)
		}
	}
	const key, cors = "secret: s\n", "external-controller-cors: {allow-origins: [%s], allow-private-network: %v}\n"
	const panel, other = "https://panel.test", "https://attacker.test"
	all := testkit.Start(t, plain+key)
	f(all, "/configs", "PATCH", "authorization,content-type", panel, false, "*|PATCH|Authorization, Content-Type||")
	f(all, "/configs", "PATCH", "authorization,content-type", panel, true, "*|PATCH|Authorization, Content-Type|true|")
	f(all, "/nowhere", "DELETE", "", panel, true, "*|DELETE||true|")
	f(all, "/configs", "PATCH", "authorization,x-other", panel, true, "||||")
	f(all, "/configs", "TRACE", "", panel, true, "||||")
	public := testkit.Start(t, plain+key+fmt.Sprintf(cors, "'*'", false))
	f(public, "/configs", "PUT", "content-type", panel, true, "*|PUT|Content-Type||")
	listed := testkit.Start(t, plain+key+fmt.Sprintf(cors, "'"+panel+"'", true))
	f(listed, "/configs", "PUT", "content-type", panel, true, panel+"|PUT|Content-Type|true|")
	f(listed, "/configs", "PUT", "content-type", other, true, "||||")
	open := testkit.Start(t, plain)
	f(open, "/configs", "PUT", "content-type", panel, true, "||||")
	f(open, "/configs", "PUT", "content-type", "http://localhost:8080", true, "http://localhost:8080|PUT|Content-Type|true|")
}

// TestFirstWords is what clients look at before anything else (traps 3, 4 and 5).
func TestFirstWords(t *testing.T) {
	h := newHousehold(t, "")
	if hello := decoded[map[string]any](t, h.Daemon, "/")["hello"]; hello == nil || hello.(string) == "" {
		t.Errorf("hello: %v", hello)
	}
	v := decoded[struct {
		Version string
		Meta    bool
	}](t, h.Daemon, "/version")
	low := strings.ToLower(v.Version)
	if v.Version == "" || !v.Meta || strings.Contains(low, "sing-box") || strings.Contains(low, "honk") {
		t.Errorf("%+v", v)
	}
	for _, mode := range []string{"Global", "Direct", "Rule", "GLOBAL", "direct", "rule"} {
		mustDo(t, h.Daemon, "PATCH", "/configs", fmt.Sprintf(`{"mode":%q}`, mode), 204)
		if c := decoded[struct{ Mode string }](t, h.Daemon, "/configs"); c.Mode != strings.ToLower(mode) {
			t.Errorf("%s is shown as %s", mode, c.Mode)
		}
	}
	mustDo(t, h.Daemon, "PATCH", "/configs", `{"socks-port":0,"socket-port":0}`, 204) // as yacd has it
}

// TestProviderShapes is what pages take for granted of providers and nodes (traps 7, 8 and 9).
func TestProviderShapes(t *testing.T) {
	h := newHousehold(t, "")
	type provider struct {
		Name, VehicleType, TestURL, UpdatedAt string
		Proxies                               []json.RawMessage
	}
	all := decoded[struct{ Providers map[string]provider }](t, h.Daemon, "/providers/proxies").Providers
	for name, p := range all {
		if _, err := time.Parse(time.RFC3339, p.UpdatedAt); err != nil || p.Name != name || p.Proxies == nil {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	groups := []string{"Outer", "Inner", "Auto", "First", "Turns", "Used", "Chain", "Hidden"}
	for _, name := range append(groups, "default") {
		if name == "Used" { // it has nodes of providers alone, which are shown there
			continue
		}
		if p := all[name]; p.VehicleType != "Compatible" || p.UpdatedAt != "0001-01-01T00:00:00Z" || len(p.Proxies) == 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if all["Auto"].TestURL != h.well || all["remote"].VehicleType != "HTTP" || all["inline"].VehicleType != "Inline" {
		t.Errorf("%+v", all)
	}
	rules := decoded[struct{ Providers map[string]provider }](t, h.Daemon, "/providers/rules").Providers
	for name, p := range rules {
		if _, err := time.Parse(time.RFC3339, p.UpdatedAt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	proxies := decoded[struct {
		Proxies map[string]map[string]json.RawMessage
	}](t, h.Daemon, "/proxies").Proxies
	for name, p := range proxies {
		if p["history"] == nil || p["history"][0] != '[' || p["extra"] == nil || p["extra"][0] != '{' {
			t.Errorf("%s: history %s, extra %s", name, p["history"], p["extra"])
		}
		if list, ok := p["all"]; ok && (list[0] != '[' || string(list) == "[]") {
			t.Errorf("%s: all %s", name, list)
		}
	}
	// The order in which all of them show groups.
	var order []string
	if err := json.Unmarshal(proxies["GLOBAL"]["all"], &order); err != nil {
		t.Fatal(err)
	}
	order = slices.DeleteFunc(order, func(name string) bool { return !slices.Contains(groups, name) })
	if !slices.Equal(order, groups) {
		t.Errorf("GLOBAL has %q; want %q", order, groups)
	}
}

// TestMeasuring is how dashboards measure: they ask, and then read what is stored (traps 10, 11 and 12).
func TestMeasuring(t *testing.T) {
	h := newHousehold(t, "")
	test := "?timeout=5000&url=" + url.QueryEscape(h.well)
	type shown struct {
		Fixed   string
		History []struct{ Delay int }
		Extra   map[string]struct {
			Alive   bool
			History []struct{ Delay int }
		}
	}
	stored := func(path string, delay int) {
		t.Helper()
		p := decoded[shown](t, h.Daemon, path)
		x := p.Extra[h.well].History
		if len(p.History) == 0 || len(x) == 0 || p.History[len(p.History)-1].Delay != delay || x[len(x)-1].Delay != delay {
			t.Errorf("%s: %d was answered, and stored is %+v", path, delay, p)
		}
	}
	for range 3 {
		for _, name := range []string{"plain", url.PathEscape("a/b 🇯🇵")} {
			got := decoded[struct{ Delay int }](t, h.Daemon, "/proxies/"+name+"/delay"+test)
			if got.Delay < 1 {
				t.Errorf("%s: %d", name, got.Delay)
			}
			stored("/proxies/"+name, got.Delay)
		}
		name := "/providers/proxies/remote/" + url.PathEscape("p/2 🇩🇪")
		stored(name, decoded[struct{ Delay int }](t, h.Daemon, name+"/healthcheck"+test).Delay)
	}
	for path, want := range map[string]int{
		"/proxies/dead/delay" + test:                                           503,
		"/proxies/plain/delay?timeout=2000&url=http://127.0.0.1:1/":            503,
		"/proxies/plain/delay?timeout=0&url=" + url.QueryEscape(h.well):        504,
		"/group/First/delay?timeout=0&url=" + url.QueryEscape(h.well):          504,
		"/providers/proxies/inline/i1/healthcheck?timeout=0&url=http://x.test": 504,
	} {
		status, body := h.Do(t, "GET", path, "")
		strictFailure.reads(t, path, body)
		if status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	stored("/proxies/dead", 0)
	// A group's test leaves out what is dead, and takes the pin out.
	for _, group := range []string{"Auto", "First"} {
		mustDo(t, h.Daemon, "PUT", "/proxies/"+group, `{"name":"plain"}`, 204)
		if p := decoded[shown](t, h.Daemon, "/proxies/"+group); p.Fixed != "plain" {
			t.Errorf("%s: %+v", group, p)
		}
		delays := decoded[map[string]int](t, h.Daemon, "/group/"+group+"/delay"+test)
		if _, dead := delays["dead"]; dead || delays["plain"] < 1 {
			t.Errorf("%s: %v", group, delays)
		}
		if p := decoded[shown](t, h.Daemon, "/proxies/"+group); p.Fixed != "" {
			t.Errorf("%s: %+v", group, p)
		}
		stored("/proxies/plain", delays["plain"])
	}
	mustDo(t, h.Daemon, "GET", "/providers/proxies/remote/healthcheck", "", 204)
	if p := decoded[shown](t, h.Daemon, "/providers/proxies/remote/p1"); len(p.History) == 0 {
		t.Errorf("%+v", p)
	}
}

// TestSwitches: zashboard shows a switch for each rule that has extra, and sends its index (trap 13).
func TestSwitches(t *testing.T) {
	h := newHousehold(t, "")
	type ruleShown struct {
		Index *int
		Type  string
		Extra *struct {
			Disabled            bool
			HitCount, MissCount *int
			HitAt, MissAt       string
		}
	}
	rules := func() []ruleShown { return decoded[struct{ Rules []ruleShown }](t, h.Daemon, "/rules").Rules }
	for i, r := range rules() {
		if r.Index == nil || *r.Index != i || r.Extra == nil || r.Extra.HitCount == nil || r.Extra.MissCount == nil {
			t.Fatalf("rule %d: %+v", i, r)
		}
		for _, at := range []string{r.Extra.HitAt, r.Extra.MissAt} {
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				t.Error(err)
			}
		}
	}
	for _, off := range []bool{true, false} {
		mustDo(t, h.Daemon, "PATCH", "/rules/disable", fmt.Sprintf(`{"3":%v}`, off), 204)
		for i, r := range rules() {
			if r.Extra.Disabled != (off && i == 3) {
				t.Errorf("rule %d: %+v", i, r)
			}
		}
	}
}

// TestSnapshots: speeds are differences of snapshots a second apart, connections that are gone are
// found by id, and totals that fall are taken for another daemon (traps 14 and 15).
func TestSnapshots(t *testing.T) {
	h := newHousehold(t, "")
	c := connect(t, h.Mixed, echo(t))
	ws, _, err := h.dial(t, "/connections", nil)
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]bool)
	for _, r := range decoded[struct{ Rules []struct{ Type string } }](t, h.Daemon, "/rules").Rules {
		types[r.Type] = true
	}
	var up, down int64
	var id string
	began := time.Now()
	var at []time.Duration
	for i := range 4 {
		speak(t, c, "hello", 5)
		var m struct {
			UploadTotal, DownloadTotal int64
			Connections                []struct {
				ID, Rule, Start string
				Chains          []string
			}
		}
		text := next(t, ws)
		at = append(at, time.Since(began))
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if m.UploadTotal < up || m.DownloadTotal < down {
			t.Errorf("totals fall: %d, %d; were %d, %d", m.UploadTotal, m.DownloadTotal, up, down)
		}
		up, down = m.UploadTotal, m.DownloadTotal
		switch i {
		case 0, 1:
			if len(m.Connections) != 1 || !slices.Equal(m.Connections[0].Chains, []string{"a/b 🇯🇵", "Inner", "Outer"}) || !types[m.Connections[0].Rule] {
				t.Fatal(text)
			}
			if _, err := time.Parse(time.RFC3339, m.Connections[0].Start); err != nil || i == 1 && m.Connections[0].ID != id {
				t.Errorf("%s, %v", text, err)
			}
			id = m.Connections[0].ID
			if i == 1 { // the connection ends, and later the configuration
				mustDo(t, h.Daemon, "DELETE", "/connections/"+id, "", 204)
				mustDo(t, h.Daemon, "DELETE", "/connections/"+id, "", 204) // a double click
				c = connect(t, h.Mixed, echo(t))
			}
		case 2:
			if len(m.Connections) != 1 || m.Connections[0].ID == id {
				t.Error(text)
			}
			mustDo(t, h.Daemon, "DELETE", "/connections", "", 204)
			mustDo(t, h.Daemon, "PUT", "/configs?force=true", `{"path":"","payload":""}`, 204)
			c = connect(t, h.Mixed, echo(t))
		}
	}
	if up < 10 || down < 10 {
		t.Errorf("totals are %d, %d", up, down)
	}
	if first := at[0]; first > 900*time.Millisecond {
		t.Errorf("the first message comes after %v", first)
	}
	if three := at[3] - at[0]; three < 2500*time.Millisecond || three > 5*time.Second {
		t.Errorf("four messages come in %v", three)
	}
}

// TestTokensAndNames: tokens are values of a query, names are decoded once they are found (trap 16).
func TestTokensAndNames(t *testing.T) {
	const secret = "a b+c/ü&%#?"
	h := newHousehold(t, fmt.Sprintf("secret: %q\n", secret))
	f := func(query string, fields http.Header, want int) {
		t.Helper()
		_, res, err := h.dial(t, "/traffic"+query, fields)
		if res == nil || res.StatusCode != want {
			t.Errorf("%s: %v, %v; want %d", query, res, err, want)
		}
	}
	bearer := http.Header{"Authorization": {"Bearer " + secret}}
	f("?token="+url.QueryEscape(secret), nil, 101)                                 // URLSearchParams
	f("?token="+strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"), nil, 101) // encodeURIComponent
	f("?level=info&token="+url.QueryEscape(secret), nil, 101)                      // clash-dashboard has it last
	f("?token=", bearer, 101)                                                      // zashboard, yacd
	f("", bearer, 101)                                                             // the typed client
	f("?token=", nil, 401)
	f("?token=x", bearer, 401)
	f("?token="+url.QueryEscape(secret)+"x", nil, 401)
	f("", nil, 401)

	name := "a/b 🇯🇵"
	for _, path := range []string{url.PathEscape(name), "a%2Fb%20🇯🇵", "a%2fb%20%F0%9F%87%AF%F0%9F%87%B5", "a%252Fb%2520%25F0%259F%2587%25AF%25F0%259F%2587%25B5"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(h.BaseURL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprintf(c, "GET /proxies/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", path, secret)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var p struct{ Name string }
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode != 200 || p.Name != name {
			t.Errorf("%s: %d %q, %v", path, res.StatusCode, p.Name, err)
		}
		_ = c.Close()
	}
	// A slash that is no part of the name ends it.
	if status, body := h.Do(t, "GET", "/proxies/a/b%20🇯🇵", ""); status != 404 {
		t.Errorf("%d %s", status, body)
	}
}

// TestPlainLogs: yacd falls back to reading lines of a plain answer, which must begin at once.
func TestPlainLogs(t *testing.T) {
	h := newHousehold(t, "")
	mustDo(t, h.Daemon, "PATCH", "/configs", `{"log-level":"warning"}`, 204)
	level := decoded[map[string]any](t, h.Daemon, "/configs")["log-level"]
	ctx := t.Context()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/logs?level=%v", h.BaseURL, level), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req) // before there is any line
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	type answer struct {
		line string
		err  error
	}
	first := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		first <- answer{line, err}
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		mustDo(t, h.Daemon, "PUT", "/configs", asPayload("mdoe: rule\nlog-level: warning"), 204)
		select {
		case got := <-first:
			var m struct{ Type, Payload string }
			if got.err != nil || json.Unmarshal([]byte(got.line), &m) != nil || m.Type != "warning" || !strings.Contains(m.Payload, "mdoe") {
				t.Errorf("%q, %v", got.line, got.err)
			}
			return
		default:
		}
	}
	t.Error("no line comes")
}
