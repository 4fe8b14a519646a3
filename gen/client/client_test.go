package client_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/gen/rt"
)

func TestNames(t *testing.T) {
	d := start(t, "tcp", rt.Options{}, nil)
	c := d.dial(t)
	f := func(name string) {
		t.Helper()
		res, err := c.GetProxyWithResponse(t.Context(), name)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if res.JSON200 == nil || res.JSON200.Name != name {
			t.Fatalf("%q: %s %s", name, res.Status(), res.Body)
		}
		put, err := c.SelectProxyWithResponse(t.Context(), name, api.Selection{Name: name})
		if err != nil || put.StatusCode() != 204 || len(put.Body) > 0 || put.ContentType() != "" {
			t.Fatalf("PUT %q: %v %s %q %q", name, err, put.Status(), put.Body, put.ContentType())
		}
	}
	f("Япония")
	f("a/b")
	f("日本 🇯🇵 01")
	f("100%")
	f("a%2Fb")
	f("a b")
	f("a+b")
	f("x?y#z")
	f("a;b,c=d&e")
	f(`"\`)
	f("..")
	f(".")
	f("...")
	f("../version")
	f("/")
	f(" ")
}

// request sends one request on its own connection and returns the answer.
func (d *daemon) request(t *testing.T, target, body string) (*http.Response, string) {
	t.Helper()
	method, path, _ := strings.Cut(target, " ")
	c := d.raw(t, method+" "+path+" HTTP/1.1", "Host: x", "Authorization: Bearer "+secret,
		fmt.Sprintf("Content-Length: %d", len(body)), "Connection: close", "", body)
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return res, string(b)
}

func TestWire(t *testing.T) {
	d := start(t, "tcp", rt.Options{}, nil)
	f := func(target, body string, status int, want string) {
		t.Helper()
		res, b := d.request(t, target, body)
		if res.StatusCode != status || !strings.Contains(b, want) || want == "" && b != "" {
			t.Fatalf("%s: %s %s; want %d %s", target, res.Status, b, status, want)
		}
		if strings.HasPrefix(b, "{") != (res.Header.Get("Content-Type") == "application/json") {
			t.Fatalf("%s: %s as %q", target, b, res.Header.Get("Content-Type"))
		}
	}
	// Names: one unescape, in either case; a plus sign stays.
	f("GET /proxies/a%2Fb", "", 200, `"name":"a/b"`)
	f("GET /proxies/a%2fb", "", 200, `"name":"a/b"`)
	f("GET /proxies/a%252Fb", "", 200, `"name":"a%2Fb"`)
	f("GET /proxies/a+b", "", 200, `"name":"a+b"`)
	f("GET /proxies/..", "", 200, `"name":".."`)
	f("GET /proxies/%2E%2e", "", 200, `"name":".."`)
	f("GET /proxies/Япония", "", 200, `"name":"Япония"`)
	f("GET /proxies/missing", "", 404, `{"code":"not_found","message":"Resource not found"}`)
	// Malformed escapes, and what is no UTF-8.
	f("GET /proxies/%zz", "", 400, "Body invalid")
	f("GET /proxies/%", "", 400, "Body invalid")
	f("GET /proxies/100%", "", 400, "Body invalid")
	f("GET /proxies/%ff", "", 400, "Body invalid")
	// A slash at the end: collections and items yes, leaf verbs no.
	f("GET /proxies", "", 200, `{"proxies":{}}`+"\n")
	f("GET /proxies/", "", 200, `{"proxies":{}}`)
	f("GET /proxies/x/", "", 200, `"name":"x"`)
	f("GET /version", "", 200, `{"meta":true,"version":"1"}`+"\n")
	f("GET /version/", "", 404, "404 page not found\n")
	f("GET //version", "", 404, "404 page not found\n")
	f("GET /proxies//", "", 404, "404 page not found\n")
	f("GET /connections/x/", "", 404, "404 page not found\n")
	f("GET /x", "", 404, "404 page not found\n")
	// Bodies.
	f("PUT /proxies/a", `{"NAME":"a"} trailing`, 204, "")
	f("PUT /proxies/a", `{"name":"b","other":1}`, 400, `{"code":"unknown_member","message":"b"}`)
	f("PUT /proxies/a", `null`, 400, `"code":"unknown_member"`)
	f("PUT /proxies/a", `{}`, 400, `"code":"unknown_member"`)
	f("PUT /proxies/a", ``, 400, "Body invalid")
	f("PUT /proxies/a", `[]`, 400, "Body invalid")
	f("PUT /proxies/a", `{"name":1}`, 400, "Body invalid")
	f("PATCH /configs", `null`, 204, "")
	f("PATCH /configs", `{"MODE":"Global","x":1,"tun":null}`, 204, "")
	f("PATCH /configs", `{"mode":"x"}`, 400, "Body invalid")
	f("PATCH /configs", `{"port":65536}`, 400, "Body invalid")
	f("PATCH /configs", `{"tun":{"stack":"x"}}`, 400, "Body invalid")
	// Query parameters.
	f("PUT /configs?force=true&reload=true", `{}`, 204, "")
	f("PUT /configs?force=1", `{}`, 400, "not forced")
	f("GET /connections", "", 200, `{"connections":[],"downloadTotal":0,"memory":0,"uploadTotal":0}`+"\n")
	f("GET /connections?interval=", "", 200, "{")
	f("GET /connections?interval=49", "", 400, "Body invalid")
	f("GET /connections?interval=abc", "", 400, "Body invalid")
	f("GET /logs?level=warn", "", 400, "Body invalid")
	f("GET /logs?level=DEBUG", "", 400, "Body invalid")
	f("GET /logs?format=x", "", 400, "Body invalid")
	// The rest.
	f("PUT /debug/gc", "", 200, "")
	f("DELETE /proxies/x", "", 500, `{"message":"Internal error","code":"internal"}`) // not answered
	f("DELETE /connections", "", 500, "Internal error")                               // panics
	if n := d.panics.Load(); n != 1 {
		t.Fatalf("%d panics", n)
	}
}

func TestMethodNotAllowed(t *testing.T) {
	d := start(t, "tcp", rt.Options{}, nil)
	f := func(target, allow string) {
		t.Helper()
		res, b := d.request(t, target, "")
		if res.StatusCode != 405 || b != "" || res.Header.Get("Allow") != allow {
			t.Fatalf("%s: %s %q %q", target, res.Status, res.Header.Get("Allow"), b)
		}
	}
	f("POST /version", "GET")
	f("HEAD /version", "GET")
	f("OPTIONS /version", "GET")
	f("POST /proxies/x", "DELETE, GET, PUT")
	f("POST /proxies/x/", "DELETE, GET, PUT")
	f("POST /rules/", "GET")
	f("GET /debug/gc", "PUT")
	f("GET /connections/x", "DELETE")
}

func TestAuthentication(t *testing.T) {
	d := start(t, "tcp", rt.Options{}, nil)
	f := func(status int, lines ...string) {
		t.Helper()
		c := d.raw(t, append([]string{"GET " + lines[0] + " HTTP/1.1", "Host: x"}, lines[1:]...)...)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != status {
			t.Fatalf("%q: %v, %v", lines, res, err)
		}
	}
	f(401, "/version")
	f(401, "/proxies/%zz")
	f(200, "/version", "Authorization: Bearer "+secret)
	// A token counts only where a WebSocket is asked for.
	f(401, "/version?token="+secret)
	f(200, "/version?token="+secret, "Upgrade: websocket")
	f(401, "/traffic?token=x", "Upgrade: websocket")
	// Before authentication.
	f(404, "/x")
}

func TestUnixSocket(t *testing.T) {
	d := start(t, "unix", rt.Options{}, nil)
	d.url = "http://localhost"
	c := d.dial(t, client.WithUnixSocket(d.addr))
	res, err := c.GetVersionWithResponse(t.Context())
	if err != nil || res.JSON200 == nil || !res.JSON200.Meta {
		t.Fatalf("%+v, %v", res, err)
	}
	for v, err := range c.WatchConnections(t.Context(), nil) {
		if err != nil || v.Memory != 1000 {
			t.Fatalf("%+v, %v", v, err)
		}
	}
}
