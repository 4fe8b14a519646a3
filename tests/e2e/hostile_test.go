package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// Words that no answer may hold.
const (
	hostileSecret = "s3cret-0f-the-API"
	hostileNode   = "node-passw0rd"
)

// fortress is a daemon that is attacked over all of its sockets, and what must not change meanwhile.
type fortress struct {
	*testkit.Daemon
	addr   string // host:port
	doors  map[string]func() (net.Conn, error)
	before string
}

func newFortress(t *testing.T, more string) *fortress {
	t.Helper()
	cert, key := selfSigned(t)
	url := wellOrigin(t)
	d := testkit.Start(t, fmt.Sprintf(`%smixed-port: MIXED
external-controller-tls: 127.0.0.1:%d
external-controller-unix: ctl.sock
external-ui: ui
external-ui-url: http://127.0.0.1:1/
tls:
  certificate: |
%s
  private-key: |
%s
proxies:
- {name: a, type: direct}
- {name: b, type: http, server: 127.0.0.1, port: 1, username: u, password: %s}
- {name: c, type: direct}
proxy-groups:
- {name: G, type: select, proxies: [a, b]}
- {name: F, type: fallback, proxies: [a, c], interval: 3600, url: '%s'}
rules: ['MATCH,G']
`, more, testkit.FreePort(t), indent(cert), indent(key), hostileNode, url))
	d.WaitLog(t, "web panel: ") // there is none; from now on nobody looks for one
	if err := errors.Join(os.MkdirAll(filepath.Join(d.Home, "ui"), 0o700),
		os.WriteFile(filepath.Join(d.Home, "ui", "index.html"), []byte("<h1>panel</h1>"), 0o600)); err != nil {
		t.Fatal(err)
	}
	secure, socket := d.Listening(t, "tls"), d.Listening(t, "unix")
	f := &fortress{Daemon: d, addr: strings.TrimPrefix(d.BaseURL, "http://")}
	f.doors = map[string]func() (net.Conn, error){
		"tcp":  func() (net.Conn, error) { return net.Dial("tcp", f.addr) },
		"tls":  func() (net.Conn, error) { return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true}) },
		"unix": func() (net.Conn, error) { return net.Dial("unix", socket) },
	}
	for len(shownProxy(t, d, "a").History) == 0 || len(shownProxy(t, d, "c").History) == 0 {
		runtime.Gosched()
	}
	mustDo(t, d, "PUT", "/proxies/F", `{"name":"c"}`, 204)
	f.before = f.state(t)
	return f
}

// state is all that an attack could change.
func (f *fortress) state(t *testing.T) string {
	t.Helper()
	return strings.Join([]string{
		etag(t, f.Daemon), mustDo(t, f.Daemon, "GET", "/configs", "", 200), mustDo(t, f.Daemon, "GET", "/proxies", "", 200),
		mustDo(t, f.Daemon, "GET", "/rules", "", 200), homeOf(t, f.Daemon),
	}, "\n")
}

// untouched fails the test when an attack has changed something.
func (f *fortress) untouched(t *testing.T) {
	t.Helper()
	if now := f.state(t); now != f.before {
		t.Errorf("what was\n%s\nis now\n%s", f.before, now)
		f.before = now
	}
}

// send writes a request in which HOST and SECRET stand for what they say, and reads the answers until
// the daemon ends the connection.
func (f *fortress) send(t *testing.T, door, request string) (statuses []int, text string) {
	t.Helper()
	c, err := f.doors[door]()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, strings.NewReplacer("HOST", f.addr, "SECRET", hostileSecret).Replace(request))
	b, err := io.ReadAll(c)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Errorf("%s %.60q: the daemon does not end the connection; it says %q", door, request, b)
	}
	for r := bufio.NewReader(strings.NewReader(string(b))); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, string(b)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		statuses = append(statuses, res.StatusCode)
	}
}

// attack is a request, and the status of its only answer: of a daemon without a secret, of one with a
// secret, and of both over the Unix socket. -1 is none at all, 0 that it is not sent there.
type attack struct {
	name, request       string
	open, guarded, unix int
}

// getting is a GET with these fields, and none else but one that ends the connection.
func getting(target string, fields ...string) string { return sent("GET", target, "", fields...) }

