package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// wire answers with these bytes, whatever they are, and closes the connection.
func wire(t *testing.T, answer string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		c, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, answer)
	}
}

// packed answers with a body in gzip.
func packed(body io.Reader) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		_, _ = io.Copy(z, body)
		_ = z.Close()
	}
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestSubscriptionHostile has a server answer with everything but a list. Each time the API says why and when the
// next try is, and what was there before stays: the nodes, the connections and the file.
func TestSubscriptionHostile(t *testing.T) {
	w, other := newWeb(t, ""), newWeb(t, "")
	good := nodeList(httpNode("a", upstream(t, "a")), httpNode("b", upstream(t, "b")))
	w.text("/sub", good)
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+fmt.Sprintf(`
proxy-groups: [{name: G, type: select, use: [sub]}]
proxy-providers:
  sub: {type: http, url: "http://user:pass@%s/sub?token=secret", path: kept.yaml, interval: 86400, size-limit: 100000, header: {X-Token: [secret]}}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,G']
`, strings.TrimPrefix(w.URL, "http://")))
	first := has(t, d, "sub", "a", "b")
	choose(t, d, "G", "b")
	f := func(says string, page http.HandlerFunc) {
		t.Helper()
		before := provided(t, d, "sub")
		w.page("/sub", page)
		renew(t, d, "sub", 503, says)
		p := provided(t, d, "sub")
		if !strings.Contains(p.Error, says) || !p.UpdatedAt.Equal(first.UpdatedAt) || !p.TriedAt.After(before.TriedAt) ||
			p.NextAt.Sub(p.TriedAt) < time.Second || p.NextAt.Sub(p.TriedAt) > 15*time.Minute {
			t.Errorf("%s: %+v", says, p)
		}
		if !slices.Equal(nodesOf(p), []string{"a", "b"}) || *p.Proxies[1].ID != *first.Proxies[1].ID || len(p.Warnings) > 0 {
			t.Errorf("%s: %+v", says, p)
		}
		takes(t, d, "x.test", "b")
		if b, err := os.ReadFile(filepath.Join(d.Home, "kept.yaml")); string(b) != good {
			t.Errorf("%s: the kept file is %q, %v", says, b, err)
		}
	}
	body := func(s string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, s) }
	}
	status := func(code int) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(code)
			if code >= 200 && code != 204 {
				_, _ = io.WriteString(rw, good)
			}
		}
	}
	const html = "<html><head><title>Sign in</title></head><body>proxies: [{name: x, type: direct}]</body></html>"
	f("this is a web page, not a list of nodes", body(html))
	f("this is a web page, not a list of nodes", body("\n <!DOCTYPE html>\n"+html))
	f("want `proxies`, a list of nodes, or share links", body(""))
	f("want `proxies`, a list of nodes, or share links", body("Your subscription has expired.\n"))
	f("the list has no nodes", body("proxies: []\n"))
	f("`proxies` is no list", body("proxies: {a: b}\n"))
	f("neither YAML nor share links", body("proxies:\n- {name: 'a\n"))
	f(`no node can be used: line 2, "a": a node of type socks5 needs port`, body("proxies:\n- {name: a, type: socks5, server: x.test}\n- 7\n"))
	f("no node can be used: line 1", body(base64.StdEncoding.EncodeToString([]byte("socks5://x.test#a\nss://x#b\n"))))
	f("line 1", body("proxies: &a [*a, *a]\n"))
	f("neither YAML nor share links", body("\x00\x01\x02proxies\xff\xfe"))
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("%c: &%[1]c [*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c]\n", 'b'+i, 'a'+i)
	}
	f("no node can be used", body(bomb+"proxies: *j\n"))

	f("204 No Content", status(204))
	f("206 Partial Content", status(206))
	f("304 Not Modified", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			t.Errorf("asks with %v", r.Header)
		}
		rw.WriteHeader(304)
	})
	f("403 Forbidden", status(403))
	f("500 Internal Server Error", status(500))
	f("599", status(599))

	// Bodies that are not what they seem.
	f("unexpected EOF", wire(t, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"+good))
	f("unexpected EOF", wire(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"+good[:20]))
	f("unexpected EOF", wire(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nproxi\r\n"))
	f("neither YAML nor share links", wire(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s- {name: c, type: direct}\n", len(good)+5, good)))
	f("the answer makes no sense", wire(t, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"+good))
	f("the answer makes no sense", wire(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"+good))
	f("the answer makes no sense", wire(t, "SSH-2.0-OpenSSH_9.2\r\n"))
	f("EOF", wire(t, ""))
	f("larger than 100000 bytes", wire(t, "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"))
	f("larger than 100000 bytes", wire(t, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("# words\n", 20000)))
	began := time.Now()
	f("larger than 100000 bytes", packed(io.LimitReader(zeros{}, 1<<30))) // 1 GiB in 1 MiB
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a bomb took %v", took)
	}
	f("body: gzip: invalid header", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(rw, good)
	})
	f("body: flate: corrupt input", wire(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff"))
	f("unexpected EOF", wire(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
	f("the answer makes no sense", wire(t, "HTTP/1.1 200 OK\r\nX-Long: "+strings.Repeat("x", 2<<20)+"\r\n\r\n"+good))
	f("the answer makes no sense", wire(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Many: y\r\n", 200_000)+"\r\n"+good))

	// Redirects that lead nowhere.
	to := func(where string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", where)
			rw.WriteHeader(http.StatusFound)
		}
	}
	f("more than 10 redirects", to("/sub?token=secret"))
	other.page("/back", to(w.URL+"/sub"))
	f("more than 10 redirects", to(other.URL+"/back"))
	f("redirected to what is not a valid http or https URL", to("file:///etc/passwd"))
	f("302 Found", to(""))
	f("connection refused", to("http://127.0.0.1:1/?token=secret"))

	w.text("/sub", good)
	renew(t, d, "sub", 204, "")
	if p := provided(t, d, "sub"); p.Error != "" || !p.UpdatedAt.After(first.UpdatedAt) || *p.Proxies[0].ID != *first.Proxies[0].ID {
		t.Errorf("%+v", p)
	}
	if log := d.Log(); strings.Contains(log, "secret") || strings.Contains(log, "pass@") {
		t.Errorf("the log tells secrets:\n%s", log)
	}
	if _, all := d.Do(t, "GET", "/providers/proxies", ""); strings.Contains(all, "secret") {
		t.Errorf("the API tells secrets: %s", all)
	}
}

// tagged serves a list that has a tag, and says so to those who know it.
func tagged(tag, body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(rw, body)
	}
}

// TestSubscriptionRevalidates asks whether there is a newer list, also after a restart, and starts with the kept
// one where the server is dead.
func TestSubscriptionRevalidates(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	w := newWeb(t, addr)
	a, b := httpNode("a", upstream(t, "a")), httpNode("b", upstream(t, "b"))
	w.page("/sub", tagged(`"one"`, nodeList(a, b)))
	base := nowhere + fmt.Sprintf(`
proxy-groups: [{name: G, type: select, use: [sub]}]
proxy-providers: {sub: {type: http, url: "http://%s/sub", interval: INTERVAL, path: lists/sub.yaml, exclude-filter: FILTER}}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,G']
`, addr)
	config := func(interval, filter string) string {
		return strings.NewReplacer("INTERVAL", interval, "FILTER", filter).Replace(base)
	}
	d := testkit.Start(t, "mixed-port: MIXED\n"+config("86400", "nobody"))
	p := has(t, d, "sub", "a", "b")
	id := *p.Proxies[0].ID
	if !p.NextAt.Equal(p.UpdatedAt.Add(24 * time.Hour)) {
		t.Errorf("%+v", p)
	}
	renew(t, d, "sub", 204, "")
	again := provided(t, d, "sub")
	if !again.UpdatedAt.After(p.UpdatedAt) || *again.Proxies[0].ID != id {
		t.Errorf("%+v", again)
	}
	d = d.Restart(t)
	takes(t, d, "x.test", "a") // from the file, at once
	p = has(t, d, "sub", "a", "b")
	if age := p.UpdatedAt.Sub(again.UpdatedAt).Abs(); age > time.Second {
		t.Errorf("updated %v later than before the restart", age)
	}
	renew(t, d, "sub", 204, "")
	load(t, d, config("86400", "a")) // the file is as it was, and what is made of it is another
	has(t, d, "sub", "b")
	takes(t, d, "x.test", "b")
	renew(t, d, "sub", 204, "")
	load(t, d, config("1", "nobody"))
	has(t, d, "sub", "a", "b")
	n := len(w.requests("/sub"))
	until(t, "it asks by itself", func() bool { return len(w.requests("/sub")) >= n+2 })
	load(t, d, config("86400", "nobody"))
	var sent []string
	for _, r := range w.requests("/sub")[:4] {
		sent = append(sent, r.Header.Get("If-None-Match"))
	}
	if want := []string{"", `"one"`, `"one"`, `"one"`}; !slices.Equal(sent, want) {
		t.Errorf("sent %q; want %q", sent, want)
	}

	// The server is dead: the file serves, and what is wrong is said once somebody asks.
	w.Close()
	d = d.Restart(t)
	takes(t, d, "x.test", "a")
	if p := provided(t, d, "sub"); p.Error != "" || p.UpdatedAt.Year() == 1 || !slices.Equal(nodesOf(p), []string{"a", "b"}) {
		t.Errorf("%+v", p)
	}
	renew(t, d, "sub", 503, "connection refused")
	takes(t, d, "x.test", "a")
	// Nor is a file that is broken trusted: then the whole list is wanted.
	d.Signal(t, syscall.SIGTERM)
	d.Wait(t)
	if err := os.WriteFile(filepath.Join(d.Home, "lists", "sub.yaml"), []byte("proxies:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d = d.Again(t)
	var broken api.ProxyProvider
	until(t, "the download is tried", func() bool {
		broken = provided(t, d, "sub")
		return broken.TriedAt.Year() > 1
	})
	if wait := broken.NextAt.Sub(broken.TriedAt); len(broken.Proxies) != 0 || broken.Proxies == nil || !strings.Contains(broken.Error, "connection refused") || wait < time.Second || wait > time.Minute {
		t.Errorf("%+v", broken)
	}
	w = newWeb(t, addr)
	w.page("/sub", tagged(`"one"`, nodeList(a, b)))
	renew(t, d, "sub", 204, "")
	has(t, d, "sub", "a", "b")
	if r := w.requests("/sub"); r[0].Header.Get("If-None-Match") != "" {
		t.Errorf("%+v", r[0].Header)
	}
	if b, err := os.ReadFile(filepath.Join(d.Home, "lists", "sub.yaml")); !bytes.HasPrefix(b, []byte("proxies:\n- ")) {
		t.Errorf("kept %q, %v", b, err)
	}
}

// TestSubscriptionRetryAfter has a server that wants to be left alone.
func TestSubscriptionRetryAfter(t *testing.T) {
	w := newWeb(t, "")
	w.text("/sub", nodeList(httpNode("a", upstream(t, "a"))))
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+fmt.Sprintf(`
proxy-groups: [{name: G, type: select, use: [sub, new]}]
proxy-providers:
  sub: {type: http, url: "%s/sub", interval: 3600}
  new: {type: http, url: "%[1]s/new"}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,G']
`, w.URL))
	has(t, d, "sub", "a")
	f := func(field string, least, most time.Duration) {
		t.Helper()
		w.page("/sub", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", field)
			rw.WriteHeader(http.StatusTooManyRequests)
		})
		renew(t, d, "sub", 503, "429 Too Many Requests")
		p := provided(t, d, "sub")
		if wait := p.NextAt.Sub(p.TriedAt); wait < least || wait > most || !strings.HasPrefix(p.Error, "429") || len(p.Proxies) != 1 {
			t.Errorf("Retry-After: %s: the next try comes after %v: %+v", field, wait, p)
		}
	}
	const about = 5 * time.Second
	f("1200", 20*time.Minute, 20*time.Minute+about)
	f(time.Now().Add(30*time.Minute).UTC().Format(http.TimeFormat), 30*time.Minute-about, 30*time.Minute+about)
	f("999999999", time.Hour, time.Hour+about) // nobody is left alone for ever
	f("soon", time.Second, 15*time.Minute)
	f("-7", time.Second, 15*time.Minute)
	takes(t, d, "x.test", "a")

	// One that never had a list, nor an interval, is tried again too.
	p := provided(t, d, "new")
	if wait := p.NextAt.Sub(p.TriedAt); !strings.HasPrefix(p.Error, "404") || wait < time.Second || wait > time.Minute {
		t.Errorf("%+v", p)
	}
	w.text("/new", nodeList(httpNode("n", "1")))
	has(t, d, "new", "n")
	if p = provided(t, d, "new"); p.NextAt.Year() != 1 {
		t.Errorf("%+v", p)
	}
}
