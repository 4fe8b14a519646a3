package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// tunnel is a connection by CONNECT to an origin, over which requests go.
type tunnel struct {
	net.Conn
	in *bufio.Reader
}

func openTunnel(t *testing.T, d *testkit.Daemon, host string) *tunnel {
	t.Helper()
	c := connect(t, d.Mixed, host+":80")
	tu := &tunnel{c, bufio.NewReader(c)}
	tu.lives(t, "a new tunnel to "+host)
	return tu
}

// lives asks the origin over the tunnel.
func (tu *tunnel) lives(t *testing.T, what string) {
	t.Helper()
	_ = tu.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(tu, "GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n")
	resp, err := http.ReadResponse(tu.in, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %s", what, resp.Status)
	}
}

// ends waits for the end of the tunnel.
func (tu *tunnel) ends(t *testing.T, what string) {
	t.Helper()
	_ = tu.SetDeadline(time.Now().Add(10 * time.Second))
	b, err := tu.in.ReadByte()
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s goes on: %q, %v", what, b, err)
	}
}

func startOrigin(t *testing.T) (addr string) {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(origin.Close)
	return strings.TrimPrefix(origin.URL, "http://")
}

// interruptNodes are the nodes of the configurations below.
func interruptNodes(a, b *nodeProxy) string {
	return fmt.Sprintf(`log-level: debug
mixed-port: MIXED
proxies:
  - {name: a, type: http, server: 127.0.0.1, port: %s}
  - {name: b, type: http, server: 127.0.0.1, port: %s}
`, a.port, b.port)
}

