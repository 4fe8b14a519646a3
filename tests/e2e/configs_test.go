package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

func newSDK(t *testing.T, d *testkit.Daemon) *client.API {
	t.Helper()
	sdk, err := client.New(d.BaseURL, client.WithSecret(d.Secret))
	if err != nil {
		t.Fatal(err)
	}
	return sdk
}

// asPayload is the body that has a configuration in it.
func asPayload(yaml string) string {
	b, _ := json.Marshal(map[string]string{"payload": yaml})
	return string(b)
}

// homeOf is what is in the home directory of a daemon.
func homeOf(t *testing.T, d *testkit.Daemon) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(d.Home, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			fmt.Fprintln(&b, path)
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// etag is that of the configuration that runs.
func etag(t *testing.T, d *testkit.Daemon) string {
	t.Helper()
	res := conditional(t, d, "GET", "", "")
	tag := res.Header.Get("ETag")
	if res.StatusCode != 200 || len(tag) < 10 || tag[0] != '"' || strings.Contains(tag, "W/") {
		t.Fatalf("%d, ETag %s", res.StatusCode, tag)
	}
	return tag
}

// conditional sends a request to /configs with a field such as "If-Match: *", and returns the answer, whose
// body is read.
func conditional(t *testing.T, d *testkit.Daemon, method, field, body string) *http.Response {
	t.Helper()
	path := "/configs"
	req, err := http.NewRequestWithContext(t.Context(), method, d.BaseURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if d.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+d.Secret)
	}
	if name, value, ok := strings.Cut(field, ": "); ok {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	return res
}

// TestValidate says all that is wrong, with its place, and leaves everything as it is.
func TestValidate(t *testing.T) {
	d := testkit.Start(t, plain)
	before, tag := homeOf(t, d), etag(t, d)
	f := func(body, want string) {
		t.Helper()
		answer := mustDo(t, d, "POST", "/configs/validate", body, 200)
		var v api.Verdict
		if err := json.Unmarshal([]byte(answer), &v); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(v.Valid)
		for _, g := range v.Diagnostics {
			got += fmt.Sprintf("\n%s %d:%d %s: %s", g.Severity, g.Line, g.Column, g.Path, g.Message)
			if g.Hint != nil {
				got += " (" + *g.Hint + ")"
			}
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s\nwant %s", body, got, want)
		}
	}
	f(`{}`, "true")
	f(fmt.Sprintf(`{"path":%q}`, d.File), "true")
	f(asPayload("rules: ['MATCH,DIRECT']"), "true")
	f(asPayload("mdoe: rule"), `true
warning 1:1 mdoe: unknown key (did you mean "mode"?)`)
	// Errors of every judge at once.
	f(asPayload("mode: x\nproxies: [{name: n, type: http, server: 'a b', port: 1}]\nrules: ['FOO,a,DIRECT', 'IP-CIDR,1.1.1.1,DIRECT']\n"), `false
error 1:7 mode: want rule, global, direct, got "x"
error 2:11 proxies[0].server: want a host name or an address
error 3:9 rules[0]: `)
	f(asPayload("rules: ['MATCH,DIRCT']"), "false\nerror 1:9 rules[0]: [MATCH,DIRCT]: proxy [DIRCT] not found (did you mean \"DIRECT\"?)")
	// What would be opened, downloaded and written is not.
	f(asPayload(`
mixed-port: 1
external-controller: 0.0.0.0:2
dns: {enable: true, listen: '127.0.0.1:3', nameserver: [1.1.1.1], enhanced-mode: fake-ip}
profile: {store-fake-ip: true}
rule-providers: {a: {type: http, behavior: domain, url: 'http://127.0.0.1:1/x'}}
proxy-providers: {a: {type: http, url: 'http://127.0.0.1:1/y'}}
rules: ['RULE-SET,a,REJECT', 'GEOIP,cn,DIRECT', 'MATCH,DIRECT']
`), "true")
	// The certificate, as -t looks at it.
	f(asPayload("external-controller-tls: 127.0.0.1:0\ntls: {certificate: none.pem, private-key: none.pem}"),
		"false\nerror 2:1 external-controller-tls: tls.certificate: open ")
	f(asPayload("tun: {enable: true}"), "false\nerror 1:1 tun: not supported yet")
	f(asPayload(": ["), "false\nerror 2:1 : yaml: ")
	f(asPayload("- a"), "false\nerror 1:1 : want a map of settings")
	for body, want := range map[string]string{
		`{"path":"config.yaml"}`:                                "path is not a absolute path",
		`{"path":"/etc/passwd"}`:                                "not subpath of home directory or SAFE_PATHS",
		fmt.Sprintf(`{"path":%q}`, d.Home+"/../x.yaml"):         "not subpath",
		fmt.Sprintf(`{"path":%q}`, d.Home+"/none.yaml"):         "no such file",
		fmt.Sprintf(`{"path":%q}`, d.Home):                      "is a directory",
		fmt.Sprintf(`{"path":%q,"payload":""}`, d.Home+"/none"): "no such file",
	} {
		for _, path := range []string{"/configs/validate", "/configs/plan"} {
			if answer := mustDo(t, d, "POST", path, body, 400); !strings.Contains(answer, want) || !strings.Contains(answer, `"code":"path_invalid"`) {
				t.Errorf("%s %s: %s", path, body, answer)
			}
		}
	}
	if after := homeOf(t, d); after != before {
		t.Errorf("the home directory was\n%sand is\n%s", before, after)
	}
	if after := etag(t, d); after != tag {
		t.Errorf("ETag %s, was %s", after, tag)
	}
}

// TestPlanned asks what a change would do, and then makes it.
func TestPlanned(t *testing.T) {
	a, b := upstream(t, "a"), upstream(t, "b")
	base := fmt.Sprintf("secret: hunter2\nproxies:\n  - {name: a, type: http, server: 127.0.0.1, port: %s}\n  - {name: b, type: http, server: 127.0.0.1, port: %s}\n", a, b)
	const groups = "proxy-groups:\n  - {name: G, type: select, proxies: [a, b]}\nrules: ['MATCH,DIRECT']\n"
	d := testkit.Start(t, "mixed-port: MIXED\n"+base+groups)
	origin := startOrigin(t)
	tu := &tunnel{Conn: connect(t, d.Mixed, origin)}
	plan := func(query, yaml string) *api.ConfigPlan {
		t.Helper()
		before, tag := homeOf(t, d), etag(t, d)
		var p api.ConfigPlan
		answer := mustDo(t, d, "POST", "/configs/plan"+query, asPayload(yaml), 200)
		if err := json.Unmarshal([]byte(answer), &p); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(answer, "hunter") {
			t.Error(answer)
		}
		if homeOf(t, d) != before || etag(t, d) != tag {
			t.Error("the plan has changed something")
		}
		return &p
	}
	setting := func(p *api.ConfigPlan, key string) string {
		for _, s := range p.Settings {
			if s.Key == key && s.Before != nil {
				return fmt.Sprintf("%s>%s %v", *s.Before, *s.After, s.Applied)
			} else if s.Key == key {
				return fmt.Sprintf("%v", s.Applied)
			}
		}
		return "same"
	}
	changes := func(p *api.ConfigPlan, owner api.ListenerOwner) (all string) {
		for _, l := range p.Listeners {
			if l.Owner == owner {
				all += fmt.Sprintf("%s:%s ", l.Network, l.Change)
			}
		}
		return strings.TrimSpace(all)
	}
	f := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s; want %s", what, got, want)
		}
	}
	_, port, _ := net.SplitHostPort(d.Mixed)
	next := "allow-lan: true\nmixed-port: " + port + "\nmode: global\n" + strings.Replace(base, "hunter2", "hunter3", 1) +
		strings.Replace(groups, "[a, b]", "[b]", 1)
	p := plan("", next)
	f("inbounds", changes(p, "inbounds"), "tcp:kept udp:kept")
	f("controller", changes(p, "controller"), "tcp:kept")
	f("allow-lan", setting(p, "allow-lan"), "false>true false")
	f("mode", setting(p, "mode"), "rule>global true")
	f("secret", setting(p, "secret"), "false")
	f("mixed-port", setting(p, "mixed-port"), "same")
	f("groups", fmt.Sprint(p.Groups), "{[] [] [G GLOBAL] []}")
	f("connections", fmt.Sprint(p.Connections.Total, p.Connections.Through.Count, p.Connections.Inbound.Count, len(p.Connections.Ended)), "1 0 0 0")
	p = plan("?force=true", next)
	f("inbounds by force", changes(p, "inbounds"), "tcp:kept udp:kept tcp:opened udp:opened")
	f("allow-lan by force", setting(p, "allow-lan"), "false>true true")
	f("connections by force", fmt.Sprint(p.Connections.Total, p.Connections.Inbound.Count, len(p.Connections.Inbound.Ids)), "1 0 0")
	p = plan("?force=true", strings.Replace(next, "allow-lan: true", "allow-lan: true\nbind-address: 127.0.0.2", 1))
	f("inbounds elsewhere", changes(p, "inbounds"), "tcp:replaced udp:replaced")
	f("connections elsewhere", fmt.Sprint(p.Connections.Total, p.Connections.Inbound.Count, len(p.Connections.Inbound.Ids)), "1 1 1")
	if answer := mustDo(t, d, "POST", "/configs/plan", asPayload("rules: ['MATCH,none']"), 400); !strings.Contains(answer, `"path":"rules[0]","severity":"error"`) {
		t.Error(answer)
	}
	mustDo(t, d, "PUT", "/configs?force=true", asPayload(next), 204)
	mustDo(t, d, "PATCH", "/configs", `{"mode":"rule"}`, 204)
	tu.survives(t, "a tunnel through a port that has moved")
}