func sent(method, target, body string, fields ...string) string {
	if body != "" {
		fields = append(fields, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return method + " " + target + " HTTP/1.1\r\n" + strings.Join(append(fields, "Connection: close"), "\r\n") + "\r\n\r\n" + body
}

// besiege sends all attacks to a daemon without a secret and to one with.
func besiege(t *testing.T, attacks []attack) {
	for name, more := range map[string]string{"open": "", "guarded": "secret: " + hostileSecret + "\n"} {
		t.Run(name, func(t *testing.T) {
			f := newFortress(t, more)
			for _, a := range attacks {
				for door := range f.doors {
					want := a.open
					if door == "unix" {
						want = a.unix
					} else if name == "guarded" {
						want = a.guarded
					}
					if want == 0 {
						continue
					}
					got, text := f.send(t, door, a.request)
					if want < 0 && len(got) > 0 || want > 0 && (len(got) != 1 || got[0] != want) {
						t.Errorf("%s over %s: %v; want %d: %.300q", a.name, door, got, want, text)
					}
					if strings.Contains(text, hostileSecret) || strings.Contains(text, hostileNode) {
						t.Errorf("%s over %s reveals a secret: %q", a.name, door, text)
					}
				}
				f.untouched(t)
			}
		})
	}
}

// TestHostileNames asks for other hosts, as pages do whose name was rebound to this machine.
func TestHostileNames(t *testing.T) {
	var attacks []attack
	for _, host := range []string{
		"attacker.test", "attacker.test:80", "127.0.0.1.nip.example", "localhost.attacker.test", "attacker.test.", "notlocalhost",
		"127.1", "0x7f.1", "2130706433", "017700000001", "127.0.0.1@attacker.test", "attacker.test@127.0.0.1", ".", "..localhost.x",
	} {
		attacks = append(attacks, attack{"Host " + host, getting("/configs", "Host: "+host), 403, 401, 200},
			attack{"a write to Host " + host, sent("PATCH", "/configs", `{"mode":"direct"}`, "Host: "+host), 403, 401, 0})
	}
	for _, host := range []string{
		"attacker.test:localhost", "attacker.test:127.0.0.1", "localhost:80:80", "localhost:x", "[::1", "::1", "[::1].attacker.test", "]",
		"127.0.0.1#attacker.test", "attacker.test/127.0.0.1", "attacker.test#.localhost", "127.0.0.1?attacker.test", "localhost, attacker.test",
		"localhost attacker.test", "127.0.0.1%00.attacker.test", "127.0.0.1\x00.attacker.test", "",
	} {
		attacks = append(attacks, attack{"bad Host " + host, getting("/configs", "Host: "+host), 400, 400, 400})
	}
	for _, host := range []string{"HOST", "localhost", "LocalHost.", "localhost:1", "127.0.0.1:1", "[::1]", "[::1]:9090", "10.1.2.3", "[fe80::1]:1", "panel.localhost"} {
		attacks = append(attacks, attack{"our Host " + host, getting("/configs", "Host: "+host), 200, 401, 200})
	}
	const ours = "Host: HOST"
	besiege(t, append(attacks, []attack{
		{"absolute form", getting("http://attacker.test/configs", ours), 403, 401, 200},
		{"absolute form, a write", sent("PATCH", "http://attacker.test/configs", `{"mode":"direct"}`, ours), 403, 401, 0},
		{"absolute form, user info", getting("http://127.0.0.1@attacker.test/configs", ours), 403, 401, 200},
		{"absolute form, https", getting("https://attacker.test/configs", ours), 403, 401, 200},
		{"absolute form, another scheme", getting("ftp://attacker.test/configs", ours), 403, 401, 200},
		{"absolute form of ours, foreign Host", getting("http://127.0.0.1/configs", "Host: attacker.test"), 403, 401, 200},
		{"absolute form, no path", getting("http://attacker.test?x", ours), 403, 404, 404},
		{"absolute form of ours", getting("http://HOST/configs", ours), 200, 401, 200},
		{"two slashes", getting("//attacker.test/configs", ours), 404, 404, 404},
		{"no slash", getting("configs", ours), 400, 400, 400},
		{"a word before slashes", getting("attacker.test//127.0.0.1/configs", ours), 400, 400, 400},
		{"authority form", sent("CONNECT", "127.0.0.1:22", "", ours), 404, 404, 404},
		{"asterisk form", sent("OPTIONS", "*", "", ours), 405, 405, 405},
		{"TRACE", sent("TRACE", "/configs", "", ours, "Authorization: Bearer SECRET"), 405, 405, 405},
		{"an overridden method", sent("POST", "/configs", `{"mode":"direct"}`, ours, "X-HTTP-Method-Override: PATCH"), 405, 405, 405},
		{"an overridden host", getting("/configs", "Host: attacker.test", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"), 403, 401, 200},
		{"an overridden path", getting("/configs", ours, "X-Original-URL: /livez", "X-Rewrite-URL: /livez"), 200, 401, 200},
		{"HTTP/1.0 without a host", "GET /configs HTTP/1.0\r\n\r\n", 200, 401, 200},
		{"HTTP/1.0 for another host", "GET /configs HTTP/1.0\r\nHost: attacker.test\r\n\r\n", 403, 401, 200},
	}...))
}

// TestHostilePages sends what foreign web pages make browsers send.
func TestHostilePages(t *testing.T) {
	var attacks []attack
	const ours, foreign = "Host: HOST", "Origin: http://attacker.test"
	for _, origin := range []string{
		"http://attacker.test", "https://attacker.test:9090", "null", "file://", "http://localhost.attacker.test", "http://127.0.0.1.nip.example",
		"http://127.0.0.1@attacker.test", "http://attacker.test#localhost", "http://attacker.test?localhost", "http://127.0.0.1, http://attacker.test",
		"http://attacker.test http://localhost", "%", "attacker.test", "http://10.1.2.3", "http://[2001:db8::1]",
	} {
		attacks = append(attacks,
			attack{"Origin " + origin, getting("/configs", ours, "Origin: "+origin), 403, 401, 200},
			attack{"Origin " + origin + " with the secret", getting("/configs", ours, "Origin: "+origin, "Authorization: Bearer SECRET"), 403, 200, 200},
			attack{"a WebSocket of " + origin, getting("/traffic", ours, "Origin: "+origin, "Upgrade: websocket", "Connection: Upgrade",
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 403, 401, 0})
	}
	for _, origin := range []string{"http://localhost:8080", "http://127.0.0.1", "https://[::1]:1", "tauri://localhost", "http://tauri.localhost"} {
		attacks = append(attacks, attack{"our Origin " + origin, getting("/configs", ours, "Origin: "+origin), 200, 401, 200})
	}
	// Writes that need no preflight.
	for _, kind := range []string{
		"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data; boundary=x",
		"X: no content type", "Content-Type: application/json", "Content-Type:", "Content-Type: text/plain; charset=application/json",
	} {
		for path, body := range map[string]string{
			"/restart": `{"path":"","payload":""}`, "/upgrade": "{}", "/upgrade/ui": "{}", "/upgrade/geo": "{}", "/configs/geo": "{}",
			"/cache/dns/flush": "", "/cache/fakeip/flush": "", "/configs/validate": `{"payload":"mode: direct"}`, "/configs/plan": `{}`,
			"/rules/match": `{"host":"x.test"}`,
		} {
			attacks = append(attacks, attack{path + ", " + kind, sent("POST", path, body, ours, foreign, kind), 403, 401, 0})
		}
		for path, body := range map[string]string{
			"/configs": `{"payload":"mode: direct"}`, "/configs?force=true": `{"payload":"mode: direct"}`,
			"/proxies/G": `{"name":"b"}`, "/storage/x": `"y"`, "/debug/gc": "",
		} {
			attacks = append(attacks, attack{"PUT " + path + ", " + kind, sent("PUT", path, body, ours, foreign, kind), 403, 401, 0})
		}
	}
	besiege(t, append(attacks, []attack{
		{"PATCH", sent("PATCH", "/configs", `{"mode":"direct"}`, ours, foreign), 403, 401, 0},
		{"DELETE", sent("DELETE", "/connections", "", ours, foreign), 403, 401, 0},
		{"two Origins", getting("/configs", ours, "Origin: http://localhost", foreign), 400, 400, 400},
		// A GET that changes something, by an image or a link: browsers send no Origin with those.
		{"an image", getting("/group/F/delay?timeout=1&url=http://127.0.0.1:1", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"), 403, 401, 0},
		{"a link", getting("/group/F/delay?timeout=1&url=http://127.0.0.1:1", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 403, 401, 0},
		{"a link to the panel", getting("/ui/", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 200, 200, 200},
		{"a link to the explorer", getting("/docs", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 200, 200, 200},
		{"a link to a rebound panel", getting("/ui/", "Host: attacker.test", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 403, 200, 200},
		{"a form for the panel", sent("POST", "/ui/", "x=y", ours, foreign, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 403, 405, 405},
		{"the panel in a frame", getting("/ui/", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"), 403, 200, 200},
		{"a script of the panel", getting("/ui/index.html", ours, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"), 403, 301, 301},
		{"our own page", getting("/configs", ours, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"), 200, 401, 200},
		{"an address bar", getting("/configs", ours, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), 200, 401, 200},
		// Tokens count where a page cannot set fields, and there alone.
		{"a token in a query", getting("/configs?token=SECRET", ours), 200, 401, 200},
		{"a token in a query of POST", sent("POST", "/cache/dns/flush?token=SECRET", "", ours), 204, 401, 204},
		{"a wrong token before the right field", getting("/configs?token=x", ours, "Upgrade: websocket", "Authorization: Bearer SECRET"), 200, 401, 200},
		{"an empty token", getting("/configs?token=", ours, "Upgrade: websocket"), 200, 401, 200},
		{"an empty token before the right field", getting("/configs?token=", ours, "Upgrade: websocket", "Authorization: Bearer SECRET"), 200, 200, 200},
		{"an empty bearer", getting("/configs", ours, "Authorization: Bearer "), 200, 401, 200},
		{"a wrong bearer", getting("/configs", ours, "Authorization: Bearer x"), 200, 401, 200},
		{"a part of the secret", getting("/configs", ours, "Authorization: Bearer s3cret"), 200, 401, 200},
		{"no scheme", getting("/configs", ours, "Authorization: SECRET"), 200, 401, 200},
		{"two bearers, the first right", getting("/configs", ours, "Authorization: Bearer SECRET", "Authorization: Bearer x"), 400, 400, 400},
		{"two bearers, the second right", getting("/configs", ours, "Authorization: Bearer x", "authorization: Bearer SECRET"), 400, 400, 400},
		{"a folded bearer", getting("/configs", ours, "Authorization: Bearer\r\n SECRET"), 400, 400, 400},
		{"a bearer in a trailer", "POST /cache/dns/flush HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer SECRET\r\n\r\n", 400, 400, 400},
		{"a cookie", getting("/configs", ours, "Cookie: token=SECRET; Authorization=Bearer SECRET"), 200, 401, 200},
		{"the secret as a password", getting("/configs", ours, "Authorization: Basic eDpzM2NyZXQtMGYtdGhlLUFQSQ=="), 200, 401, 200},
		{"a WebSocket with a wrong token", getting("/traffic?token=x", ours, "Upgrade: websocket", "Connection: Upgrade",
			"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 0, 401, 0},
	}...))
}

// TestHostileOrigins names the pages that may use the API: no others can, secret or not.
func TestHostileOrigins(t *testing.T) {
	const list = "external-controller-cors: {allow-origins: ['https://panel.test', 'https://*.panels.test'], allow-private-network: false}\n"
	f := func(more string, anonymous int) {
		t.Helper()
		d := newFortress(t, list+more)
		one := func(request string, want int) {
			t.Helper()
			if got, text := d.send(t, "tcp", request); len(got) != 1 || got[0] != want {
				t.Errorf("%.80q: %v; want %d: %.200q", request, got, want, text)
			}
		}
		const key = "Authorization: Bearer SECRET"
		socket := []string{
			"Host: HOST", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		}
		for _, origin := range []string{
			"https://attacker.test", "http://panel.test", "https://panel.test:444", "https://panel.test.attacker.test", "https://panels.test",
			"https://attackerpanels.test", "http://localhost", "null",
		} {
			one(sent("POST", "/cache/dns/flush", "{}", "Host: HOST", "Origin: "+origin, "Content-Type: text/plain"), anonymous)
			one(getting("/traffic?token=SECRET", append(socket, "Origin: "+origin)...), 403)
		}
		one(getting("/configs", "Host: HOST", "Origin: https://panel.test", key), 200)
		one(getting("/configs", "Host: HOST", "Origin: https://a.panels.test", key), 200)
		one(getting("/configs", "Host: HOST", key), 200)
		d.untouched(t)
	}
	f("", 403)
	f("secret: "+hostileSecret+"\n", 401)
}

// TestHostileFraming sends requests that two readers could take apart in two ways. Each is refused
// with its connection, so that none of its bytes can be read as another request.
func TestHostileFraming(t *testing.T) {
	const head = "POST /cache/dns/flush HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer SECRET\r\n"
	const inner = "PATCH /configs HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer SECRET\r\nContent-Length: 17\r\n\r\n{\"mode\":\"direct\"}"
	bad := func(name, request string) attack { return attack{name, request, 400, 400, 400} }
	besiege(t, []attack{
		bad("CL and TE", head+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+inner),
		bad("TE and CL", head+"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"+inner),
		bad("TE identity and CL", head+"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n"+inner),
		bad("two equal CLs", head+"Content-Length: 0\r\nContent-Length: 0\r\n\r\n"+inner),
		bad("two CLs", head+fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(inner))+inner),
		bad("a list of CLs", head+"Content-Length: 0, 0\r\n\r\n"+inner),
		bad("CL with a sign", head+"Content-Length: +0\r\n\r\n"+inner),
		bad("CL below zero", head+"Content-Length: -1\r\n\r\n"+inner),
		bad("CL in hex", head+"Content-Length: 0x0\r\n\r\n"+inner),
		bad("CL that is no number", head+"Content-Length: 0a\r\n\r\n"+inner),
		bad("CL too large for a number", head+"Content-Length: 18446744073709551616\r\n\r\n"+inner),
		bad("two TEs", head+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"+inner),
		bad("a list of TEs", head+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"+inner),
		bad("an unknown TE", head+"Transfer-Encoding: xchunked\r\n\r\n"+inner),
		bad("TE with a tab", head+"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n"+inner),
		bad("TE of HTTP/1.0", "POST /cache/dns/flush HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+inner),
		bad("folded TE", head+"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"+inner),
		bad("folded CL", head+"X: y\r\n Content-Length: 4\r\n\r\n"+inner),
		bad("a fold in front", "GET /version HTTP/1.1\r\n X: y\r\nHost: HOST\r\n\r\n"),
		bad("a bare LF", head+"X: y\nContent-Length: 4\r\n\r\n"+inner),
		bad("a bare LF at the end", head+"Content-Length: 4\n\n"+inner),
		bad("a bare CR", head+"X: y\rContent-Length: 4\r\n\r\n"+inner),
		bad("a space before the colon", head+"Content-Length : 4\r\n\r\n"+inner),
		bad("a space in a name", head+"Content Length: 4\r\n\r\n"+inner),
		bad("a field without a colon", head+"Content-Length\r\n\r\n"+inner),
		bad("a field without a name", head+": x\r\n\r\n"+inner),
		bad("a zero byte in a field", head+"X: a\x00b\r\n\r\n"+inner),
		bad("two Hosts", getting("/version", "Host: HOST", "Host: attacker.test")),
		bad("no Host", getting("/version")),
		bad("a chunk of a size below zero", head+"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"+inner),
		bad("a chunk larger than numbers", head+"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"+inner),
		bad("a chunk that ends in LF", head+"Transfer-Encoding: chunked\r\n\r\n4\nabcd\n0\n\n"+inner),
		bad("a chunk that is longer than it says", head+"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n"+inner),
		bad("HTTP/0.9", "GET /configs\r\n\r\n"),
		bad("another protocol", "GET /configs RTSP/1.0\r\nHost: HOST\r\n\r\n"),
		bad("a zero byte in the path", getting("/proxies/a\x00b", "Host: HOST")),
		bad("a space in the path", getting("/proxies/a b", "Host: HOST")),
		bad("lines of another protocol", "EHLO attacker.test\r\nMAIL FROM:<a@b>\r\n\r\n"),
		{"HTTP/2.0", "GET /configs HTTP/2.0\r\nHost: HOST\r\n\r\n", 505, 505, 505},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505, 505, 505},
		{"a bad escape", getting("/proxies/%zz", "Host: HOST", "Authorization: Bearer SECRET"), 400, 400, 400},
		{"half an escape", getting("/proxies/%e", "Host: HOST", "Authorization: Bearer SECRET"), 400, 400, 400},
		{"an escape that is no UTF-8", getting("/proxies/%ff", "Host: HOST", "Authorization: Bearer SECRET"), 400, 400, 400},
		{"an escaped zero byte", getting("/proxies/%00", "Host: HOST", "Authorization: Bearer SECRET"), 404, 404, 404},
		{"a very long name", getting("/proxies/"+strings.Repeat("x", 30000), "Host: HOST", "Authorization: Bearer SECRET"), 400, 400, 400},
		{"a very long name, escaped", getting("/proxies/"+strings.Repeat("%2F", 9000), "Host: HOST", "Authorization: Bearer SECRET"), 400, 400, 400},
		{"a head that is too large", getting("/version", "Host: HOST", "X: "+strings.Repeat("x", 40000)), 431, 431, 431},
		{"a line that is too long", getting("/"+strings.Repeat("x", 40000), "Host: HOST"), 431, 431, 431},
		{"a head of 10 MB", getting("/version", "Host: HOST", "X: "+strings.Repeat("x", 10<<20)), 431, 431, 0},
		{"a body larger than it may be", head + "Content-Length: 9999999999\r\n\r\n{}", 413, 413, 413},
	})
}
