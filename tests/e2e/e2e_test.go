// Package e2e runs the built daemon as its users do: real sockets, real clients, curl where it is
// there.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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

func TestMain(m *testing.M) { testkit.Main(m) }

// curl runs curl and returns what it printed, or skips where there is none.
func curl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no curl")
		}
		t.Skip("no curl")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "curl", append([]string{"-sS", "--max-time", "15", "--noproxy", ""}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// page is a web server that says where a request came from, and gives 1 MB at /big.
func page(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %q", r.Method, r.URL.Path, r.Host, b)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

const plain = "mixed-port: MIXED\nmode: rule\nrules: [\"MATCH,DIRECT\"]\n"

func TestCurl(t *testing.T) {
	d := testkit.Start(t, plain)
	host := page(t)
	_, port, _ := net.SplitHostPort(host)
	f := func(name, want string, args ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			got, err := curl(t, args...)
			if err != nil || got != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		})
	}
	hello := fmt.Sprintf("GET /a%%20b %s \"\"", host)
	url := "http://" + host + "/a%20b"
	hello = strings.ReplaceAll(hello, "%20", " ")
	f("http", hello, "-x", "http://"+d.Mixed, url)
	f("connect", hello, "-p", "-x", "http://"+d.Mixed, url)
	f("socks5", hello, "-x", "socks5://"+d.Mixed, url)
	f("socks4", hello, "-x", "socks4://"+d.Mixed, url)
	named := strings.Replace(hello, "127.0.0.1", "LocalHost", 1)
	f("socks5h by name", named, "-x", "socks5h://"+d.Mixed, "http://LocalHost:"+port+"/a%20b")
	f("socks4a by name", named, "-x", "socks4a://"+d.Mixed, "http://LocalHost:"+port+"/a%20b")
	lower := strings.Replace(hello, "127.0.0.1", "localhost", 1) // what the origin sees is the name that the rules saw
	f("http by name", lower, "-x", "http://"+d.Mixed, "http://LocalHost:"+port+"/a%20b")
	f("post", fmt.Sprintf("POST / %s \"body\"", host), "-x", "http://"+d.Mixed, "-d", "body", "http://"+host)
	f("chunked", fmt.Sprintf("POST / %s \"body\"", host), "-x", "http://"+d.Mixed, "-H", "Transfer-Encoding: chunked", "-d", "body", "http://"+host)
	f("two requests", hello+hello, "-x", "http://"+d.Mixed, url, url)
	t.Run("big", func(t *testing.T) {
		for _, scheme := range []string{"http", "socks5"} {
			got, err := curl(t, "-x", scheme+"://"+d.Mixed, "http://"+host+"/big")
			if err != nil || len(got) != 1<<20 {
				t.Errorf("%s: %d bytes, %v", scheme, len(got), err)
			}
		}
	})
}

