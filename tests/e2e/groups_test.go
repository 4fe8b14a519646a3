package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// nodeProxy is an HTTP proxy that connects to an origin, whatever it is asked for, and counts; it can be
// made slow, and switched off.
type nodeProxy struct {
	port  string
	count atomic.Int64
	delay atomic.Int64 // ms
	off   atomic.Bool
}

func startNodeProxy(t *testing.T, origin string) *nodeProxy {
	t.Helper()
	p := new(nodeProxy)
	var live sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if p.off.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		p.count.Add(1)
		time.Sleep(time.Duration(p.delay.Load()) * time.Millisecond)
		out, err := net.Dial("tcp", origin)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for _, ends := range [][2]net.Conn{{c, out}, {out, c}} {
			live.Go(func() {
				_, _ = io.Copy(ends[0], ends[1])
				_, _ = c.Close(), out.Close()
			})
		}
	}))
	t.Cleanup(func() {
		s.Close()
		live.Wait()
	})
	_, p.port, _ = net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	return p
}

// shownGroup is what tests read of a node or group.
type shownGroup struct {
	Type, Now, Fixed string
	Alive            bool
	All              []string
	History          []struct{ Delay int }
	Extra            map[string]struct {
		Alive   bool
		History []struct{ Delay int }
	}
}

func shownProxy(t *testing.T, d *testkit.Daemon, name string) (p shownGroup) {
	t.Helper()
	status, body := d.Do(t, "GET", "/proxies/"+name, "")
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return p
}