// survives asks the origin over a tunnel that answers one request.
func (tu *tunnel) survives(t *testing.T, what string) {
	t.Helper()
	_ = tu.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(tu, "GET / HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(tu); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.0 204")) {
		t.Fatalf("%s: %q, %v", what, b, err)
	}
}

// TestETag makes changes on the condition that nobody else has made one.
func TestETag(t *testing.T) {
	d := testkit.Start(t, plain)
	first := etag(t, d)
	if again := etag(t, d); again != first {
		t.Errorf("%s after %s, and nothing has changed", again, first)
	}
	f := func(method, field, body string, want int) {
		t.Helper()
		res := conditional(t, d, method, strings.ReplaceAll(field, "FIRST", first), body)
		if res.StatusCode != want {
			b, _ := io.ReadAll(res.Body)
			t.Errorf("%s with %s: %d %s; want %d", method, field, res.StatusCode, b, want)
		}
	}
	f("GET", "If-None-Match: FIRST", "", 304)
	f("GET", "If-None-Match: W/FIRST", "", 304)
	f("GET", `If-None-Match: "x"`, "", 200)
	f("PATCH", `If-Match: "x"`, `{"mode":"global"}`, 412)
	f("PATCH", `If-Match: W/FIRST`, `{"mode":"global"}`, 412)
	f("PATCH", `If-Match: `, `{"mode":"global"}`, 412)
	f("PUT", `If-Match: "x", "y"`, `{}`, 412)
	if got := etag(t, d); got != first {
		t.Errorf("%s after %s, and nothing has changed", got, first)
	}
	if _, body := d.Do(t, "GET", "/configs", ""); !strings.Contains(body, `"mode":"rule"`) {
		t.Error(body)
	}
	f("PATCH", `If-Match: FIRST`, `{"mode":"global"}`, 204)
	second := etag(t, d)
	if second == first {
		t.Error("the tag is that from before")
	}
	f("PATCH", `If-Match: FIRST`, `{"mode":"rule"}`, 412)
	f("PUT", `If-Match: FIRST`, `{}`, 412)
	f("PUT", `If-Match: *`, `{}`, 204)
	f("PUT", `If-Match: `+etag(t, d)+`, FIRST`, `{}`, 204)
	f("PATCH", ``, `{"mode":"rule"}`, 204)
	f("GET", "If-None-Match: FIRST, "+second, "", 200)
	answer := conditional(t, d, "PATCH", "If-Match: "+first, `{}`)
	if b, _ := io.ReadAll(answer.Body); !bytes.Contains(b, []byte(`"code":"precondition_failed"`)) {
		t.Errorf("%s", b)
	}
	// A reload by signal is a change too.
	third := etag(t, d)
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "configuration reloaded")
	f("PATCH", `If-Match: `+third, `{"mode":"global"}`, 412)

	// Of many who make a change for the same configuration one does.
	tag := etag(t, d)
	sdk := newSDK(t, d)
	var made, stale atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			r, err := sdk.PatchConfigsWithResponse(t.Context(), &api.PatchConfigsParams{IfMatch: &tag}, api.ConfigPatch{})
			switch {
			case err == nil && r.StatusCode() == 204:
				made.Add(1)
			case err == nil && r.JSON412 != nil:
				stale.Add(1)
			}
		})
	}
	wait.Wait()
	if made.Load() != 1 || stale.Load() != 7 {
		t.Errorf("%d have made it, %d have not", made.Load(), stale.Load())
	}
}

