package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestUIServed shows what browsers get.
func TestUIServed(t *testing.T) {
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: http://127.0.0.1:1/\n")
	files := map[string]string{
		"index.html": "<h1>root</h1>", "assets/app.js": "0123456789", "assets/a.css": "c", "m.mjs": "m", "i.svg": "s", "d.json": "{}",
		"w.wasm": "w", "f.woff2": "f", "favicon.ico": "i", "p.png": "p", "site.webmanifest": "{}", "app.js.map": "{}", "sub/index.html": "sub",
		"a b%.html": "odd", "none": "bytes", ".env": "SECRET", "empty.txt": "", "UP.HTML": "up",
	}
	for name, text := range files {
		path := filepath.Join(d.Home, "ui", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": d.File, "up": "..", "same": "index.html"} {
		if err := os.Symlink(to, filepath.Join(d.Home, "ui", name)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(path, kind, want string) {
		t.Helper()
		res, body := fetchUI(t, d, path)
		h := res.Header
		if res.StatusCode != 200 || body != want || h.Get("Content-Type") != kind || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Etag") == "" || h.Get("Last-Modified") == "" || h.Get("Cache-Control") != "no-cache" || res.ContentLength != int64(len(want)) {
			t.Errorf("%s: %d %q %v", path, res.StatusCode, body, h)
		}
		if res, body = fetchAs(t, d, "HEAD", path); res.StatusCode != 200 || body != "" || res.ContentLength != int64(len(want)) {
			t.Errorf("HEAD %s: %d %q %v", path, res.StatusCode, body, res.Header)
		}
		if again, _ := fetchUI(t, d, path, "If-None-Match: \"x\", W/"+h.Get("Etag")); again.StatusCode != 304 || again.Header.Get("Etag") != h.Get("Etag") {
			t.Errorf("%s again: %d", path, again.StatusCode)
		}
		if again, _ := fetchUI(t, d, path, "If-Modified-Since: "+h.Get("Last-Modified")); again.StatusCode != 304 {
			t.Errorf("%s again: %d", path, again.StatusCode)
		}
		if other, _ := fetchUI(t, d, path, `If-None-Match: "x"`, "If-Modified-Since: "+h.Get("Last-Modified")); other.StatusCode != 200 {
			t.Errorf("%s of another version: %d", path, other.StatusCode)
		}
	}
	const html, script = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
	f("/ui/", html, "<h1>root</h1>")
	f("/ui/?hostname=x#y", html, "<h1>root</h1>")
	f("/ui/sub/", html, "sub")
	f("/ui/assets/app.js", script, "0123456789")
	f("/ui/assets/%61pp.js", script, "0123456789")
	f("/ui/m.mjs", script, "m")
	f("/ui/assets/a.css", "text/css; charset=utf-8", "c")
	f("/ui/i.svg", "image/svg+xml", "s")
	f("/ui/d.json", "application/json", "{}")
	f("/ui/app.js.map", "application/json", "{}")
	f("/ui/w.wasm", "application/wasm", "w")
	f("/ui/f.woff2", "font/woff2", "f")
	f("/ui/favicon.ico", "image/x-icon", "i")
	f("/ui/p.png", "image/png", "p")
	f("/ui/site.webmanifest", "application/manifest+json", "{}")
	f("/ui/none", "application/octet-stream", "bytes")
	f("/ui/a%20b%25.html", html, "odd")
	f("/ui/UP.HTML", html, "up")
	f("/ui/same", "application/octet-stream", "<h1>root</h1>")
	f("/ui/empty.txt", "text/plain; charset=utf-8", "")

	redirect := func(path string, status int, to string) {
		t.Helper()
		if res, _ := fetchUI(t, d, path); res.StatusCode != status || res.Header.Get("Location") != to {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
	redirect("/ui", 307, "/ui/")
	redirect("/ui?hostname=a&secret=b", 307, "/ui/?hostname=a&secret=b")
	redirect("/ui/sub", 301, "./sub/")
	redirect("/ui/index.html", 301, "./")
	redirect("/ui/sub/index.html?x", 301, "./?x")
	redirect("/ui/assets", 301, "./assets/")

	// A place inside the panel is the panel's page; a file that is missing is not.
	deep := func(path, accept, want string) {
		t.Helper()
		if res, body := fetchUI(t, d, path, "Accept: "+accept); body != want {
			t.Errorf("%s: %d %q", path, res.StatusCode, body)
		}
	}
	const missing = "404 page not found\n"
	deep("/ui/proxies", "text/html,*/*", "<h1>root</h1>")
	deep("/ui/proxies/a/", "text/html,*/*", "<h1>root</h1>")
	deep("/ui/sub/proxies/a", "text/html", "sub")
	deep("/ui/assets/", "text/html", "<h1>root</h1>") // no listing
	deep("/ui/proxies", "*/*", missing)
	deep("/ui/nope.js", "text/html", missing)
	deep("/ui/assets/", "*/*", missing)

	ranged := func(field string, status int, of, want string) {
		t.Helper()
		res, body := fetchUI(t, d, "/ui/assets/app.js", field)
		if res.StatusCode != status || res.Header.Get("Content-Range") != of || body != want {
			t.Errorf("%s: %d %q %v", field, res.StatusCode, body, res.Header)
		}
	}
	ranged("Range: bytes=2-4", 206, "bytes 2-4/10", "234")
	ranged("Range: bytes=7-", 206, "bytes 7-9/10", "789")
	ranged("Range: bytes=-3", 206, "bytes 7-9/10", "789")
	ranged("Range: bytes=0-99", 200, "", "0123456789")
	ranged("Range: bytes=10-", 416, "bytes */10", "")
	ranged("Range: bytes=-0", 416, "bytes */10", "")
	ranged("Range: bytes=4-2", 416, "bytes */10", "")
	ranged("Range: bytes=0-1,3-4", 200, "", "0123456789")
	ranged("Range: lines=1-2", 200, "", "0123456789")
	ranged("Range: bytes=2-4\r\nIf-Range: \"x\"", 200, "", "0123456789")

	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		if res, _ := fetchAs(t, d, method, "/ui/"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", method, res.StatusCode, res.Header)
		}
	}
	for _, path := range []string{
		"/ui/../config.yaml", "/ui/%2e%2e/config.yaml", "/ui/..%2fconfig.yaml", "/ui/%2e%2e%2fconfig.yaml", "/ui/..%5cconfig.yaml",
		"/ui/sub/../../config.yaml", "/ui//config.yaml", "/ui//etc/passwd", "/ui/%2fetc/passwd", "/ui/assets%2fapp.js", "/ui/./index.html",
		"/ui/.env", "/ui/%2eenv", "/ui/out", "/ui/up/config.yaml", "/ui/up", "/ui/%00", "/ui/index.html%00.js", "/ui/%zz", "/ui/%",
		"/ui/assets/..%c0%afx", "/ui/config.yaml", "/ui/../ui/index.html", "/ui/" + strings.Repeat("a/", 3000), "/ui/" + strings.Repeat("x", 5000),
		"/uix", "/ui%2f", "/ui/assets/app.js/", "/ui/assets/app.js/x",
	} {
		res, body := fetchUI(t, d, path)
		if res.StatusCode != 404 || strings.Contains(body, "s3cret") || strings.Contains(body, "SECRET") {
			t.Errorf("%.60s: %d %.200q", path, res.StatusCode, body)
		}
	}
}

// TestUIHosts keeps rebound names and foreign pages out where the API has no secret.
func TestUIHosts(t *testing.T) {
	d := testkit.Start(t, strings.Replace(uiConfig, "secret: s3cret\n", "", 1)+"external-ui-url: http://127.0.0.1:1/\n")
	addr := strings.TrimPrefix(d.BaseURL, "http://")
	for _, path := range []string{"/ui", "/ui/", "/docs", "/openapi.json", "/openapi.yaml"} {
		for _, field := range []string{"Host: evil.example", "Host: " + addr + "\r\nOrigin: http://evil.example"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nConnection: close\r\n"+field+"\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != 403 {
				t.Errorf("%s %s: %v, %v", path, field, res, err)
			}
			_ = c.Close()
		}
	}
}
