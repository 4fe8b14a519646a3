package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/exposition"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// observeAs asks the API with an Authorization field.
func observeAs(t *testing.T, d *testkit.Daemon, path, authorization string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.BaseURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func scrape(t *testing.T, d *testkit.Daemon, authorization string) exposition.Metrics {
	t.Helper()
	res, text := observeAs(t, d, "/metrics", authorization)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != exposition.ContentType {
		t.Fatalf("%s %q: %.200s", res.Status, res.Header.Get("Content-Type"), text)
	}
	m, err := exposition.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// socksTo opens a connection to target by SOCKS 5, and says whether that went well.
func socksTo(t *testing.T, d *testkit.Daemon, target string) (net.Conn, bool) {
	t.Helper()
	c, err := net.Dial("tcp", d.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	host, text, _ := net.SplitHostPort(target)
	port, _ := strconv.Atoi(text)
	hello := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	_, _ = c.Write(append(hello, byte(port>>8), byte(port)))
	answer := make([]byte, 12)
	_, err = io.ReadFull(c, answer)
	return c, err == nil && answer[3] == 0
}

const observedConfig = plain0 + `
secret: s3cret
metrics-token: m3trics
dns:
  enable: true
  listen: 127.0.0.1:DNS
  nameserver: ['rcode://success']
  nameserver-policy: {fails.test: 'tcp://127.0.0.1:1'}
hosts: {mine.test: 192.0.2.1}
proxies:
  - {name: dead, type: socks5, server: 127.0.0.1, port: 1}
proxy-groups:
  - {name: G, type: select, proxies: [dead, DIRECT]}
rule-providers:
  none: {type: http, behavior: domain, url: 'http://127.0.0.1:1/list', path: none.txt}
rules: ['DOMAIN,dead.test,G', 'DOMAIN-SUFFIX,no.test,REJECT', 'RULE-SET,none,DIRECT', 'IP-CIDR,127.0.0.0/8,DIRECT', 'MATCH,DIRECT']
`

const plain0 = "mixed-port: MIXED\nmode: rule\n"

// TestMetrics drives traffic, questions, failures and reloads, and sees each counted.
func TestMetrics(t *testing.T) {
	port := testkit.FreePort(t)
	d := testkit.Start(t, strings.Replace(observedConfig, "DNS", strconv.Itoa(port), 1))
	const token = "Bearer m3trics"
	before := scrape(t, d, token)
	origin := page(t)
	c, ok := socksTo(t, d, origin)
	if !ok {
		t.Fatal("no way to the page")
	}
	_, _ = io.WriteString(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); n != 1<<20 || err != nil {
		t.Fatal(n, err)
	}
	if _, ok := socksTo(t, d, "dead.test:80"); ok {
		t.Fatal("a way through the dead")
	}
	_, _ = socksTo(t, d, "x.no.test:80")
	ask := func(name string) {
		t.Helper()
		q := new(miekg.Msg).SetQuestion(name, miekg.TypeA)
		if _, _, err := new(miekg.Client).Exchange(q, fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			t.Fatal(err)
		}
	}
	ask("mine.test.")
	ask("a.test.")
	ask("fails.test.")
	if err := os.WriteFile(d.File, []byte("mode: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "reload failed")

	now := scrape(t, d, "Basic "+base64.StdEncoding.EncodeToString([]byte("prometheus:m3trics")))
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		name = "switchyard_" + name
		if got := now.Value(name, labels...) - before.Value(name, labels...); got != want {
			t.Errorf("%s%q moved by %v; want %v", name, labels, got, want)
		}
	}
	f(1, "flows_opened_total", "network", "tcp", "inbound", "Socks5")
	f(1, "flows_live", "network", "tcp", "inbound", "Socks5")
	f(0, "flows_closed_total")
	f(1, "rule_matches_total", "type", "IPCIDR")
	f(1, "rule_matches_total", "type", "Domain")
	f(1, "rule_matches_total", "type", "DomainSuffix")
	f(1, "dial_failures_total", "type", "Socks5")
	f(1, "flows_rejected_total")
	f(1, "dns_questions_total", "answer", "hosts")
	f(1, "dns_questions_total", "answer", "server")
	f(1, "dns_questions_total", "answer", "failed")
	f(1, "config_reloads_total", "result", "failed")
	f(-1, "config_last_reload_successful")
	f(0, "panics_total")
	if down := now.Value("switchyard_flow_bytes_total", "direction", "down"); down < 1<<20 {
		t.Errorf("%v bytes down", down)
	}
	if now.Value("switchyard_dns_upstream_failures_total", "scheme", "tcp") < 1 {
		t.Error("no failure of a name server is counted")
	}
	if v := now.Value("switchyard_provider_error", "kind", "rule", "name", "none"); v != 1 {
		t.Errorf("provider_error is %v", v)
	}
	for name, family := range now { // nothing that counts has fallen
		if family.Type == "counter" && now.Value(name) < before.Value(name) {
			t.Errorf("%s fell", name)
		}
	}
	_ = c.Close()
	for end := time.Now().Add(10 * time.Second); scrape(t, d, token).Value("switchyard_flows_closed_total") == 0; {
		if time.Now().After(end) {
			t.Fatal("the end of the flow is not counted")
		}
	}
}

// TestReadyz fails a reload, and mends it.
func TestReadyz(t *testing.T) {
	d := testkit.Start(t, plain+"secret: s3cret\n")
	good, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string) {
		t.Helper()
		res, body := observeAs(t, d, "/readyz", "")
		if res.StatusCode != 200 || body != fmt.Sprintf("{\"status\":%q}\n", want) {
			t.Errorf("%d %s; want %s", res.StatusCode, body, want)
		}
	}
	f("ok")
	if res, body := observeAs(t, d, "/livez", ""); res.StatusCode != 200 || body != "ok" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	bad := string(good) + fmt.Sprintf("port: %d\n", busy.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(d.File, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "reload failed")
	f("degraded")
	var r struct {
		Components map[string]struct{ Status, Step, Message string }
	}
	_, body := observeAs(t, d, "/readyz", "Bearer s3cret")
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	if c := r.Components["config"]; c.Status != "degraded" || c.Step != "inbounds" || !strings.Contains(c.Message, "in use") {
		t.Errorf("%s", body)
	}
	if c := r.Components["listeners"]; c.Status != "ok" {
		t.Errorf("%s", body)
	}
	if err := os.WriteFile(d.File, good, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "configuration reloaded")
	f("ok")
}

// TestPprof reads profiles with go tool pprof, as its users do, at a level that is debug from the start and
// later on.
func TestPprof(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go tool")
	}
	tool := func(d *testkit.Daemon, secret, profile string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		u, err := url.Parse(d.BaseURL + "/debug/pprof/" + profile)
		if err != nil {
			t.Fatal(err)
		}
		if secret != "" {
			u.User = url.UserPassword("x", secret)
		}
		cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", u.String())
		cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	works := func(d *testkit.Daemon, profile, want string) {
		t.Helper()
		if out, err := tool(d, "s3cret", profile); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v; want %q in\n%s", profile, err, want, out)
		}
	}
	fails := func(d *testkit.Daemon, secret, want string) {
		t.Helper()
		if out, err := tool(d, secret, "heap"); err == nil || !strings.Contains(out, want) {
			t.Errorf("with %q: %v; want %s in\n%s", secret, err, want, out)
		}
	}
	d := testkit.Start(t, plain+"secret: s3cret\n")
	fails(d, "s3cret", "404")
	mustDo(t, d, "PATCH", "/configs", `{"log-level":"debug"}`, 204)
	works(d, "heap", "Type: inuse_space")
	fails(d, "wrong", "401")
	fails(d, "", "401")
	mustDo(t, d, "PATCH", "/configs", `{"log-level":"info"}`, 204)
	fails(d, "s3cret", "404")

	d = testkit.Start(t, plain+"secret: s3cret\nlog-level: debug\n")
	works(d, "goroutine", "runtime.gopark")
	works(d, "allocs", "Type: alloc_space")
	works(d, "mutex", "Type: delay")
	works(d, "profile?seconds=1", "Duration: ")
	debugTrace(t, d)
}

// debugTrace reads a trace, and the name of an address.
func debugTrace(t *testing.T, d *testkit.Daemon) {
	t.Helper()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("x:s3cret"))
	if res, body := observeAs(t, d, "/debug/pprof/trace?seconds=1", basic); res.StatusCode != 200 || !strings.HasPrefix(body, "go 1.") {
		t.Errorf("trace: %d %.20q", res.StatusCode, body)
	} else {
		path := filepath.Join(t.TempDir(), "trace")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "tool", "trace", "-pprof=sched", path).CombinedOutput(); err != nil {
			t.Errorf("go tool trace: %v, %.200s", err, out)
		}
	}
	_, text := observeAs(t, d, "/debug/pprof/goroutine?debug=1", basic)
	at := regexp.MustCompile(`(?m)^#\t(0x[0-9a-f]+)\tinternal/poll\.runtime_pollWait`).FindStringSubmatch(text)
	if at == nil {
		t.Fatalf("no goroutine waits: %.500s", text)
	}
	if _, names := observeAs(t, d, "/debug/pprof/symbol?"+at[1], basic); !strings.Contains(names, at[1]+" internal/poll.runtime_pollWait") {
		t.Errorf("symbol: %q", names)
	}
}

// structured is a message of the log in its structured form.
type structured struct {
	Time           time.Time
	Level, Message string
	Fields         []struct{ Key, Value string }
}

func (s *structured) get(key string) string {
	var all []string
	for _, f := range s.Fields {
		if f.Key == key {
			all = append(all, f.Value)
		}
	}
	return strings.Join(all, "<")
}

// follow reads the structured log until a message has the text, and returns that one.
func follow(t *testing.T, d *testkit.Daemon) func(text string) structured {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.BaseURL+"/logs?level=debug&format=structured", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	in := bufio.NewReader(res.Body)
	return func(text string) (m structured) {
		t.Helper()
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				t.Fatalf("%q does not come: %v", text, err)
			}
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if strings.Contains(m.Message, text) {
				return m
			}
			m = structured{}
		}
	}
}