// TestReloadByClients sends what clients do: keys and parameters that mean nothing here.
func TestReloadByClients(t *testing.T) {
	d := testkit.Start(t, plain)
	mustDo(t, d, "PATCH", "/configs", `{"mode":"Global","socket-port":7,"dns":{"enable":true},"find-process-mode":"off","secret":"x","unified-delay":true}`, 204)
	if body := mustDo(t, d, "GET", "/configs", "", 200); !strings.Contains(body, `"mode":"global"`) || !strings.Contains(body, `"find-process-mode":"strict"`) {
		t.Error(body)
	}
	for _, query := range []string{"?reload=true", "?force=true&reload=true", "?force=1", "?reload=x"} {
		for _, body := range []string{`{}`, `{"path":"","payload":""}`, fmt.Sprintf(`{"path":%q}`, d.File), `{"path":null,"payload":null}`} {
			mustDo(t, d, "PATCH", "/configs", `{"mode":"direct"}`, 204)
			mustDo(t, d, "PUT", "/configs"+query, body, 204)
			if got := mustDo(t, d, "GET", "/configs", "", 200); !strings.Contains(got, `"mode":"rule"`) {
				t.Errorf("%s %s: %s", query, body, got)
			}
		}
	}
	// What this version has not got is an error that names it, and what is off is none.
	f := func(body string, status int, want string) {
		t.Helper()
		if got := mustDo(t, d, "PATCH", "/configs", body, status); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", body, got, want)
		}
	}
	f(`{"tun":{"enable":true}}`, 400, "tun: not supported yet")
	f(`{"tun":{"enable":false,"stack":"gvisor","strict-route":true,"include-uid":[0]},"tuic-server":{"enable":false,"alpn":["h3"]}}`, 204, "")
	f(`{"tun":{"stack":"x"}}`, 400, "Body invalid")
	f(`{"tun":{"include-uid":["a"]}}`, 400, "Body invalid")
	f(`{"tuic-server":{"enable":true}}`, 400, "tuic-server: not supported yet")
	f(`{"redir-port":7}`, 400, "redir-port: not supported yet")
	f(`{"tproxy-port":7}`, 400, "tproxy-port: not supported yet")
	f(`{"ss-config":"ss://a:b@127.0.0.1:1"}`, 400, "ss-config: not supported yet")
	f(`{"vmess-config":"vmess://a:b@127.0.0.1:1"}`, 400, "vmess-config: not supported yet")
	f(`{"sniffing":true}`, 400, "sniffer: not supported yet")
	f(`{"ss-config":"","vmess-config":"","sniffing":false,"tcptun-config":"x","udptun-config":"x","redir-port":0,"tproxy-port":0}`, 204, "")
	f(`{"tcptun-config":1}`, 400, "Body invalid")
	f(`{"LOG-LEVEL":"DEBUG","Mode":"DIRECT","interface-name":"none0","ipv6":false,"tcp-concurrent":true}`, 204, "")
	if got := mustDo(t, d, "GET", "/configs", "", 200); !strings.Contains(got, `"log-level":"debug"`) || !strings.Contains(got, `"interface-name":"none0"`) {
		t.Error(got)
	}
	f(`null`, 204, "")
}

