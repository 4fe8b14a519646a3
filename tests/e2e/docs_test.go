package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestDocs reads the contract and the explorer from the daemon, without the secret.
func TestDocs(t *testing.T) {
	d := testkit.Start(t, uiConfig)
	written, err := os.ReadFile(filepath.Join("..", "..", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, kind string) string {
		t.Helper()
		res, body := fetchUI(t, d, path)
		h := res.Header
		if res.StatusCode != 200 || h.Get("Content-Type") != kind || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Etag") == "" {
			t.Errorf("%s: %d %v", path, res.StatusCode, h)
		}
		if again, body := fetchUI(t, d, path, "If-None-Match: "+h.Get("Etag")); again.StatusCode != 304 || body != "" {
			t.Errorf("%s again: %d %q", path, again.StatusCode, body)
		}
		if head, body := fetchAs(t, d, "HEAD", path); head.StatusCode != 200 || body != "" || head.ContentLength != res.ContentLength {
			t.Errorf("HEAD %s: %d %q", path, head.StatusCode, body)
		}
		if post, _ := fetchAs(t, d, "POST", path); post.StatusCode != 405 || post.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d", path, post.StatusCode)
		}
		return body
	}
	if got := get("/openapi.yaml", "application/yaml"); got != string(written) {
		t.Error("/openapi.yaml is not what is in the tree")
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal([]byte(get("/openapi.json", "application/json")), &doc); err != nil || doc.OpenAPI != "3.0.3" || doc.Paths["/upgrade/ui"] == nil {
		t.Errorf("%v: %s with %d paths", err, doc.OpenAPI, len(doc.Paths))
	}

	page := get("/docs", "text/html; charset=utf-8")
	for _, id := range []string{"secret", "filter", "operations", "count", "error"} {
		if !strings.Contains(page, `id="`+id+`"`) {
			t.Errorf("the page has no %s", id)
		}
	}
	// All that it loads is ours and there, and nothing in it needs more than its policy allows.
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if m[1] == "data:," {
			continue
		}
		if res, _ := fetchUI(t, d, m[1]); res.StatusCode != 200 || !strings.HasPrefix(m[1], "/") {
			t.Errorf("%s: %d", m[1], res.StatusCode)
		}
	}
	if regexp.MustCompile(`<style|<script>|\son\w+=|style=`).MatchString(page) {
		t.Error("something in the page stands against its policy")
	}
	script := get("/docs/explorer.js", "text/javascript; charset=utf-8")
	if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://|Storage`).MatchString(script) {
		t.Error("the script makes markup of texts, keeps something, or asks somebody else")
	}
	get("/docs/explorer.css", "text/css; charset=utf-8")
	res, _ := fetchUI(t, d, "/docs")
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	if res, _ := fetchUI(t, d, "/docs/"); res.StatusCode != 301 || res.Header.Get("Location") != "/docs" {
		t.Errorf("/docs/: %d %v", res.StatusCode, res.Header)
	}
	for _, path := range []string{"/docs/none", "/docs/../openapi.yaml", "/openapi.yml", "/docsx"} {
		if res, _ := fetchUI(t, d, path); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// TestPanelPage runs what docs/panel.md shows.
func TestPanelPage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	a := startArchives(t)
	a.put("/panel.zip", panelZip(t, "shown"))
	config := strings.Replace(example(t, "docs/panel.md", "config"), "https://panels.example.net", a.URL, 1)
	d := testkit.Start(t, strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1))
	d.WaitLog(t, "web panel is updated")
	if out := runCurl(t, d, example(t, "docs/panel.md", "curl")); out != "{\"status\":\"ok\"}\nshown" || a.count() != 2 {
		t.Errorf("%q after %d downloads", out, a.count())
	}
}
