package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// storeOf is what /readyz says of the store.
func storeOf(t *testing.T, d *testkit.Daemon) (status, message string) {
	t.Helper()
	code, body := d.Do(t, "GET", "/readyz", "")
	var r struct {
		Status     string
		Components map[string]struct {
			Status, Message string
			Since           time.Time
		}
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	store := r.Components["store"]
	if store.Status != r.Status || store.Since.IsZero() != (store.Status == "ok") {
		t.Errorf("%s", body)
	}
	return store.Status, store.Message
}

func mustDo(t *testing.T, d *testkit.Daemon, method, path, body string, want int) string {
	t.Helper()
	status, answer := d.Do(t, method, path, body)
	if status != want {
		t.Fatalf("%s %s %.100s: %d %s; want %d", method, path, body, status, answer, want)
	}
	return answer
}

// TestStorageSurvivesKill kills the daemon right after each answer.
func TestStorageSurvivesKill(t *testing.T) {
	d := testkit.Start(t, plain)
	holds := func(want string) {
		t.Helper()
		d.Kill(t)
		d = d.Again(t)
		if got := mustDo(t, d, "GET", "/storage/panel", "", 200); got != want+"\n" {
			t.Errorf("%.100s; want %.100s", got, want)
		}
	}
	for i := range 5 {
		document := fmt.Sprintf(`{"i":%d,"fill":%q}`, i, strings.Repeat("x", i*200_000))
		mustDo(t, d, "PUT", "/storage/panel", document, 204)
		holds(document)
	}
	mustDo(t, d, "DELETE", "/storage/panel", "", 204)
	holds("null")
	if status, message := storeOf(t, d); status != "ok" {
		t.Error(message)
	}
}

// wellOrigin is where tests of nodes succeed, so that pins stay.
func wellOrigin(t *testing.T) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const choosing = plain + `
proxies:
  - {name: m0, type: direct}
  - {name: m1, type: direct}
  - {name: m2, type: direct}
  - {name: m3, type: direct}
  - {name: m4, type: direct}
proxy-groups:
  - {name: S, type: select, proxies: [m0, m1, m2, m3, m4]}
  - {name: U, type: url-test, proxies: [m0, m1, m2, m3, m4], url: 'URL'}
`

// chooser changes the choices of groups one after the other until the daemon is gone.
type chooser struct {
	answered, asked map[string]string // by group: the choice that was answered last, and the one asked for last
	count           int
}

// choose pins and selects; it closes begun at the first request, and returns at the first that fails.
func (c *chooser) choose(ctx context.Context, d *testkit.Daemon, begun chan<- struct{}) {
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	for first := true; ; first = false {
		group, member := [...]string{"S", "U"}[c.count%2], fmt.Sprintf("m%d", c.count/2%5)
		method, body := "PUT", []byte(fmt.Sprintf(`{"name":%q}`, member))
		if group == "U" && c.count%14 == 13 {
			method, body, member = "DELETE", nil, ""
		}
		c.count++
		req, err := http.NewRequestWithContext(ctx, method, d.BaseURL+"/proxies/"+group, bytes.NewReader(body))
		if err != nil {
			return
		}
		c.asked[group] = member
		if first {
			close(begun)
		}
		res, err := client.Do(req)
		if err != nil {
			return
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusNoContent {
			c.answered[group] = member
		}
	}
}

// TestKillWhileChoosing kills the daemon a hundred times while choices are made: what it has afterwards
// is the choice that was answered last, or the one that was being made.
func TestKillWhileChoosing(t *testing.T) {
	times := 100
	if testing.Short() {
		times = 10
	}
	c := &chooser{answered: map[string]string{"S": "m0", "U": ""}, asked: map[string]string{"S": "m0", "U": ""}}
	d := testkit.Start(t, strings.Replace(choosing, "URL", wellOrigin(t), 1))
	for i := range times {
		begun, ended := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		go func() {
			defer close(ended)
			c.choose(ctx, d, begun)
		}()
		<-begun
		time.Sleep(time.Duration(rand.Int64N(int64(30 * time.Millisecond)))) // the moment is what is tried
		d.Kill(t)
		<-ended
		cancel()
		d = d.Again(t)
		for group, shown := range map[string]string{"S": shownProxy(t, d, "S").Now, "U": shownProxy(t, d, "U").Fixed} {
			if shown != c.answered[group] && shown != c.asked[group] {
				t.Fatalf("kill %d: %s is %q; %q was answered last, and %q asked for", i, group, shown, c.answered[group], c.asked[group])
			}
			c.answered[group], c.asked[group] = shown, shown
		}
	}
	if status, message := storeOf(t, d); status != "ok" {
		t.Error(message)
	}
	if c.count < 3*times {
		t.Errorf("only %d choices were made", c.count)
	}
	t.Logf("%d choices", c.count)
}

// TestStoreInUse starts the daemon while another process has its store: it serves, says what is wrong, and
// neither what was chosen before nor what is chosen meanwhile is lost.
func TestStoreInUse(t *testing.T) {
	d := testkit.Start(t, plain+`
proxies: [{name: a, type: direct}, {name: b, type: direct}]
proxy-groups:
  - {name: G, type: select, proxies: [a, b]}
  - {name: H, type: select, proxies: [a, b]}
  - {name: P, type: fallback, proxies: [a, b], url: '`+wellOrigin(t)+`'}
`)
	mustDo(t, d, "PUT", "/proxies/G", `{"name":"b"}`, 204)
	mustDo(t, d, "PUT", "/proxies/P", `{"name":"b"}`, 204)
	mustDo(t, d, "PUT", "/storage/panel", `[1]`, 204)
	d.Kill(t)
	other, err := bbolt.Open(filepath.Join(d.Home, "cache.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	d = d.Again(t)
	if status, message := storeOf(t, d); status != "degraded" || !strings.Contains(message, "cache.db: in use by another process") {
		t.Errorf("%s %s", status, message)
	}
	begun := time.Now()
	mustDo(t, d, "PUT", "/proxies/H", `{"name":"b"}`, 204)
	mustDo(t, d, "PUT", "/proxies/H", `{"name":"a"}`, 204)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if body := mustDo(t, d, method, "/storage/panel", `[2]`, 503); !strings.Contains(body, "in use by another process") {
			t.Error(body)
		}
	}
	mustDo(t, d, "PUT", "/proxies/H", `{"name":"b"}`, 204)
	if waited := time.Since(begun); waited > 3*time.Second {
		t.Errorf("six requests took %v", waited)
	}
	if _, message := storeOf(t, d); !strings.Contains(message, "1 choice is not stored yet") {
		t.Error(message)
	}
	if n := strings.Count(d.Log(), "in use by another process"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, d.Log())
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	d.WaitLog(t, "is stored again")
	check := func() {
		t.Helper()
		if status, message := storeOf(t, d); status != "ok" {
			t.Error(message)
		}
		until(t, "what was chosen is in use", func() bool {
			return shownProxy(t, d, "G").Now == "b" && shownProxy(t, d, "H").Now == "b" && shownProxy(t, d, "P").Fixed == "b"
		})
		if body := mustDo(t, d, "GET", "/storage/panel", "", 200); body != "[1]\n" {
			t.Error(body)
		}
	}
	check()
	d.Kill(t)
	d = d.Again(t)
	check()
}

// TestDamagedStore starts the daemon with a store that is none: it begins anew and says so until it ends.
func TestDamagedStore(t *testing.T) {
	d := testkit.Start(t, strings.Replace(choosing, "URL", "http://127.0.0.1:1/", 1))
	mustDo(t, d, "PUT", "/proxies/S", `{"name":"m3"}`, 204)
	d.Kill(t)
	path := filepath.Join(d.Home, "cache.db")
	garbage := bytes.Repeat([]byte("not a store "), 4000)
	if err := os.WriteFile(path, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	d = d.Again(t)
	if s := shownProxy(t, d, "S"); s.Now != "m0" {
		t.Errorf("%+v", s)
	}
	mustDo(t, d, "PUT", "/proxies/S", `{"name":"m2"}`, 204)
	mustDo(t, d, "PUT", "/storage/panel", `[1]`, 204)
	if status, message := storeOf(t, d); status != "degraded" || !strings.Contains(message, path+".bad") {
		t.Errorf("%s %s", status, message)
	}
	if kept, err := os.ReadFile(path + ".bad"); err != nil || !bytes.Equal(kept, garbage) {
		t.Errorf("%d bytes are kept, %v", len(kept), err)
	}
	d = d.Restart(t)
	if status, message := storeOf(t, d); status != "ok" {
		t.Error(message)
	}
	if s := shownProxy(t, d, "S"); s.Now != "m2" {
		t.Errorf("%+v", s)
	}
}
