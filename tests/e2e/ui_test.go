package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestUIFirst downloads the panel at the start, serves it, and answers before it is there.
func TestUIFirst(t *testing.T) {
	a := startArchives(t)
	held := make(chan struct{})
	a.held = held
	a.put("/p.zip", panelZip(t, "1"))
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: "+a.URL+"/p.zip\n")
	if res, _ := fetchUI(t, d, "/ui/"); res.StatusCode != 404 {
		t.Errorf("status %d before the panel is there", res.StatusCode)
	}
	close(held)
	d.WaitLog(t, "web panel is updated")
	if res, body := fetchUI(t, d, "/ui/"); res.StatusCode != 200 || body != "1" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	// What is there is not downloaded again.
	d = d.Restart(t)
	if res, body := fetchUI(t, d, "/ui/"); res.StatusCode != 200 || body != "1" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	if n := a.count(); n != 1 {
		t.Errorf("downloaded %d times", n)
	}
	// The answer is as the contract says, also when several ask at the same time.
	a.put("/p.zip", panelZip(t, "2"))
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if status, body := d.Do(t, "POST", "/upgrade/ui", ""); status != 200 || body != "{\"status\":\"ok\"}\n" {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	all.Wait()
	if _, body := fetchUI(t, d, "/ui/"); body != "2" {
		t.Error(body)
	}
	if status, _ := fetchAs(t, d, "POST", "/upgrade/ui"); status.StatusCode != 401 {
		t.Errorf("without the secret: %d", status.StatusCode)
	}
}

// TestUIStopsWhileLoading ends the daemon in the middle of a download.
func TestUIStopsWhileLoading(t *testing.T) {
	a := startArchives(t)
	a.held, a.came = make(chan struct{}), make(chan struct{}, 1)
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: "+a.URL+"/p.zip\n")
	<-a.came
	began := time.Now()
	d.Signal(t, syscall.SIGTERM)
	if code := d.Wait(t); code != 0 || time.Since(began) > 2*time.Second {
		t.Errorf("exit code %d after %v:\n%s", code, time.Since(began), d.Log())
	}
	if strings.Contains(d.Log(), "web panel") {
		t.Errorf("a stop is no failure:\n%s", d.Log())
	}
}

// TestUIUpgrade replaces the panel by what every kind of archive holds, and by nothing else.
func TestUIUpgrade(t *testing.T) {
	a := startArchives(t)
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: "+a.URL+"/p?token=SECRET\n")
	d.WaitLog(t, "web panel: can't download file: 404 Not Found")
	if strings.Contains(d.Log(), "SECRET") {
		t.Errorf("the log shows the URL:\n%s", d.Log())
	}
	good := func(name, want string, body []byte) {
		t.Helper()
		a.put("/p", body)
		if status, answer := d.Do(t, "POST", "/upgrade/ui", ""); status != 200 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
		if _, got := fetchUI(t, d, "/ui/"); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	good("flat zip", "1", zipped(t, "index.html", "1", "app.js", "1"))
	good("zip in one directory", "2", zipped(t, "x-gh-pages/", "", "x-gh-pages/index.html", "2"))
	good("tar.gz without entries of directories", "3", tarred(t, "x/index.html", "3", "x/a/b.js", "3"))
	good("nested tar.gz", "4", tarred(t, "x/dist/index.html", "4", "x/dist/a/b.js", "4"))

	bad := func(want string, body []byte) {
		t.Helper()
		a.put("/p", body)
		status, answer := d.Do(t, "POST", "/upgrade/ui", "")
		if status != 500 || !strings.Contains(answer, want) || !strings.Contains(answer, `"code":"update_failed"`) || strings.Contains(answer, "SECRET") {
			t.Errorf("%d %s; want %s", status, answer, want)
		}
		if _, got := fetchUI(t, d, "/ui/"); got != "4" {
			t.Errorf("%s: the panel is %q", want, got)
		}
		if _, err := os.Stat(filepath.Join(d.Home, "evil")); err == nil {
			t.Errorf("%s: a file outside of the panel", want)
		}
		if _, err := os.Stat(filepath.Join(d.Home, ".ui.new")); err == nil {
			t.Errorf("%s: something is left", want)
		}
	}
	bad(`"message":"unknown or unsupported file type"`, []byte("<!doctype html><title>404</title>"))
	bad("unknown or unsupported file type", []byte{})
	bad(`"message":"can't download file: 404 Not Found"`, nil)
	const refused = "can't extract compressed file: "
	for _, name := range []string{"../evil", "a/../../evil", "/evil", `..\evil`, "C:evil"} {
		bad(refused, zipped(t, "index.html", "x", name, "x"))
		bad(refused, tarred(t, "index.html", "x", name, "x"))
	}
	bad(refused, zipped(t, "index.html", "x", "link@", "/etc/passwd"))
	bad(refused, zipped(t, "index.html", "x", "dir@", "..", "dir/evil", "x"))
	bad(refused+"there is no index.html in it", zipped(t, "readme.md", "x"))
	bad(refused, panelZip(t, "9")[:300])
	bad(refused, tarred(t, "index.html", strings.Repeat("0123", 4000))[:60])
	bad(refused, tarred(t, "index.html", strings.Repeat("\x00", 40<<20))) // a bomb: 40 MiB of nothing
	bad(refused, zipped(t, "index.html", strings.Repeat("\x00", 40<<20)))
	bad("can't download file: http://127.0.0.1:", bytes.Repeat([]byte{'x'}, 64<<20+1))
}

// TestUINone answers as the family does where nothing is served, and updates all the same.
func TestUINone(t *testing.T) {
	a := startArchives(t)
	a.put("/p.zip", panelZip(t, "1"))
	d := testkit.Start(t, uiConfig+"external-ui-url: "+a.URL+"/p.zip\n")
	for _, path := range []string{"/ui", "/ui/", "/ui/index.html"} {
		if res, body := fetchUI(t, d, path); res.StatusCode != 404 || body != "404 page not found\n" {
			t.Errorf("%s: %d %q", path, res.StatusCode, body)
		}
	}
	if status, body := d.Do(t, "POST", "/upgrade/ui", ""); status != 200 {
		t.Fatal(status, body)
	}
	if b, err := os.ReadFile(filepath.Join(d.Home, "ui", "index.html")); err != nil || string(b) != "1" {
		t.Error(string(b), err)
	}
	if a.count() != 1 {
		t.Errorf("asked %d times", a.count())
	}
}

// TestUIReload changes the directory while the daemon runs: the file may, the API may not.
func TestUIReload(t *testing.T) {
	a := startArchives(t)
	a.put("/p.zip", panelZip(t, "one"))
	d := testkit.Start(t, uiConfig+"external-ui: first\nexternal-ui-url: "+a.URL+"/p.zip\n")
	d.WaitLog(t, "web panel is updated dir="+filepath.Join(d.Home, "first"))
	a.put("/p.zip", panelZip(t, "two"))
	payload := `{"payload":"external-ui: other\nexternal-ui-url: http://127.0.0.1:1/\n"}`
	if status, body := d.Do(t, "PUT", "/configs?force=true", payload); status != 204 {
		t.Fatal(status, body)
	}
	if _, body := fetchUI(t, d, "/ui/"); body != "one" {
		t.Errorf("PUT /configs changed the panel: %q", body)
	}
	config, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	write := func(ui string) {
		t.Helper()
		text := strings.Replace(string(config), "external-ui: first", ui, 1)
		if err := os.WriteFile(d.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Signal(t, syscall.SIGHUP)
	}
	write("external-ui: second\nexternal-ui-name: xd")
	d.WaitLog(t, "web panel is updated dir="+filepath.Join(d.Home, "second", "xd"))
	if res, _ := fetchUI(t, d, "/ui/"); res.StatusCode != 307 || res.Header.Get("Location") != "/ui/xd/" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if _, body := fetchUI(t, d, "/ui/xd/"); body != "two" {
		t.Error(body)
	}
	// One that may not be named leaves all as it is.
	write("external-ui: /etc")
	if line := d.WaitLog(t, "reload failed"); !strings.Contains(line, "external-ui: path is not subpath of home directory or SAFE_PATHS") {
		t.Error(line)
	}
	if _, body := fetchUI(t, d, "/ui/xd/"); body != "two" {
		t.Error(body)
	}
	write("log-level: info")
	d.WaitLog(t, "configuration reloaded")
	for end := time.Now().Add(10 * time.Second); ; {
		if res, _ := fetchUI(t, d, "/ui/"); res.StatusCode == 404 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("still served: %d", res.StatusCode)
		}
	}
}

// TestUILinkOut shows that a directory which a link leads out of the home directory is not served.
func TestUILinkOut(t *testing.T) {
	d := testkit.Start(t, uiConfig+"external-ui-url: http://127.0.0.1:1/\n")
	if err := os.Symlink(t.TempDir(), filepath.Join(d.Home, "ui")); err != nil {
		t.Fatal(err)
	}
	if status, body := d.Do(t, "POST", "/upgrade/ui", ""); status != 500 || !strings.Contains(body, "path is not subpath") {
		t.Errorf("%d %s", status, body)
	}
}

// TestUIFlag serves the directory that the command line names.
func TestUIFlag(t *testing.T) {
	a := startArchives(t)
	a.put("/p.zip", panelZip(t, "flag"))
	d := testkit.Start(t, uiConfig+"external-ui-url: "+a.URL+"/p.zip\n", "-ext-ui", "panel")
	d.WaitLog(t, "web panel is updated dir="+filepath.Join(d.Home, "panel"))
	if _, body := fetchUI(t, d, "/ui/"); body != "flag" {
		t.Error(body)
	}
}

// TestUICrash ends the daemon between the two renames of a change, as a crash would.
func TestUICrash(t *testing.T) {
	a := startArchives(t)
	a.put("/p.zip", panelZip(t, "1"))
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: "+a.URL+"/p.zip\n")
	d.WaitLog(t, "web panel is updated")
	d.Kill(t)
	ui, old, fresh := filepath.Join(d.Home, "ui"), filepath.Join(d.Home, ".ui.old"), filepath.Join(d.Home, ".ui.new")
	if err := errors.Join(os.Rename(ui, old), os.MkdirAll(filepath.Join(fresh, "half"), 0o700)); err != nil {
		t.Fatal(err)
	}
	d = d.Again(t)
	for end := time.Now().Add(10 * time.Second); ; {
		_, body := fetchUI(t, d, "/ui/")
		_, err := os.Stat(fresh)
		if body == "1" && errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%q, %v:\n%s", body, err, d.Log())
		}
	}
	if a.count() != 1 {
		t.Errorf("downloaded %d times", a.count())
	}
}

// TestUIUnderLoad replaces the panel ten times while browsers load it: a page and what it names are
// always there, whole, and of one version.
func TestUIUnderLoad(t *testing.T) {
	a := startArchives(t)
	a.put("/p.zip", panelZip(t, "v0"))
	d := testkit.Start(t, uiConfig+"external-ui: ui\nexternal-ui-url: "+a.URL+"/p.zip\n")
	d.WaitLog(t, "web panel is updated")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	var loads []chan struct{}
	for range 4 {
		loaded := make(chan struct{})
		loads = append(loads, loaded)
		readers.Go(func() {
			for {
				res, version := fetchUI(t, d, "/ui/")
				if res.StatusCode != 200 {
					t.Errorf("the page: %d", res.StatusCode)
				}
				res, script := fetchUI(t, d, "/ui/assets/app-"+version+".js")
				if got, _, _ := strings.Cut(script, " "); res.StatusCode != 200 || got != version || len(script) != len(version)+150_000 {
					t.Errorf("the script of %s: %d, %d bytes of %.10q", version, res.StatusCode, len(script), got)
				}
				select {
				case <-stop:
					return
				case loaded <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range 10 {
		a.put("/p.zip", panelZip(t, fmt.Sprintf("v%d", i+1)))
		if status, body := d.Do(t, "POST", "/upgrade/ui", ""); status != 200 {
			t.Errorf("%d %s", status, body)
		}
		for range 2 { // everybody has loaded it once since
			for _, loaded := range loads {
				<-loaded
			}
		}
	}
	close(stop)
	readers.Wait()
	if _, body := fetchUI(t, d, "/ui/"); body != "v10" {
		t.Error(body)
	}
}
