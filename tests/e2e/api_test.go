package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// descriptors counts those of the daemon.
func descriptors(t *testing.T, d *testkit.Daemon) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestStreamsLeaveNoDescriptor opens streams of every kind and leaves them, politely and not.
func TestStreamsLeaveNoDescriptor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	d := testkit.Start(t, plain)
	host := strings.TrimPrefix(d.BaseURL, "http://")
	_, _ = d.Do(t, "GET", "/version", "")
	before := descriptors(t, d)
	for i := range 60 {
		switch i % 3 {
		case 0: // a reader of lines that leaves
			c, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET /logs HTTP/1.1\r\nHost: localhost\r\n\r\n")
			_, _ = c.Read(make([]byte, 100))
			_ = c.Close()
		case 1: // a socket that is closed as it should be, by both sides
			ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+host+"/traffic", nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
			_ = ws.NetConn().SetReadDeadline(time.Now().Add(5 * time.Second))
			for err == nil {
				_, _, err = ws.ReadMessage()
			}
			if n, err := ws.NetConn().Read(make([]byte, 1)); n > 0 || err != io.EOF {
				t.Fatalf("the daemon keeps the connection: %d, %v", n, err)
			}
			_ = ws.Close()
		case 2: // a socket that just goes
			ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+host+"/connections", nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = ws.Close()
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for descriptors(t, d) > before+1 { // one for the client that asks
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors; %d before", descriptors(t, d), before)
		}
		runtime.Gosched()
	}
}

// TestAnswersDuringReloads asks and selects while the configuration changes all the time.
func TestAnswersDuringReloads(t *testing.T) {
	with := func(extra string) string {
		b, _ := json.Marshal(map[string]string{"payload": "rules: [\"MATCH,G\"]\nproxies:\n- {name: a, type: direct}\n- {name: b, type: direct}\n" + extra +
			"proxy-groups: [{name: G, type: select, proxies: [a, b]}]\n"})
		return string(b)
	}
	d := testkit.Start(t, plain)
	do := func(method, path, body string, want int) {
		if status, text := d.Do(t, method, path, body); status != want {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
	do("PUT", "/configs", with(""), 204)
	var wait sync.WaitGroup
	stop := make(chan struct{})
	wait.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				do("PUT", "/configs", with(strings.Repeat("- {name: c, type: direct}\n", i%2)), 204)
			}
		}
	})
	wait.Go(func() {
		for range 200 {
			do("GET", "/proxies", "", 200)
			do("GET", "/group", "", 200)
		}
	})
	for i := range 200 {
		want := string("ab"[i%2])
		do("PUT", "/proxies/G", `{"name":"`+want+`"}`, 204)
		if _, body := d.Do(t, "GET", "/proxies/G", ""); !strings.Contains(body, `"now":"`+want+`"`) {
			t.Fatalf("after selecting %s: %s", want, body)
		}
	}
	close(stop)
	wait.Wait()
}

// TestEveryNodeTypeHasItsName lists a node of every type of the family: the typed client reads each.
func TestEveryNodeTypeHasItsName(t *testing.T) {
	var b strings.Builder
	b.WriteString(plain + "proxies:\n")
	for _, word := range config.NodeTypes() {
		fmt.Fprintf(&b, "- {name: %q, type: %s, server: s.test, port: 1, password: p, uuid: u, cipher: c, alterId: 0, obfs: o, protocol: p, psk: k}\n", "n "+word, word)
	}
	d := testkit.Start(t, b.String())
	sdk, err := client.New(d.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sdk.ListProxiesWithResponse(t.Context())
	if err != nil || r.JSON200 == nil {
		t.Fatalf("%v, %s", err, r.Body)
	}
	for _, word := range config.NodeTypes() {
		if p, ok := r.JSON200.Proxies["n "+word]; !ok || !p.Type.Valid() {
			t.Errorf("%s is listed as %q", word, p.Type)
		}
	}
}

// TestNamesThatSpellOtherPaths reaches nodes whose names, decoded, lead elsewhere.
func TestNamesThatSpellOtherPaths(t *testing.T) {
	names := []string{"../debug", "../../debug/vars", "..", "a/b", "../version"}
	var b strings.Builder
	b.WriteString(plain + "log-level: debug\nproxies:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "- {name: %q, type: direct}\n", name)
	}
	d := testkit.Start(t, b.String())
	for _, name := range names {
		var p api.Proxy
		status, body := d.Do(t, "GET", "/proxies/"+strings.ReplaceAll(url.PathEscape(name), "..", "%2E%2E"), "")
		if json.Unmarshal([]byte(body), &p) != nil || p.Name != name {
			t.Errorf("%q: %d %.80s", name, status, body)
		}
	}
	if status, _ := d.Do(t, "GET", "/debug/vars", ""); status != 200 {
		t.Errorf("/debug/vars: %d", status)
	}
}

// TestLargeBodyOverTheUnixSocket sends what a GUI sends: no secret, and a whole configuration.
func TestLargeBodyOverTheUnixSocket(t *testing.T) {
	d := testkit.Start(t, plain+"secret: s\nexternal-controller-unix: ctl.sock\n")
	sdk, err := client.New("http://localhost", client.WithUnixSocket(filepath.Join(d.Home, "ctl.sock")))
	if err != nil {
		t.Fatal(err)
	}
	payload := "rules: [\"MATCH,DIRECT\"]\n#" + strings.Repeat("x", 200<<10)
	r, err := sdk.ReplaceConfigsWithResponse(t.Context(), nil, api.ConfigSource{Payload: payload})
	if err != nil || r.StatusCode() != http.StatusNoContent {
		t.Errorf("%v, %s", err, r.Body)
	}
	// Those who do not know the secret may not send as much.
	big, err := http.NewRequestWithContext(t.Context(), "PUT", d.BaseURL+"/configs", strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultClient.Do(big); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a stranger: %d", res.StatusCode)
		}
	}
}

// TestPipesAreNoFiles names a pipe where a configuration should be: the answer does not wait for it.
func TestPipesAreNoFiles(t *testing.T) {
	d := testkit.Start(t, plain)
	path := filepath.Join(d.Home, "pipe")
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Skipf("mkfifo: %v %s", err, out)
	}
	if status, body := d.Do(t, "PUT", "/configs", fmt.Sprintf(`{"path":%q}`, path)); status != 400 || !strings.Contains(body, "is no regular file") {
		t.Errorf("%d %s", status, body)
	}
}
