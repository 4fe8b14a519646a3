package e2e

import (
	"context"
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

// example is the block of a page, such as README.md, that stands behind a mark.
func example(t *testing.T, page, mark string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- example: "+mark+" -->\n```")
	if !ok {
		t.Fatalf("%s has no example %q", page, mark)
	}
	_, rest, _ = strings.Cut(rest, "\n")
	text, _, ok := strings.Cut(rest, "\n```")
	if !ok {
		t.Fatalf("the example %q has no end", mark)
	}
	return text + "\n"
}

// run runs a program in the root of the repository and returns what it prints.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// runCurl runs lines that ask the API of d. Every answer must be a success.
func runCurl(t *testing.T, d *testkit.Daemon, script string) string {
	t.Helper()
	script = strings.Replace(script, "http://127.0.0.1:9090", d.BaseURL, 1)
	return run(t, nil, "sh", "-ec", strings.ReplaceAll(script, "curl ", "curl -sS --fail-with-body --noproxy '*' "))
}

// TestRulesPage runs what docs/rules.md shows.
func TestRulesPage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("+.ads.example\n"))
	}))
	t.Cleanup(web.Close)
	config := strings.ReplaceAll(example(t, "docs/rules.md", "config"), "https://data.example.net", web.URL)
	config = strings.Replace(config, "mixed-port: 7890", "mixed-port: MIXED", 1)
	config = strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1)
	d := testkit.Start(t, config)
	if status, body := d.Do(t, "PUT", "/providers/rules/ads", ""); status != 204 {
		t.Fatal(status, body)
	}
	out := runCurl(t, d, example(t, "docs/rules.md", "curl"))
	for _, want := range []string{
		`"chains":["office","Work"]`, `"rematched":["streams"]`, `"payload":"((DomainSuffix,video.example) && (Network,tcp))"`,
		`"ruleCount":1`, `"hitCount"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	if _, body := d.Do(t, "GET", "/rules", ""); !strings.Contains(body, `"disabled":true`) {
		t.Error(body)
	}
}

// TestGroupsPage runs what docs/groups.md shows.
func TestGroupsPage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("socks5://192.0.2.1:1080#NL%201\nsocks5://192.0.2.2:1080#DE%201\nsocks5://192.0.2.3:1080#Expires%20soon\n"))
	}))
	t.Cleanup(web.Close)
	config := strings.ReplaceAll(example(t, "docs/groups.md", "config"), "https://subscription.example.net", web.URL)
	config = strings.Replace(config, "mixed-port: 7890", "mixed-port: MIXED", 1)
	config = strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1)
	d := testkit.Start(t, strings.ReplaceAll(config, "https://www.gstatic.com", web.URL))
	if status, body := d.Do(t, "PUT", "/providers/proxies/sub", ""); status != 204 {
		t.Fatal(status, body)
	}
	if _, body := d.Do(t, "GET", "/group/Auto", ""); !strings.Contains(body, `"all":["S DE 1","S NL 1"]`) {
		t.Error(body)
	}
	out := runCurl(t, d, example(t, "docs/groups.md", "curl"))
	for _, want := range []string{`"vehicleType":"Inline"`, `"name":"left"`, `"queue":`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	if _, body := d.Do(t, "GET", "/proxies/Hand", ""); !strings.Contains(body, `"now":"right"`) {
		t.Error(body)
	}
	if _, body := d.Do(t, "GET", "/proxies/Work", ""); !strings.Contains(body, `"fixed":""`) {
		t.Error(body)
	}
}

// TestDNSPage runs what docs/dns.md shows.
func TestDNSPage(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	config := strings.Replace(example(t, "docs/dns.md", "config"), "mixed-port: 7890", "mixed-port: MIXED", 1)
	config = strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1)
	d := testkit.Start(t, strings.Replace(config, "127.0.0.1:1053", "127.0.0.1:0", 1))
	file := filepath.Join(t.TempDir(), "answer.bin")
	runCurl(t, d, strings.Replace(example(t, "docs/dns.md", "curl"), "answer.bin", file, 1))
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), "\x00\x04\xc0\xa8\x01\x14") {
		t.Errorf("%q, %v", b, err)
	}
}

// TestREADME runs what README.md shows: its configuration, its curl lines and its SDK program.
func TestREADME(t *testing.T) {
	config := strings.Replace(example(t, "README.md", "config"), "mixed-port: 7890", "mixed-port: MIXED", 1)
	config = strings.Replace(config, "127.0.0.1:9090", "127.0.0.1:0", 1)
	d := testkit.Start(t, config)
	d.Secret = "choose-a-word"
	t.Run("curl", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("no curl")
		}
		out := runCurl(t, d, example(t, "README.md", "curl"))
		if !strings.Contains(out, `"meta":true`) || !strings.Contains(out, `"now":"office"`) {
			t.Error(out)
		}
		if _, body := d.Do(t, "GET", "/proxies/Work", ""); !strings.Contains(body, `"now":"backup"`) {
			t.Error(body)
		}
	})
	t.Run("delay", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("no curl")
		}
		web := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(web.Close)
		script, _, _ := strings.Cut(example(t, "README.md", "curl"), "\n") // where the API is
		script += "\n" + strings.Replace(example(t, "README.md", "delay"), "https://www.gstatic.com", web.URL, 1)
		if out := runCurl(t, d, script); !strings.HasPrefix(out, `{"DIRECT":`) {
			t.Error(out)
		}
	})
	t.Run("dns", func(t *testing.T) {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("no curl")
		}
		d := testkit.Start(t, config+"external-doh-server: /dns-query\ndns: {enable: true, nameserver: ['rcode://success']}\n")
		file := filepath.Join(t.TempDir(), "answer.bin")
		script, _, _ := strings.Cut(example(t, "README.md", "curl"), "\n") // where the API is
		script += "\n" + strings.Replace(example(t, "README.md", "dns"), "answer.bin", file, 1)
		if out := runCurl(t, d, script); !strings.Contains(out, `"Question":[{"Name":"example.org.","Qclass":1,"Qtype":28}]`) {
			t.Error(out)
		}
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), "\x07example\x03org\x00\x00\x01\x00\x01") {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("sdk", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(example(t, "README.md", "sdk")), 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(t, []string{"API=" + d.BaseURL, "SECRET=" + d.Secret}, "go", "run", file)
		if !strings.Contains(out, "switched: 204") || !strings.Contains(out, "bytes so far:") {
			t.Error(out)
		}
	})
}