// TestMovingUnderLoad moves a port between addresses while clients ask through it: every request is answered.
func TestMovingUnderLoad(t *testing.T) {
	d := testkit.Start(t, plain)
	origin := startOrigin(t)
	stop := make(chan struct{})
	var asked, failed atomic.Int64
	var last atomic.Value
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if err := askThrough(d.Mixed, origin); err != nil {
					failed.Add(1)
					last.Store(err.Error())
				}
			}
		})
	}
	for i := range 20 {
		for _, body := range []string{`{"allow-lan":true,"bind-address":"%s"}`, `{"allow-lan":false}`} {
			if strings.Contains(body, "%s") {
				body = fmt.Sprintf(body, []string{"*", "127.0.0.1", "0.0.0.0"}[i%3])
			}
			mustDo(t, d, "PATCH", "/configs", body, 204)
		}
	}
	close(stop)
	wait.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed: %v", failed.Load(), asked.Load(), last.Load())
	}
}

// askThrough sends one request over a connection of its own.
func askThrough(proxy, origin string) error {
	c, err := net.DialTimeout("tcp", proxy, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(c, "GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", origin, origin); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && !bytes.HasPrefix(b, []byte("HTTP/1.1 204")) {
		err = errors.New(string(b))
	}
	return err
}
