package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// precious is what stands in files outside of the home directory. As YAML, as a list of rules, of
// nodes and as a certificate it is wrong, so that a message could quote it.
const precious = "pr3cious-w0rds: [\n"

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func mustLink(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// TestHostilePaths names files that are not to be read or written, wherever a client or a
// configuration can name one.
func TestHostilePaths(t *testing.T) {
	outside := t.TempDir()
	target := filepath.Join(outside, "precious.yaml")
	mustWrite(t, target, precious)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file://"+target, http.StatusFound)
	}))
	t.Cleanup(evil.Close)
	for name, more := range map[string]string{"open": "", "guarded": "secret: " + hostileSecret + "\n"} {
		t.Run(name, func(t *testing.T) {
			f := newFortress(t, more)
			home := f.Home
			mustLink(t, target, filepath.Join(home, "link.yaml"))
			mustLink(t, outside, filepath.Join(home, "folder"))
			mustLink(t, filepath.Join(outside, "none.yaml"), filepath.Join(home, "nowhere.yaml"))
			mustLink(t, "loop.yaml", filepath.Join(home, "loop.yaml"))
			mustLink(t, "/", filepath.Join(home, "root"))
			if out, err := exec.Command("mkfifo", filepath.Join(home, "pipe")).CombinedOutput(); err != nil {
				t.Skipf("mkfifo: %v %s", err, out)
			}
			f.before = f.state(t)

			up := strings.Repeat("../", strings.Count(home, "/")+3)
			relative := []string{
				up + target[1:], "link.yaml", "folder/precious.yaml", "folder/new.yaml", "nowhere.yaml", "loop.yaml",
				"root" + target, "sub/../../" + filepath.Base(home) + "x", "..", "../", "/", "//" + target[1:], "/proc/self/environ", "/dev/zero",
				"folder/../folder/precious.yaml", "./folder//precious.yaml", "pipe", ".", target, target + "/", outside,
				"a\x00b", strings.Repeat("x", 5000), strings.Repeat("d/", 3000) + "x",
			}
			quiet := func(what string, status int, text string) {
				t.Helper()
				for _, word := range []string{"pr3cious", "w0rds", hostileSecret, hostileNode, "root:x:"} {
					if strings.Contains(text, word) {
						t.Errorf("%.200s: %d, which reveals %s: %s", what, status, word, text)
					}
				}
				if status < 400 {
					t.Errorf("%.200s: %d %.200s", what, status, text)
				}
				f.untouched(t)
			}
			// What a client names.
			var absolute []string
			for _, p := range relative {
				absolute = append(absolute, p)
				if !filepath.IsAbs(p) {
					absolute = append(absolute, home+"/"+p)
				}
			}
			absolute = append(absolute, "file://"+target, "~/x.yaml", `C:\x.yaml`, `\\server\share`, "config.yaml")
			for _, p := range absolute {
				body, _ := json.Marshal(map[string]string{"path": p})
				for _, door := range []string{"PUT /configs", "PUT /configs?force=true", "POST /configs/validate", "POST /configs/plan"} {
					method, path, _ := strings.Cut(door, " ")
					status, text := f.Do(t, method, path, string(body))
					quiet(door+" "+string(body), status, text)
				}
			}
			// What a configuration names.
			for _, p := range append(relative, ".", "config.yaml", "cache.db", "controller.secret", "ctl.sock", "ui") {
				for kind, yaml := range map[string]string{
					"a rule list":   "rule-providers: {x: {type: file, behavior: classical, path: %s}}\nrules: ['RULE-SET,x,REJECT']",
					"a rule store":  "rule-providers: {x: {type: http, behavior: classical, url: 'http://127.0.0.1:1', path: %s}}\nrules: ['RULE-SET,x,REJECT']",
					"a node list":   "proxy-providers: {x: {type: file, path: %s}}\nproxy-groups: [{name: G, type: select, use: [x]}]",
					"a node store":  "proxy-providers: {x: {type: http, url: 'http://127.0.0.1:1', path: %s}}\nproxy-groups: [{name: G, type: select, use: [x]}]",
					"a certificate": "external-controller-tls: 127.0.0.1:1\ntls: {certificate: %s, private-key: k.pem}",
					"a private key": "external-controller-tls: 127.0.0.1:1\ntls: {certificate: c.pem, private-key: %[1]s}",
				} {
					quoted, _ := json.Marshal(p) // which YAML reads as well
					payload := asPayload(fmt.Sprintf(yaml, quoted))
					if strings.HasPrefix(kind, "a node") || strings.HasPrefix(kind, "a rule") {
						status, text := f.Do(t, "PUT", "/configs", payload)
						quiet(kind+" "+payload, status, text)
					}
					_, text := f.Do(t, "POST", "/configs/validate", payload)
					if !strings.Contains(text, `"valid":false`) {
						t.Errorf("%s %.200s: %s", kind, payload, text)
					}
					quiet(kind+" "+payload, 400, text)
				}
			}
			for _, ui := range []string{
				"external-ui: " + outside, "external-ui: ..", "external-ui: folder", "external-ui: /", "external-ui: .", "external-ui: " + home,
				"external-ui-name: ..", "external-ui-name: a/../../b", `external-ui-name: 'a\..\b'`, `external-ui-name: "a\0b"`,
			} {
				if !strings.Contains(ui, "external-ui:") {
					ui = "external-ui: ui\n" + ui
				}
				_, text := f.Do(t, "POST", "/configs/validate", asPayload(ui))
				if !strings.Contains(text, `"valid":false`) {
					t.Errorf("%s: %s", ui, text)
				}
				quiet(ui, 400, text)
			}
			for _, url := range []string{"file://" + target, "file:" + target, target, "gopher://127.0.0.1:1/", "ftp://127.0.0.1/", "unix:" + filepath.Join(home, "ctl.sock")} {
				for _, yaml := range []string{
					"rule-providers: {x: {type: http, behavior: classical, url: %q}}\nrules: ['RULE-SET,x,REJECT']",
					"proxy-providers: {x: {type: http, url: %q}}\nproxy-groups: [{name: G, type: select, use: [x]}]",
				} {
					payload := asPayload(fmt.Sprintf(yaml, url))
					status, text := f.Do(t, "PUT", "/configs", payload)
					quiet(payload, status, text)
				}
			}
			// What a page or a name in a path leads to.
			for _, path := range []string{
				"/ui/../config.yaml", "/ui/%2e%2e/config.yaml", "/ui/..%2fconfig.yaml", "/ui/%2e%2e%2f%2e%2e%2f" + target[1:], "/ui//" + target, "/ui/..;/config.yaml",
				"/ui/%252e%252e/config.yaml", "/ui/..%5cconfig.yaml", "/ui/%c0%ae%c0%ae/config.yaml", "/ui/\u2025/config.yaml", "/docs/../ui/../config.yaml",
				"/docs/%2e%2e/config.yaml", "/openapi.json/../config.yaml", "/../config.yaml", "/%2e%2e/config.yaml",
				"/proxies/..%2f..%2fconfig.yaml", "/providers/rules/..%2f..%2fconfig.yaml", "/providers/proxies/..%2fcache.db", "/debug/pprof/../../config.yaml",
			} {
				request := "GET " + path + " HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer SECRET\r\nConnection: close\r\n\r\n"
				got, text := f.send(t, "tcp", request)
				if len(got) != 1 {
					t.Fatalf("%s: %v", path, got)
				}
				quiet(path, got[0], text)
			}
		})
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != precious {
		t.Errorf("%q, %v", b, err)
	}
	if list, err := os.ReadDir(outside); err != nil || len(list) != 1 {
		t.Errorf("outside there are %v, %v", list, err)
	}

	// A list that is elsewhere, by a redirect to what is no URL of the web.
	d := testkit.Start(t, plain+fmt.Sprintf("rule-providers: {x: {type: http, behavior: classical, url: %q}}\n", evil.URL)+
		fmt.Sprintf("proxy-providers: {x: {type: http, url: %q}}\n", evil.URL))
	for _, kind := range []string{"rules", "proxies"} {
		if status, text := d.Do(t, "PUT", "/providers/"+kind+"/x", ""); status != 503 || strings.Contains(text, "pr3cious") {
			t.Errorf("%s: %d %s", kind, status, text)
		}
	}
}