// TestStructuredLog follows connections and a provider, and finds what the daemon's own log has in words.
func TestStructuredLog(t *testing.T) {
	origin := page(t)
	d := testkit.Start(t, plain0+`
log-level: debug
proxies: [{name: dead, type: socks5, server: 127.0.0.1, port: 1}]
proxy-groups:
  - {name: G, type: select, proxies: [dead, DIRECT]}
  - {name: H, type: select, proxies: [DIRECT]}
rule-providers:
  list: {type: file, behavior: domain, format: text, path: list.txt}
rules: ['DOMAIN,dead.test,G', 'DOMAIN-SUFFIX,no.test,REJECT', 'RULE-SET,list,DIRECT', 'MATCH,H']
`)
	list := filepath.Join(d.Home, "list.txt")
	next := follow(t, d)
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		next("begin.no.test:80")
	}()
	for begins := false; !begins; { // the head of the answer comes before the log is watched
		_, _ = socksTo(t, d, "begin.no.test:80")
		select {
		case <-begun:
			begins = true
		default:
		}
	}
	c, ok := socksTo(t, d, origin)
	if !ok {
		t.Fatal("no way to the page")
	}
	_ = c.Close()
	m := next(" --> " + origin + " match Match using H[DIRECT]")
	id := m.get("id")
	f := func(m structured, key, want string) {
		t.Helper()
		if got := m.get(key); got != want {
			t.Errorf("%s is %q; want %q in %+v", key, got, want, m)
		}
	}
	if time.Since(m.Time).Abs() > time.Minute || m.Level != "info" || !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) {
		t.Errorf("%+v", m)
	}
	f(m, "network", "tcp")
	f(m, "type", "Socks5")
	f(m, "inbound", "DEFAULT-MIXED")
	f(m, "target", origin)
	f(m, "rule", "Match")
	f(m, "chain", "DIRECT<H")
	f(m, "remote", "127.0.0.1")
	if want := fmt.Sprintf("[TCP] %s --> %s match Match using H[DIRECT]", m.get("source"), origin); m.Message != want {
		t.Errorf("%q; want %q", m.Message, want)
	}
	d.WaitLog(t, `msg="`+m.Message+`"`+"\n") // and nothing behind it
	m = next("closed: ")
	f(m, "id", id)
	f(m, "up", "0")
	f(m, "chain", "DIRECT<H")
	if m.get("reason") == "" {
		t.Errorf("%+v", m)
	}

	_, _ = socksTo(t, d, "dead.test:80")
	m = next("dial G (match Domain/dead.test)")
	f(m, "rule", "Domain")
	f(m, "payload", "dead.test")
	f(m, "chain", "dead<G")
	f(m, "target", "dead.test:80")
	if m.Level != "warn" || !strings.Contains(m.get("error"), "connection refused") || !strings.HasSuffix(m.Message, " error: "+m.get("error")) {
		t.Errorf("%+v", m)
	}
	_, _ = socksTo(t, d, "x.no.test:80")
	m = next("x.no.test:80 match DomainSuffix(no.test) using REJECT")
	f(m, "rule", "DomainSuffix")
	f(m, "chain", "REJECT")
	f(m, "error", "")

	if err := os.WriteFile(list, []byte("b.test\nc.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustDo(t, d, "PUT", "/providers/rules/list", "", 204)
	m = next(`provider "list" updated`)
	f(m, "provider", "list")
	f(m, "error", "")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustDo(t, d, "PUT", "/providers/rules/list", "", 503)
	m = next(`provider "list": `)
	f(m, "provider", "list")
	if m.get("error") == "" || !strings.HasSuffix(m.Message, m.get("error")) {
		t.Errorf("%+v", m)
	}
}