// TestInterruptByHand changes choices by the API and by a reload; connections are kept, closed and drained.
func TestInterruptByHand(t *testing.T) {
	addr := startOrigin(t)
	a, b := startNodeProxy(t, addr), startNodeProxy(t, addr)
	head := interruptNodes(a, b) + "rules: ['DOMAIN,keep.test,Keep', 'DOMAIN,close.test,Close', 'DOMAIN,drain.test,Drain', 'DOMAIN,outer.test,Outer', 'DOMAIN,other.test,Other', 'MATCH,DIRECT']\n"
	const groups = `proxy-groups:
  - {name: Keep, type: select, proxies: [a, b]}
  - {name: Close, type: select, proxies: [a, b], interrupt-exist-connections: close}
  - {name: Drain, type: select, proxies: [a, b], interrupt-exist-connections: drain 1s}
  - {name: Outer, type: select, proxies: [Close, b], interrupt-exist-connections: true}
  - {name: Other, type: select, proxies: [a, b], interrupt-exist-connections: close}
`
	d := testkit.Start(t, head+groups)
	choose := func(group, member string) {
		t.Helper()
		do(t, d, "PUT", "/proxies/"+group, `{"name":"`+member+`"}`)
	}
	keep, closed, drain := openTunnel(t, d, "keep.test"), openTunnel(t, d, "close.test"), openTunnel(t, d, "drain.test")
	outer, other := openTunnel(t, d, "outer.test"), openTunnel(t, d, "other.test")

	choose("Keep", "b")
	choose("Drain", "b")
	began := time.Now()
	choose("Close", "b")
	closed.ends(t, "what goes through Close by a")
	outer.ends(t, "what goes through Outer and Close by a")
	if after := d.WaitLog(t, `group \"Close\" went from a to b: `); !strings.HasPrefix(after, "2 connections ended") {
		t.Errorf("the log says %s", after)
	}
	d.WaitLog(t, `closed: group \"Close\" went from a to b`)
	drain.ends(t, "what goes through Drain by a")
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("drained after %v", took)
	}
	if after := d.WaitLog(t, `group \"Drain\" went from a to b: `); !strings.HasPrefix(after, "1 connection ended after 1s") {
		t.Errorf("the log says %s", after)
	}
	keep.lives(t, "what Keep keeps")
	other.lives(t, "what goes by a through another group")

	// What goes by the new choice is not touched by the change, and the group above has one of its own.
	closed, outer = openTunnel(t, d, "close.test"), openTunnel(t, d, "outer.test")
	choose("Outer", "b")
	outer.ends(t, "what goes through Outer by Close")
	closed.lives(t, "what goes through Close by b")

	// A reload takes the member away that was chosen; another leaves all as it is.
	write := func(text string) {
		t.Helper()
		_, port, _ := net.SplitHostPort(d.Mixed)
		text = strings.Replace(head, "MIXED", port, 1) + text + "external-controller: " + strings.TrimPrefix(d.BaseURL, "http://") + "\n"
		if err := os.WriteFile(d.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(groups)
	do(t, d, "PUT", "/configs?force=true", "{}")
	closed.lives(t, "what goes through Close after a reload")
	write(strings.Replace(groups, "Close, type: select, proxies: [a, b]", "Close, type: select, proxies: [a]", 1))
	d.Signal(t, syscall.SIGHUP)
	closed.ends(t, "what goes by a member that is gone")
	if after := d.WaitLog(t, `group \"Close\" went from b to a: `); !strings.HasPrefix(after, "1 connection ended") {
		t.Errorf("the log says %s", after)
	}
	keep.lives(t, "what Keep keeps over reloads")
	other.lives(t, "what goes by a through another group, after all")
	if log := d.Log(); strings.Contains(log, `group \"Keep\" went`) || strings.Contains(log, `group \"Other\" went`) {
		t.Error(log)
	}
}

// TestInterruptByTests: a member dies, and what went through it ends though nobody opens a connection.
func TestInterruptByTests(t *testing.T) {
	addr := startOrigin(t)
	a, b := startNodeProxy(t, addr), startNodeProxy(t, addr)
	b.delay.Store(200)
	d := testkit.Start(t, interruptNodes(a, b)+`proxy-groups:
  - {name: Auto, type: url-test, proxies: [b, a], url: 'http://t.test/', interval: 600, interrupt-exist-connections: close}
  - {name: Fall, type: fallback, proxies: [a, b], url: 'http://t.test/', interval: 600, interrupt-exist-connections: close}
  - {name: Keep, type: select, proxies: [a]}
rules: ['DOMAIN,auto.test,Auto', 'DOMAIN,fall.test,Fall', 'MATCH,Keep']
`)
	until(t, "the fast node is chosen", func() bool { return shownProxy(t, d, "Auto").Now == "a" })
	auto, keep := openTunnel(t, d, "auto.test"), openTunnel(t, d, "keep.test")

	// A pin that is set and taken out.
	do(t, d, "PUT", "/proxies/Fall", `{"name":"b"}`)
	fall := openTunnel(t, d, "fall.test")
	if after := d.WaitLog(t, `group \"Fall\" went from a to b: `); !strings.HasPrefix(after, "0 connections ended") {
		t.Errorf("the log says %s", after)
	}
	do(t, d, "DELETE", "/proxies/Fall", "")
	fall.ends(t, "what went by the pin")
	fall = openTunnel(t, d, "fall.test")

	a.off.Store(true)
	if status, body := d.Do(t, "GET", "/proxies/a/delay?url=http://t.test/&timeout=2000", ""); status != 503 {
		t.Fatal(status, body)
	}
	auto.ends(t, "what went by the dead node of an url-test group")
	fall.ends(t, "what went by the dead node of a fallback group")
	if after := d.WaitLog(t, `group \"Auto\" went from a to b: `); !strings.HasPrefix(after, "1 connection ended") {
		t.Errorf("the log says %s", after)
	}
	keep.lives(t, "what goes by the dead node through another group")
	openTunnel(t, d, "auto.test")
}

// TestGroupPins: a node that has come back can be pinned, and a pin that was lost does not come back.
func TestGroupPins(t *testing.T) {
	addr := startOrigin(t)
	a, b := startNodeProxy(t, addr), startNodeProxy(t, addr)
	d := testkit.Start(t, interruptNodes(a, b)+`proxy-groups:
  - {name: Fall, type: fallback, proxies: [a, b], url: 'http://t.test/', interval: 600}
rules: ['MATCH,Fall']
`)
	until(t, "all is tested", func() bool {
		return len(shownProxy(t, d, "a").History) == 1 && len(shownProxy(t, d, "b").History) == 1
	})
	test := func(status int) {
		t.Helper()
		if got, body := d.Do(t, "GET", "/proxies/b/delay?url=http://t.test/&timeout=2000", ""); got != status {
			t.Fatal(got, body)
		}
	}
	is := func(now, fixed string) {
		t.Helper()
		if g := shownProxy(t, d, "Fall"); g.Now != now || g.Fixed != fixed {
			t.Errorf("now %s, fixed %q; want %s, %q", g.Now, g.Fixed, now, fixed)
		}
	}
	b.off.Store(true)
	test(503)
	do(t, d, "PUT", "/proxies/Fall", `{"name":"b"}`) // it is tested, and is dead
	is("a", "")
	b.off.Store(false)
	before := b.count.Load()
	do(t, d, "PUT", "/proxies/Fall", `{"name":"b"}`) // it has come back, which nobody knew
	is("b", "b")
	if n := b.count.Load() - before; n != 1 {
		t.Errorf("%d tests before the pin", n)
	}
	do(t, d, "PUT", "/proxies/Fall", `{"name":"b"}`) // it is known to live
	if n := b.count.Load() - before; n != 1 {
		t.Errorf("%d tests of a node that lives", n-1)
	}
	d = d.Restart(t)
	is("b", "b")

	b.off.Store(true)
	test(503)
	is("a", "")
	b.off.Store(false)
	d = d.Restart(t)
	is("a", "")
}