// TestConnections watches a live flow: it is listed, its counters move, and DELETE cuts it.
func TestConnections(t *testing.T) {
	d := testkit.Start(t, plain)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c := connect(t, d.Mixed, ln.Addr().String())
	sdk, err := client.New(d.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	trip := func(n int) {
		t.Helper()
		p := bytes.Repeat([]byte{'x'}, n)
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := func(moved int64) api.Connection {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ; {
			r, err := sdk.GetConnectionsWithResponse(t.Context(), nil)
			if err != nil || r.JSON200 == nil || len(r.JSON200.Connections) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			c := r.JSON200.Connections[0]
			if c.Upload == moved && c.Download == moved {
				return c
			}
			if time.Now().After(deadline) { // bytes are counted once they are written
				t.Fatalf("counted %d up, %d down; want %d", c.Upload, c.Download, moved)
			}
		}
	}
	trip(1000)
	first := snapshot(1000)
	if first.Metadata.Type != "HTTPS" || first.Rule != "Match" ||
		first.Chains[0] != "DIRECT" || first.Metadata.InboundName != "DEFAULT-MIXED" || first.Metadata.RemoteDestination != "127.0.0.1" {
		t.Errorf("%+v", first)
	}
	trip(500)
	if second := snapshot(1500); second.ID != first.ID {
		t.Errorf("%+v", second)
	}
	if _, err := sdk.CloseConnectionWithResponse(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("after DELETE the client read %q, %v", rest, err)
	}
	if status, body := d.Do(t, "GET", "/connections", ""); status != 200 || !strings.Contains(body, `"connections":[]`) {
		t.Errorf("%d %s", status, body)
	}
}

// connect opens a tunnel by CONNECT.
func connect(t *testing.T, proxy, target string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	_, _ = fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	const want = "HTTP/1.1 200 Connection established\r\n\r\n"
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("CONNECT: %q, %v", b, err)
	}
	return c
}

// echo is a server that says what it hears.
func echo(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// TestSelect switches a group by curl and by the SDK; flows follow, and a restart remembers.
func TestSelect(t *testing.T) {
	one, two := upstream(t, "one"), upstream(t, "two")
	config := fmt.Sprintf(`mixed-port: MIXED
secret: "a b/c"
proxies:
  - {name: "日本/1 🇯🇵", type: http, server: 127.0.0.1, port: %s}
  - {name: "..", type: http, server: 127.0.0.1, port: %s}
proxy-groups:
  - {name: "a/b %%", type: select, proxies: ["日本/1 🇯🇵", ".."]}
rules: ["MATCH,a/b %%"]
`, one, two)
	d := testkit.Start(t, config)
	d.Secret = "a b/c"
	via := func(want string) {
		t.Helper()
		tr := &http.Transport{Proxy: proxyURL(d.Mixed)}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("http://example.test/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != want {
			t.Errorf("went through %q; want %q", b, want)
		}
	}
	via("one")
	got, err := curl(t, "-X", "PUT", "-H", "Authorization: Bearer a b/c", "-d", `{"name":".."}`, "-o", "/dev/null", "-w", "%{http_code}", d.BaseURL+"/proxies/a%2Fb%20%25")
	if err != nil || got != "204" {
		t.Fatalf("%q, %v", got, err)
	}
	via("two")
	sdk, err := client.New(d.BaseURL, client.WithSecret(d.Secret))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sdk.SelectProxyWithResponse(t.Context(), "a/b %", api.Selection{Name: "日本/1 🇯🇵"})
	if err != nil || r.StatusCode() != 204 {
		t.Fatalf("%v, %v", r, err)
	}
	via("one")
	if r, err = sdk.SelectProxyWithResponse(t.Context(), "a/b %", api.Selection{Name: "nobody"}); err != nil || r.JSON400 == nil {
		t.Fatalf("%v, %v", r, err)
	}
	via("one")
	if _, err = sdk.SelectProxyWithResponse(t.Context(), "a/b %", api.Selection{Name: ".."}); err != nil {
		t.Fatal(err)
	}
	// A reload keeps the choice, and so does another daemon with the same home.
	if status, body := d.Do(t, "PUT", "/configs?force=true", `{"path":"","payload":""}`); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	via("two")
	again := d.Restart(t)
	d = again
	via("two")
}

// upstream is an HTTP proxy that answers what goes through it with its own name.
func upstream(t *testing.T, name string) (port string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		req := make([]byte, 4096)
		if n, _ := c.Read(req); bytes.HasPrefix(req[:n], []byte("GET / ")) {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(name), name)
		}
	}))
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	return port
}

// TestFailedChangesChangeNothing tries every door with what cannot be: the answer says why, and all
// that ran runs on.
func TestFailedChangesChangeNothing(t *testing.T) {
	d := testkit.Start(t, plain)
	host := page(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	_, before := d.Do(t, "GET", "/configs", "")
	tunnel := connect(t, d.Mixed, host)
	f := func(name, method, path, body string, status int, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			got, text := d.Do(t, method, path, body)
			if got != status || !strings.Contains(text, want) {
				t.Errorf("%d %s; want %d, %s", got, text, status, want)
			}
			if _, after := d.Do(t, "GET", "/configs", ""); after != before {
				t.Errorf("changed:\n%s\n%s", before, after)
			}
			_ = connect(t, d.Mixed, host).Close()
		})
	}
	payload := func(yaml string) string {
		b, _ := json.Marshal(map[string]string{"payload": yaml})
		return string(b)
	}
	f("patch to a busy port", "PATCH", "/configs", fmt.Sprintf(`{"mixed-port":%d}`, port), 500, `"step":"inbounds"`)
	f("patch adds a busy port", "PATCH", "/configs", fmt.Sprintf(`{"port":%d,"mode":"global"}`, port), 500, "address already in use")
	f("patch with what is not built", "PATCH", "/configs", `{"tun":{"enable":true}}`, 400, "tun: not supported yet")
	f("patch two ports into one", "PATCH", "/configs", strings.Replace(`{"port":P}`, "P", d.Mixed[strings.LastIndex(d.Mixed, ":")+1:], 1), 400, "is that of")
	f("put a bad rule", "PUT", "/configs", payload("rules: ['IP-CIDR,1.1.1.1,DIRECT']"), 400, "rules[0]")
	f("put a busy port", "PUT", "/configs?force=true", payload(fmt.Sprintf("mixed-port: %d", port)), 500, `"code":"apply_failed"`)
	f("put a relative path", "PUT", "/configs", `{"path":"config.yaml"}`, 400, "path is not a absolute path")
	f("put a path outside", "PUT", "/configs", `{"path":"/etc/passwd"}`, 400, "not subpath of home directory or SAFE_PATHS")
	f("put a missing file", "PUT", "/configs", fmt.Sprintf(`{"path":%q}`, filepath.Join(d.Home, "none.yaml")), 400, "no such file")
	f("put a directory", "PUT", "/configs", fmt.Sprintf(`{"path":%q}`, d.Home), 400, "is a directory")

	if err := os.WriteFile(d.File, []byte("rules: [MATCH,nope]"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "reload failed, nothing has changed")
	if _, after := d.Do(t, "GET", "/configs", ""); after != before {
		t.Errorf("SIGHUP changed:\n%s\n%s", before, after)
	}
	_, _ = io.WriteString(tunnel, "GET / HTTP/1.0\r\n\r\n")
	if got, err := io.ReadAll(tunnel); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.0 200")) {
		t.Errorf("the tunnel that was open: %q, %v", got, err)
	}
}

