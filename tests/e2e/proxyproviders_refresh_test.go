package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// echoOrigin answers tests, and sends everything else back.
func echoOrigin(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var live sync.WaitGroup
	live.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			live.Go(func() {
				defer c.Close()
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if bytes.HasPrefix(b[:n], []byte("HEAD ")) {
						_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
						return
					}
					_, _ = c.Write(b[:n])
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		live.Wait()
	})
	return ln.Addr().String()
}

// echoes sends a text through a tunnel, and wants it back.
func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, _ = io.WriteString(c, text)
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Errorf("%q comes back as %q, %v", text, b, err)
	}
}

// TestProxyProviderRefresh changes a list: nodes that stay the same are kept with what is known of them, and
// connections stay whatever happens to their nodes. What somebody chose comes back with its node.
func TestProxyProviderRefresh(t *testing.T) {
	w := newWeb(t, "")
	origin := echoOrigin(t)
	stays, goes := startNodeProxy(t, origin), startNodeProxy(t, origin)
	list := func(nodes ...string) {
		t.Helper()
		w.text("/list", nodeList(nodes...))
	}
	stay, gone := httpNode("stays", stays.port), httpNode("goes", goes.port)
	list(stay, gone, httpNode("moves", stays.port))
	config := func(more string) string {
		return nowhere + fmt.Sprintf(`
proxy-groups:
- {name: S, type: select, use: [list]}
- {name: F, type: fallback, use: [list], url: 'http://well.test/', interval: 3600}
proxy-providers:
  list: {type: http, url: "%s/list", health-check: {enable: true, url: 'http://well.test/', interval: 3600}, path: kept.yaml%s}
rules: ['IN-TYPE,INNER,DIRECT', 'MATCH,S']
`, w.URL, more)
	}
	d := testkit.Start(t, "mixed-port: MIXED\n"+config(""))
	has(t, d, "list", "stays", "goes", "moves")
	do(t, d, "GET", "/providers/proxies/list/healthcheck", "")
	type facts struct {
		id    string
		tests int
	}
	know := func() map[string]facts {
		t.Helper()
		m := make(map[string]facts)
		for _, o := range provided(t, d, "list").Proxies {
			m[o.Name] = facts{*o.ID, len(o.History)}
		}
		return m
	}
	before := know()
	for name, f := range before {
		if f.tests == 0 {
			t.Errorf("%s has no history after the check", name)
		}
	}
	choose(t, d, "S", "stays")
	one := connect(t, d.Mixed, "one.test:80")
	echoes(t, one, "one")
	choose(t, d, "S", "goes")
	two := connect(t, d.Mixed, "two.test:80")
	echoes(t, two, "two")

	list(httpNode("new", goes.port), stay, httpNode("moves", goes.port))
	renew(t, d, "list", 204, "")
	after := know()
	if after["stays"].id != before["stays"].id || after["stays"].tests < before["stays"].tests {
		t.Errorf("what stays is %+v; it was %+v", after["stays"], before["stays"])
	}
	if after["moves"].id == before["moves"].id {
		t.Errorf("what moved is %+v still", after["moves"])
	}
	for _, path := range []string{"/proxies/goes", "/providers/proxies/list/goes"} {
		if status, body := d.Do(t, "GET", path, ""); status != 404 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if s := shownProxy(t, d, "S"); s.Now != "new" || !slices.Equal(s.All, []string{"new", "stays", "moves"}) {
		t.Errorf("%+v", s)
	}
	echoes(t, one, "still one")
	echoes(t, two, "still two")
	if c := shown(t, d, two); !slices.Equal(c.Chains, []string{"goes", "S"}) {
		t.Errorf("%+v", c)
	}
	three := connect(t, d.Mixed, "three.test:80")
	echoes(t, three, "three")
	if c := shown(t, d, three); !slices.Equal(c.Chains, []string{"new", "S"}) {
		t.Errorf("%+v", c)
	}

	list(stay, gone)
	renew(t, d, "list", 204, "")
	if s := shownProxy(t, d, "S"); s.Now != "goes" {
		t.Errorf("what was chosen is back, but %q is taken", s.Now)
	}
	renew(t, d, "list", 204, "") // the same list again
	load(t, d, config(", interval: 7200"))
	if again := know(); again["stays"].id != before["stays"].id {
		t.Errorf("after a reload there is %+v; it was %+v", again, before)
	}
	load(t, d, config(", payload: [{name: spare, type: direct}]"))
	load(t, d, config(", payload: [{name: spare, type: direct}], interval: 3600"))
	renew(t, d, "list", 204, "")
	tried := provided(t, d, "list").TriedAt
	load(t, d, "# moved down\n\n"+config(", payload: [{name: spare, type: direct}], interval: 3600"))
	if p := provided(t, d, "list"); !p.TriedAt.Equal(tried) {
		t.Errorf("a reload that changes nothing makes the provider anew: %+v", p)
	}
	again := know()
	if again["stays"].id != before["stays"].id || again["stays"].tests < before["stays"].tests || len(again) != 2 {
		t.Errorf("after reloads there is %+v; it was %+v", again, before)
	}
	if s := shownProxy(t, d, "S"); s.Now != "goes" {
		t.Errorf("after reloads %q is taken", s.Now)
	}
	echoes(t, one, "one at last")
	echoes(t, two, "two at last")

	// A start without the list: the wish waits for it.
	d.Signal(t, syscall.SIGTERM)
	if code := d.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := os.Remove(filepath.Join(d.Home, "kept.yaml")); err != nil {
		t.Fatal(err)
	}
	begun, wait := make(chan struct{}, 8), make(chan struct{})
	w.page("/list", func(rw http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-wait
		_, _ = io.WriteString(rw, nodeList(stay, gone))
	})
	d = d.Again(t)
	<-begun
	if s := shownProxy(t, d, "S"); !slices.Equal(s.All, []string{"COMPATIBLE"}) {
		t.Errorf("%+v", s)
	}
	close(wait)
	has(t, d, "list", "stays", "goes")
	if s := shownProxy(t, d, "S"); s.Now != "goes" {
		t.Errorf("after the start %q is taken", s.Now)
	}
}