// TestGroups: each kind of group with real nodes: tests, pins, failures, filters and chains.
func TestGroups(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/teapot" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(origin.Close)
	addr := strings.TrimPrefix(origin.URL, "http://")
	a, b := startNodeProxy(t, addr), startNodeProxy(t, addr)
	b.delay.Store(300)
	d := testkit.Start(t, fmt.Sprintf(`mixed-port: MIXED
proxies:
  - {name: b-slow, type: http, server: 127.0.0.1, port: %s}
  - {name: a-fast, type: http, server: 127.0.0.1, port: %s}
  - {name: c-socks, type: socks5, server: 127.0.0.1, port: %s}
proxy-groups:
  - {name: U, type: url-test, proxies: [b-slow, a-fast], url: 'http://test.test/', interval: 60, timeout: 2000}
  - {name: F, type: fallback, proxies: [b-slow, a-fast], url: 'http://test.test/', interval: 60, timeout: 2000}
  - {name: L, type: load-balance, strategy: round-robin, proxies: [b-slow, a-fast], url: 'http://test.test/', interval: 60}
  - {name: R, type: relay, proxies: [DIRECT, a-fast, b-slow]}
  - {name: E, type: select, include-all: true, filter: nobody, empty-fallback: N}
  - {name: N, type: select, proxies: [REJECT]}
  - {name: S, type: select, include-all-proxies: true, filter: '^(?!b-)', exclude-type: socks5, default-selected: a-fast}
rules: ['DOMAIN-SUFFIX,u.test,U', 'DOMAIN-SUFFIX,f.test,F', 'DOMAIN-SUFFIX,l.test,L', 'DOMAIN-SUFFIX,r.test,R', 'MATCH,S']
`, b.port, a.port, testDeadPort(t)))
	get := func(host string) error {
		_, err := fetch(t, d.Mixed, "http://"+host+"/")
		if err != nil && strings.HasPrefix(err.Error(), "204") {
			err = nil
		}
		return err
	}

	// At start everything is tested: the fast one is chosen, and the first one that lives.
	until(t, "url-test chooses the fast node", func() bool { return shownProxy(t, d, "U").Now == "a-fast" })
	if f := shownProxy(t, d, "F"); f.Now != "b-slow" {
		t.Errorf("fallback has chosen %s", f.Now)
	}
	if p := shownProxy(t, d, "a-fast"); !p.Alive || len(p.History) == 0 || len(p.Extra["http://test.test/"].History) == 0 {
		t.Errorf("%+v", p)
	}
	if s := shownProxy(t, d, "S"); !slices.Equal(s.All, []string{"a-fast"}) {
		t.Errorf("the filter keeps %q", s.All)
	}

	if e := shownProxy(t, d, "E"); !slices.Equal(e.All, []string{"N"}) {
		t.Errorf("in place of nobody there is %q", e.All)
	}

	// A change of something else leaves groups as they are.
	if status, body := d.Do(t, "GET", "/proxies/U/delay?url=http://test.test/&timeout=2000", ""); status != 200 {
		t.Error(status, body)
	}
	if status, body := d.Do(t, "PATCH", "/configs", `{"log-level":"debug"}`); status != 204 {
		t.Error(status, body)
	}
	if u := shownProxy(t, d, "U"); u.Now != "a-fast" || len(u.History) != 1 {
		t.Errorf("after a change of something else: %+v", u)
	}

	// A pin wins as long as its node lives, and is stored.
	if status, body := d.Do(t, "PUT", "/proxies/U", `{"name":"b-slow"}`); status != 204 {
		t.Fatal(status, body)
	}
	if u := shownProxy(t, d, "U"); u.Now != "b-slow" || u.Fixed != "b-slow" {
		t.Errorf("%+v", u)
	}
	before := b.count.Load()
	if err := get("x.u.test"); err != nil || b.count.Load() == before {
		t.Errorf("not through the pinned node: %v", err)
	}
	if status, body := d.Do(t, "DELETE", "/proxies/U", ""); status != 204 || shownProxy(t, d, "U").Now != "a-fast" {
		t.Error(status, body, shownProxy(t, d, "U"))
	}

	// Round-robin takes turns.
	na, nb := a.count.Load(), b.count.Load()
	for range 4 {
		if err := get("x.l.test"); err != nil {
			t.Fatal(err)
		}
	}
	if na, nb = a.count.Load()-na, b.count.Load()-nb; na != 2 || nb != 2 {
		t.Errorf("%d and %d turns", na, nb)
	}

	// A chain goes through all of its nodes.
	na = a.count.Load()
	if err := get("x.r.test"); err != nil || a.count.Load() == na {
		t.Errorf("the chain: %v", err)
	}

	// Delay tests.
	if status, body := d.Do(t, "GET", "/proxies/a-fast/delay?url=http://test.test/&timeout=2000", ""); status != 200 || !strings.Contains(body, `"delay":`) {
		t.Error(status, body)
	}
	if status, body := d.Do(t, "GET", "/proxies/b-slow/delay?url=http://test.test/&timeout=50", ""); status != 504 {
		t.Error(status, body)
	}
	if status, body := d.Do(t, "GET", "/proxies/c-socks/delay?url=http://test.test/&timeout=2000", ""); status != 503 {
		t.Error(status, body)
	}
	status, body := d.Do(t, "GET", "/group/L/delay?url=http://test.test/teapot&timeout=2000&expected=204", "")
	if status != 200 || !strings.Contains(body, `"a-fast":`) || !strings.Contains(body, `"b-slow":`) {
		t.Error(status, body)
	}
	if p := shownProxy(t, d, "a-fast"); p.Extra["http://test.test/teapot"].Alive || !p.Alive {
		t.Errorf("an unexpected status: %+v", p)
	}

	// A node that fails is found out by those who dial through it, and another takes over.
	b.off.Store(true)
	until(t, "fallback leaves a dead node", func() bool {
		_ = get("x.f.test")
		return shownProxy(t, d, "F").Now == "a-fast"
	})
	if err := get("x.f.test"); err != nil {
		t.Error(err)
	}
	if status, body := d.Do(t, "GET", "/healthchecks", ""); status != 200 || !strings.Contains(body, "a-fast") {
		t.Error(status, body)
	}
}

// testDeadPort is a port where nobody listens.
func testDeadPort(t *testing.T) string { return fmt.Sprint(testkit.FreePort(t)) }