// TestReload changes what a file says and reads it again, by both doors.
func TestReload(t *testing.T) {
	d := testkit.Start(t, plain+"secret: old\n")
	next := testkit.FreePort(t)
	write := func(yaml string) {
		t.Helper()
		if err := os.WriteFile(d.File, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listens := func(addr string, want bool) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if (err == nil) != want {
			t.Errorf("%s: %v; want open %v", addr, err, want)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	other := fmt.Sprintf("127.0.0.1:%d", next)
	base := strings.TrimPrefix(d.BaseURL, "http://")
	write(fmt.Sprintf("mixed-port: %d\nmode: direct\nsecret: new\nexternal-controller: %s\n", next, base))
	// Without force the ports stay; the secret and the listener are no business of PUT.
	if status, body := d.Do(t, "PUT", "/configs", "{}"); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	listens(d.Mixed, true)
	listens(other, false)
	if _, body := d.Do(t, "GET", "/configs", ""); !strings.Contains(body, `"mode":"direct"`) {
		t.Error(body)
	}
	if status, body := d.Do(t, "PUT", "/configs?force=true", "{}"); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	listens(d.Mixed, false)
	listens(other, true)
	d.Signal(t, syscall.SIGHUP)
	d.WaitLog(t, "configuration reloaded")
	if status, _ := d.Do(t, "GET", "/version", ""); status != 401 {
		t.Errorf("the old secret: %d", status)
	}
	d.Secret = "new"
	if status, _ := d.Do(t, "GET", "/version", ""); status != 200 {
		t.Errorf("the new secret: %d", status)
	}
}

// TestMovingALivePort lets the LAN in and out while clients connect: none is refused.
func TestMovingALivePort(t *testing.T) {
	d := testkit.Start(t, plain)
	host := page(t)
	stop := make(chan struct{})
	var tries, failed atomic.Int64
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				tries.Add(1)
				c, err := net.Dial("tcp", d.Mixed)
				if errors.Is(err, syscall.ECONNREFUSED) {
					failed.Add(1)
				}
				if err == nil {
					_ = c.Close()
				}
			}
		})
	}
	for range 5 {
		for _, on := range []string{"true", "false"} {
			if status, body := d.Do(t, "PATCH", "/configs", `{"allow-lan":`+on+`}`); status != 204 {
				t.Errorf("%d %s", status, body)
			}
			_ = connect(t, d.Mixed, host).Close()
		}
	}
	close(stop)
	wait.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d connects were refused", failed.Load(), tries.Load())
	}
}

func TestWhoMayUseIt(t *testing.T) {
	host := page(t)
	f := func(name, config, want string, args ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			d := testkit.Start(t, plain+config)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "MIXED", d.Mixed)
			}
			got, _ := curl(t, append(args, "-o", os.DevNull, "-w", "%{http_code}", "http://"+host)...)
			if !strings.HasSuffix(got, want) {
				t.Errorf("%q; want %q", got, want)
			}
		})
	}
	const users = `authentication: ["u:p"]` + "\n"
	f("no login", users, "407", "-x", "http://MIXED")
	f("wrong login", users, "407", "-x", "http://u:q@MIXED")
	f("right login", users, "200", "-x", "http://u:p@MIXED")
	f("SOCKS without login", users, "000", "-x", "socks5://MIXED")
	f("SOCKS with login", users, "200", "-x", "socks5://u:p@MIXED")
	f("exempt", users+"skip-auth-prefixes: [127.0.0.0/8]\n", "200", "-x", "http://MIXED")
	f("refused", "lan-disallowed-ips: [127.0.0.1/32]\n", "000", "-x", "http://MIXED")
	f("not allowed", "lan-allowed-ips: [10.0.0.0/8]\n", "000", "-x", "http://MIXED")
}
