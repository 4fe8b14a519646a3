// Package browser drives Chromium over pages that use the API as dashboards do, from other origins:
// what browsers make of the daemon's headers is seen in a browser.
package browser

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

//go:embed dashboard.html
var dashboardPage []byte

//go:embed dashboard.js
var dashboardScript []byte

// modules is where npm ci of .ci/run puts playwright-core.
const modules = "../../.ci/node_modules"

// secret has letters that must be escaped in a URL. Browsers send others than those of ASCII in ways of their own.
const secret = "s3cret/a &+%#?"

// needs says where a program is, or skips the test.
func needs(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("no %s: what browsers do is not tested", names[0])
	return ""
}

func TestBrowser(t *testing.T) {
	chromium, node := needs(t, "chromium", "chromium-browser"), needs(t, "node")
	lib, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(lib, "playwright-core")); err != nil {
		t.Skip("no playwright-core (npm ci --ignore-scripts in .ci): what browsers do is not tested")
	}
	pages, port := serve(t)
	given := map[string]any{
		"modules": lib, "chromium": chromium, "secret": secret, "port": port, "delayURL": pages + "/204",
		"group": "組/1 🇯🇵 %", "nodes": []string{"a/b ?#", "日本 🇯🇵 100%"}, "provider": "sub/1 🇩🇪", "rules": "rules/1 🇫🇷",
	}
	const key = "secret: \"" + secret + "\"\n"
	for name, more := range map[string]string{
		"open": "", "guarded": key,
		"listed": key + fmt.Sprintf("external-controller-cors: {allow-origins: ['http://panel.test:%s']}\n", port),
	} {
		given[name] = start(t, pages, more)
	}
	argument, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "drive.mjs", string(argument))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	checks := 0
	for lines := bufio.NewScanner(out); lines.Scan(); checks++ {
		var c struct{ Name, Problem string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%q: %v", lines.Bytes(), err)
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Problem != "" {
				t.Error(c.Problem)
			}
		})
	}
	if err := cmd.Wait(); err != nil || checks == 0 {
		t.Errorf("after %d checks: %v\n%s", checks, err, said.String())
	}
}

// serve serves the dashboard, a list of nodes and one of rules, and what delay tests ask for.
func serve(t *testing.T) (url, port string) {
	t.Helper()
	mux := http.NewServeMux()
	give := func(path, kind string, text []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(text)
		})
	}
	give("/dashboard.html", "text/html", dashboardPage)
	give("/dashboard.js", "text/javascript", dashboardScript)
	give("/nodes", "text/yaml", []byte("proxies: [{name: p/1 🇩🇪, type: direct}]\n"))
	give("/rules", "text/plain", []byte("DOMAIN,x.test\n"))
	mux.HandleFunc("/204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, s.URL[strings.LastIndexByte(s.URL, ':')+1:]
}

// start runs a daemon with a web panel, and returns where its API is.
func start(t *testing.T, pages, more string) string {
	t.Helper()
	d := testkit.Start(t, fmt.Sprintf(`%[2]smixed-port: MIXED
log-level: debug
external-ui: ui
external-ui-url: http://127.0.0.1:1/
proxies:
- {name: 'a/b ?#', type: direct}
- {name: '日本 🇯🇵 100%%', type: direct}
proxy-providers:
  sub/1 🇩🇪: {type: http, url: '%[1]s/nodes', health-check: {enable: true, url: '%[1]s/204', interval: 3600}}
proxy-groups:
- {name: '組/1 🇯🇵 %%', type: select, proxies: ['a/b ?#', '日本 🇯🇵 100%%'], use: [sub/1 🇩🇪]}
- {name: Auto, type: url-test, proxies: ['a/b ?#', '日本 🇯🇵 100%%'], url: '%[1]s/204', interval: 3600}
rule-providers:
  rules/1 🇫🇷: {type: http, behavior: classical, format: text, url: '%[1]s/rules'}
rules: ['RULE-SET,rules/1 🇫🇷,REJECT', 'MATCH,DIRECT']
`, pages, more))
	d.WaitLog(t, "web panel: ") // there is none to download
	for from, to := range map[string]string{"panel.html": "index.html", "panel.js": "assets/panel.js"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(d.Home, "ui", to)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d.BaseURL
}