// TestSymlinkRace swaps files for links that lead outside while the daemon reads them: it never
// reads what they lead to.
func TestSymlinkRace(t *testing.T) {
	outside := t.TempDir()
	for name, text := range map[string]string{
		"x.yaml": "mode: global\nrules: ['MATCH,REJECT']\n", "rules.txt": "DOMAIN,stolen.test\nDOMAIN,stolen2.test\n", "page.html": "stolen",
	} {
		mustWrite(t, filepath.Join(outside, name), text)
	}
	serve := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "DOMAIN,ours%d.test\n", time.Now().UnixNano())
	}))
	t.Cleanup(serve.Close)
	const uses = "rule-providers:\n  list: {type: file, behavior: classical, format: text, path: in/rules.txt}\n" +
		"  store: {type: http, behavior: classical, format: text, url: %q, path: store/rules.txt}\n"
	mine := fmt.Sprintf(uses+"rules: ['MATCH,DIRECT']\n", serve.URL)
	d := testkit.Start(t, "mixed-port: MIXED\nmode: rule\nexternal-ui: d/ui\nexternal-ui-url: http://127.0.0.1:1\n"+mine)
	d.WaitLog(t, "web panel: ")
	inside := filepath.Join(d.Home, "in")
	mustWrite(t, filepath.Join(inside, "x.yaml"), "mode: rule\n"+mine)
	mustWrite(t, filepath.Join(inside, "rules.txt"), "DOMAIN,ours.test\n")
	mustWrite(t, filepath.Join(d.Home, "store", "other"), "")
	mustWrite(t, filepath.Join(d.Home, "d", "ui", "page.html"), "ours")

	// Each name is now the file, now a link; and a directory is now itself, now a link.
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swap := func(to, from string) {
		file, link := from+".file", from+".link"
		if os.Rename(from, file) != nil || os.Symlink(to, link) != nil {
			t.Error("swap")
			return
		}
		swapping.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_ = os.Rename(link, from)
				_ = os.Rename(from, link)
				_ = os.Rename(file, from)
				_ = os.Rename(from, file)
			}
		})
	}
	swap(filepath.Join(outside, "x.yaml"), filepath.Join(inside, "x.yaml"))
	swap(filepath.Join(outside, "page.html"), filepath.Join(d.Home, "d", "ui", "page.html"))
	swap(filepath.Join(outside, "rules.txt"), filepath.Join(inside, "rules.txt"))
	swap(outside, filepath.Join(d.Home, "store"))
	mustWrite(t, filepath.Join(d.Home, "folder", "x.yaml"), "mode: rule\n"+mine)
	swap(outside, filepath.Join(d.Home, "folder"))

	won, lost := 0, 0
	try := func(method, path, body string) {
		t.Helper()
		switch status, text := d.Do(t, method, path, body); {
		case strings.Contains(text, "stolen"):
			t.Fatalf("%s %s %s reveals what is outside: %s", method, path, body, text)
		case status < 300:
			won++
		default:
			lost++
		}
	}
	for range 60 {
		try("PUT", "/configs", fmt.Sprintf(`{"path":%q}`, filepath.Join(inside, "x.yaml")))
		try("PUT", "/configs", fmt.Sprintf(`{"path":%q}`, filepath.Join(d.Home, "folder", "x.yaml")))
		try("GET", "/ui/page.html", "")
		try("PUT", "/providers/rules/list", "")
		try("PUT", "/providers/rules/store", "")
		if text := mustDo(t, d, "GET", "/configs", "", 200); strings.Contains(text, `"mode":"global"`) {
			t.Fatalf("a configuration from outside, after %d successes and %d failures", won, lost)
		}
		if text := mustDo(t, d, "GET", "/providers/rules", "", 200); strings.Contains(text, `"ruleCount":2`) {
			t.Fatalf("a list from outside, after %d successes and %d failures: %s", won, lost, text)
		}
	}
	close(stop)
	swapping.Wait()
	if list, err := os.ReadDir(outside); err != nil || len(list) != 3 {
		t.Errorf("outside there are %v, %v", list, err)
	}
	if b, err := os.ReadFile(filepath.Join(outside, "rules.txt")); err != nil || !strings.HasPrefix(string(b), "DOMAIN,stolen") {
		t.Errorf("the list outside is %q, %v", b, err)
	}
	if won < 20 || lost < 20 {
		t.Logf("note: %d successes and %d failures: it was not much of a race", won, lost)
	}
}
