package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// releases is a server of releases with a key of its own.
type releases struct {
	url, key string
	secret   ed25519.PrivateKey

	mu    sync.Mutex
	files map[string][]byte // by path
}

const keyID = "testkey0"

func newReleases(t *testing.T) *releases {
	t.Helper()
	public, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &releases{secret: secret, key: base64.StdEncoding.EncodeToString([]byte("Ed" + keyID + string(public)))}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		b, ok := r.files[q.URL.Path]
		r.mu.Unlock()
		if !ok {
			http.NotFound(w, q)
			return
		}
		if rest, cut := bytes.CutSuffix(b, []byte("CUT")); cut {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(rest[:len(rest)/2])
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL + "/dl"
	return r
}

// publish offers a program in a channel, under a version. spoil may change the files.
func (r *releases) publish(channel, version string, program []byte, compressed bool, spoil func(files map[string][]byte)) {
	name := "switchyard-" + runtime.GOOS + "-" + runtime.GOARCH
	if compressed {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(program)
		_ = z.Close()
		program, name = b.Bytes(), name+".gz"
	}
	sums := fmt.Appendf(nil, "%x  switchyard-plan9-mips\n%x  %s\n", sha256.Sum256(nil), sha256.Sum256(program), name)
	hash := blake2b.Sum512(sums)
	of := ed25519.Sign(r.secret, hash[:])
	comment := "timestamp:1 version:" + version + " channel:" + channel
	all := ed25519.Sign(r.secret, append(bytes.Clone(of), comment...))
	signature := fmt.Sprintf("untrusted comment: a test\n%s\ntrusted comment: %s\n%s\n",
		base64.StdEncoding.EncodeToString([]byte("ED"+keyID+string(of))), comment, base64.StdEncoding.EncodeToString(all))
	files := map[string][]byte{"SHA256SUMS": sums, "SHA256SUMS.minisig": []byte(signature), name: program}
	if spoil != nil {
		spoil(files)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = make(map[string][]byte)
	for name, b := range files {
		r.files["/dl/"+channel+"/"+name] = b
	}
}

// upgradable is a configuration with everything that has to go on.
func (r *releases) upgradable() string {
	return plain + `
external-controller: 127.0.0.1:0
proxy-groups: [{name: G, type: select, proxies: [DIRECT, REJECT, PASS]}]
upgrade: {url: "` + r.url + `", public-key: ` + r.key + `}
`
}

// upgrade asks for one, and waits longer than for other answers.
func (l *launched) upgrade(t *testing.T, query string) (status int, body string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	r, err := c.Post(l.BaseURL+"/upgrade"+query, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

const programName = "switchyard-" + runtime.GOOS + "-" + runtime.GOARCH

// TestUpgradeFails: whatever goes wrong, the daemon is the one that it was, and the answer says what.
func TestUpgradeFails(t *testing.T) {
	one, two := version(t, "v1.0.0"), version(t, "v1.1.0")
	r := newReleases(t)
	l := launch(t, one, r.upgradable()+"external-controller-unix: controller.sock\n", "")
	good := contents(t, two)
	h := startHammer(t)
	h.socks(l.Mixed)
	h.api(l.BaseURL)
	rounds := 0
	f := func(query string, status int, wants ...string) {
		t.Helper()
		code, answer := l.upgrade(t, query)
		for _, want := range wants {
			if code != status || !strings.Contains(answer, want) {
				t.Errorf("%d %s; want %s", code, answer, want)
			}
		}
		l.unchanged(t, one)
		member := []string{"REJECT", "PASS"}[rounds%2]
		rounds++
		mustDo(t, l.Daemon, "PUT", "/proxies/G", `{"name":"`+member+`"}`, 204)
		if status, message := storeOf(t, l.Daemon); status != "ok" {
			t.Error(message)
		}
		h.turn(20)
	}
	f("", 500, `"code":"upgrade_failed"`, `"step":"download"`, "404 Not Found")
	f("?channel=nightly", 400, `"code":"body_invalid"`)

	r.publish("release", "v1.0.0", good, false, nil)
	f("", 500, `"message":"update error: already using latest version"`)
	r.publish("release", "v0.9.0", good, false, nil)
	f("?channel=release", 500, "v0.9.0 is older than v1.0.0")

	spoil := func(step, want string, how func(files map[string][]byte)) {
		t.Helper()
		r.publish("release", "v1.1.0", good, false, how)
		f("?channel=auto", 500, `"step":"`+step+`"`, want)
	}
	spoil("verify", "something else", func(f map[string][]byte) { f["SHA256SUMS"] = append(f["SHA256SUMS"], ' ') })
	spoil("verify", "not a signature", func(f map[string][]byte) { f["SHA256SUMS.minisig"] = []byte("yes") })
	spoil("verify", "its comment is another", func(f map[string][]byte) {
		f["SHA256SUMS.minisig"] = bytes.Replace(f["SHA256SUMS.minisig"], []byte("v1.1.0"), []byte("v1.1.1"), 1)
	})
	spoil("verify", "sum", func(f map[string][]byte) { f[programName] = good[:len(good)-1] })
	spoil("download", "EOF", func(f map[string][]byte) { f[programName] = append(bytes.Clone(good), "CUT"...) })
	spoil("download", "404", func(f map[string][]byte) { delete(f, programName) })

	program := func(script, step, want string) {
		t.Helper()
		r.publish("release", "v1.1.0", []byte("#!/bin/sh\n"+script), true, nil)
		f("", 500, `"step":"`+step+`"`, want)
	}
	program("echo no good; exit 1", "test", "no good")
	program(`[ "$1" = -t ] || exit 3`, "start", "it ended, or said nothing")
	program(`[ "$1" = -t ] || exec sleep 600`, "start", "not ready in time")
	// It can serve, but too late: just then it is asked to end, as one that has to end in order.
	program(`trap '' TERM; [ "$1" = -t ] || { sleep 10.3; (sleep 0.4; kill -TERM $$) & }; exec '`+two+`' "$@"`,
		"start", "not ready in time")
	h.turn(100)
	if !strings.Contains(l.log(), "the process before this one goes on") {
		t.Error("the new program did not come as far as to serve")
	}
	local := func() error {
		return exchange("unix", l.Home+"/controller.sock", "GET /version HTTP/1.0\r\n\r\n", "HTTP/1.1 200")
	}
	if err := local(); err != nil {
		t.Error(err)
	}
	h.end()
	mustDo(t, l.Daemon, "GET", "/version", "", 200)
}

// TestUpgrade: a new program takes over; what lives goes on in the old one, and nobody is refused.
func TestUpgrade(t *testing.T) {
	before, after := version(t, "v1.0.0"), version(t, "v1.1.0")
	r := newReleases(t)
	manager := newManager(t)
	dns := "127.0.0.1:" + fmt.Sprint(testkit.FreePort(t))
	l := launch(t, before, r.upgradable()+`
external-controller-unix: controller.sock
profile: {store-fake-ip: true}
dns: {enable: true, listen: "`+dns+`", enhanced-mode: fake-ip, fake-ip-range: 198.18.0.1/16, nameserver: ["rcode://success"]}
`, "", "NOTIFY_SOCKET="+manager.path)
	manager.wait(t, "READY=1")
	r.publish("release", "v1.1.0", contents(t, after), true, nil)
	mustDo(t, l.Daemon, "PUT", "/proxies/G", `{"name":"REJECT"}`, 204)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c := connect(t, l.Mixed, ln.Addr().String())
	h := startHammer(t)
	h.socks(l.Mixed)
	h.api(l.BaseURL)
	h.proxied(l.Mixed, "http://"+page(t)+"/")
	h.dns(dns)
	h.turn(20)
	address(t, dns, "one.test")
	leased := address(t, dns, "two.test")
	answers := make(chan string, 2)
	for range 2 { // of two at a time one is done
		go func() {
			code, body := l.upgrade(t, "?channel=release")
			answers <- fmt.Sprint(code, body)
		}()
	}
	one, other := <-answers, <-answers
	if !strings.HasPrefix(one, "409") {
		one, other = other, one
	}
	if !strings.Contains(one, `"code":"busy"`) || other != `200{"status":"ok"}`+"\n" {
		t.Errorf("%s, %s", one, other)
	}
	h.turn(50)
	if got := mustDo(t, l.Daemon, "GET", "/version", "", 200); !strings.Contains(got, "v1.1.0") {
		t.Error(got)
	}
	if got := mustDo(t, l.Daemon, "GET", "/proxies/G", "", 200); !strings.Contains(got, `"now":"REJECT"`) {
		t.Error(got)
	}
	if got := address(t, dns, "two.test"); got != leased {
		t.Errorf("two.test has %s; had %s", got, leased)
	}
	mustDo(t, l.Daemon, "PUT", "/proxies/G", `{"name":"PASS"}`, 204)
	if status, message := storeOf(t, l.Daemon); status != "ok" {
		t.Error(message)
	}
	pid := manager.wait(t, "MAINPID=")
	if want := fmt.Sprint(l.cmd.Process.Pid); pid == want || !strings.Contains(fmt.Sprint(l.programs(t)), pid) {
		t.Errorf("main process %s, of %v; was %s", pid, l.programs(t), want)
	}
	if !bytes.Equal(contents(t, l.exe), contents(t, after)) || !bytes.Equal(contents(t, l.exe+".old"), contents(t, before)) {
		t.Error("the programs are not where they should be")
	}
	// The tunnel of before goes on, and the old process ends with it.
	if _, err := io.WriteString(c, "still there"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 11)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "still there" {
		t.Fatalf("%q, %v", b, err)
	}
	select {
	case err := <-l.ended:
		t.Fatalf("the old process ended: %v", err)
	default:
	}
	_ = c.Close()
	select {
	case err := <-l.ended:
		if err != nil {
			t.Errorf("the old process ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the old process does not end")
	}
	// The new one can do it all again.
	mustDo(t, l.Daemon, "POST", "/restart", "", 200)
	h.turn(50)
	h.end()
	if got := mustDo(t, l.Daemon, "GET", "/proxies/G", "", 200); !strings.Contains(got, `"now":"PASS"`) {
		t.Error(got)
	}
	if code, body := l.Do(t, "POST", "/upgrade", ""); code != 500 || !strings.Contains(body, "already using latest version") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := l.Do(t, "POST", "/upgrade?force=true", ""); code != 200 {
		t.Errorf("%d %s", code, body)
	}
}

// TestUpgradeInPlace: where no systemd could be told of another process, this one becomes the new program.
func TestUpgradeInPlace(t *testing.T) {
	one, two := version(t, "v1.0.0"), version(t, "v1.1.0")
	r := newReleases(t)
	f := func(env []string, attr *syscall.SysProcAttr) {
		t.Helper()
		l := launchAs(t, attr, one, r.upgradable()+"external-controller-unix: controller.sock\n", "", env...)
		r.publish("release", "v1.1.0", contents(t, two), true, nil)
		mustDo(t, l.Daemon, "PUT", "/proxies/G", `{"name":"REJECT"}`, 204)
		h := startHammer(t)
		h.socks(l.Mixed)
		h.api(l.BaseURL)
		h.turn(20)
		if code, body := l.upgrade(t, ""); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		waitFor(t, l.log, serves, 3) // the one before, the trial, and the one that stays
		h.turn(50)
		h.end()
		if got := mustDo(t, l.Daemon, "GET", "/version", "", 200); !strings.Contains(got, "v1.1.0") {
			t.Error(got)
		}
		if got := mustDo(t, l.Daemon, "GET", "/proxies/G", "", 200); !strings.Contains(got, `"now":"REJECT"`) {
			t.Error(got)
		}
		if err := exchange("unix", l.Home+"/controller.sock", "GET /version HTTP/1.0\r\n\r\n", "HTTP/1.1 200"); err != nil {
			t.Error(err)
		}
		if got := l.programs(t); len(got) != 1 || got[0] != l.cmd.Process.Pid {
			t.Errorf("processes %v; want %d", got, l.cmd.Process.Pid)
		}
		if !bytes.Equal(contents(t, l.exe), contents(t, two)) || !bytes.Equal(contents(t, l.exe+".old"), contents(t, one)) {
			t.Error("the programs are not where they should be")
		}
		l.end(t)
		select {
		case err := <-l.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("it does not end")
		}
	}
	f([]string{"NOTIFY_SOCKET="}, nil)
	if attr := firstProcess(); attr != nil { // of a container, whoever hears what it says
		f([]string{"NOTIFY_SOCKET=" + newManager(t).path}, attr)
	}
}

// TestRestartOfStandardInput: what was read once is still known, and the program that is executed may be another.
func TestRestartOfStandardInput(t *testing.T) {
	one, two := version(t, "v1.0.0"), version(t, "v1.1.0")
	l := launch(t, one, "", plain+"external-controller: 127.0.0.1:0\n")
	if err := os.Rename(l.exe, l.exe+".moved"); err != nil {
		t.Fatal(err)
	}
	if code, body := l.Do(t, "POST", "/restart", ""); code != 500 || !strings.Contains(body, `"code":"restart_failed"`) {
		t.Errorf("without its file: %d %s", code, body)
	}
	place := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(l.exe+".next", b, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(l.exe+".next", l.exe); err != nil {
			t.Fatal(err)
		}
	}
	place(contents(t, two))
	h := startHammer(t)
	h.socks(l.Mixed)
	for n := range 2 {
		mustDo(t, l.Daemon, "POST", "/restart", "", 200)
		waitFor(t, l.log, serves, n+2)
		if got := mustDo(t, l.Daemon, "GET", "/version", "", 200); !strings.Contains(got, "v1.1.0") {
			t.Error(got)
		}
	}
	// What does not take the configuration, or cannot be executed at all, is not tried.
	place([]byte("#!/bin/sh\necho mode: no such mode; exit 1\n"))
	if code, body := l.Do(t, "POST", "/restart", ""); code != 500 || !strings.Contains(body, "mode: no such mode") {
		t.Errorf("a program that refuses the configuration: %d %s", code, body)
	}
	place([]byte("\x00no program"))
	if code, body := l.Do(t, "POST", "/restart", ""); code != 500 || !strings.Contains(body, `"code":"restart_failed"`) {
		t.Errorf("no program: %d %s", code, body)
	}
	h.turn(20)
	// What turns out to be none leaves what runs, with its sockets. A tunnel makes the daemon wait.
	place(contents(t, two))
	c := connect(t, l.Mixed, silent(t))
	mustDo(t, l.Daemon, "POST", "/restart", "", 200)
	place([]byte("\x00no program"))
	waitFor(t, l.log, "the restart did not work", 1)
	_ = c.Close()
	waitFor(t, l.log, serves, 4)
	h.turn(20)
	if got := l.programs(t); len(got) != 1 || got[0] != l.cmd.Process.Pid {
		t.Errorf("processes %v; want %d", got, l.cmd.Process.Pid)
	}
	place(contents(t, one))
	mustDo(t, l.Daemon, "POST", "/restart", "", 200)
	waitFor(t, l.log, serves, 5)
	h.turn(20)
	h.end()
}

// silent is the address of a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// manager hears what a daemon tells systemd.
type manager struct {
	path  string
	conn  *net.UnixConn
	heard []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: t.TempDir() + "/notify"}
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// wait waits for a line that begins with want, and returns its rest.
func (m *manager) wait(t *testing.T, want string) string {
	t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	for {
		n, err := m.conn.Read(b)
		if err != nil {
			t.Fatalf("no %s: %v; heard %q", want, err, m.heard)
		}
		m.heard = append(m.heard, string(b[:n]))
		for line := range strings.SplitSeq(string(b[:n]), "\n") {
			if rest, ok := strings.CutPrefix(line, want); ok {
				return rest
			}
		}
	}
}

// TestNotify: systemd is told when the daemon serves, reads its configuration again, restarts, and stops.
func TestNotify(t *testing.T) {
	for _, path := range []string{"", "@switchyard-test-" + fmt.Sprint(os.Getpid())} {
		m := newManager(t)
		if path != "" && runtime.GOOS == "linux" {
			var err error
			m.path = path
			if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
				t.Fatal(err)
			}
		}
		l := launch(t, version(t, "v1.0.0"), plain+"external-controller: 127.0.0.1:0\n", "", "NOTIFY_SOCKET="+m.path)
		m.wait(t, "READY=1")
		signalTo(l.cmd.Process.Pid, syscall.SIGHUP)
		m.wait(t, "RELOADING=1")
		m.wait(t, "READY=1")
		mustDo(t, l.Daemon, "POST", "/restart", "", 200)
		m.wait(t, "RELOADING=1")
		m.wait(t, "READY=1")
		if runtime.GOOS == "linux" && !strings.Contains(strings.Join(m.heard, "\n"), "MONOTONIC_USEC=") {
			t.Errorf("%q", m.heard)
		}
		signalTo(l.cmd.Process.Pid, syscall.SIGTERM)
		m.wait(t, "STOPPING=1")
		if err := <-l.ended; err != nil {
			t.Error(err)
		}
	}
}
