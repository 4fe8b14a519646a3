//go:build linux

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/switchyard-proxy/switchyard/tests/port"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// listeningSockets are the sockets that a daemon listens on, as the kernel tells.
func listeningSockets(t *testing.T, d *testkit.Daemon) (list []string) {
	t.Helper()
	own := make(map[string]bool)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", d.PID(), fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for network, column := range map[string]int{"tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9, "unix": 6} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", d.PID(), network))
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			f := strings.Fields(line)
			if len(f) <= column || !own[f[column]] {
				continue
			}
			switch {
			case network == "unix" && f[3] == "00010000" && len(f) > 7:
				list = append(list, network+" "+f[7])
			case strings.HasPrefix(network, "tcp") && f[3] == "0A", strings.HasPrefix(network, "udp") && f[3] == "07":
				list = append(list, network+" "+f[1])
			}
		}
	}
	slices.Sort(list)
	return list
}

// bystander is a daemon whose changes are going to fail, and what must not notice them.
type bystander struct {
	*testkit.Daemon
	good   string // the configuration, ports and all
	before string
	tunnel net.Conn
}

// newBystander runs a daemon that others may not disturb.
func newBystander(t *testing.T) *bystander {
	t.Helper()
	controller := port.Free(t)
	good := fmt.Sprintf(`mixed-port: MIXED
mode: rule
external-controller: 127.0.0.1:%d
external-controller-unix: run/ctl.sock
dns: {enable: true, listen: '127.0.0.1:%d', nameserver: ['127.0.0.1:1']}
proxies: [{name: a, type: direct}, {name: b, type: direct}]
proxy-groups: [{name: G, type: select, proxies: [a, b]}]
rules: ['MATCH,G']
`, controller, port.Free(t))
	d := testkit.Start(t, good)
	d.BaseURL = fmt.Sprintf("http://127.0.0.1:%d", controller) // and not the Unix socket
	_, mixed, _ := net.SplitHostPort(d.Mixed)
	b := &bystander{Daemon: d, good: strings.ReplaceAll(good, "MIXED", mixed)}
	mustDo(t, d, "PUT", "/proxies/G", `{"name":"b"}`, 204)
	b.tunnel = connect(t, d.Mixed, echo(t))
	b.before = b.look(t)
	return b
}

// look is all that a change which fails leaves alone.
func (b *bystander) look(t *testing.T) string {
	t.Helper()
	_ = b.tunnel.SetDeadline(time.Now().Add(10 * time.Second))
	word := []byte("still there?")
	if _, err := b.tunnel.Write(word); err != nil {
		t.Fatalf("the tunnel: %v", err)
	}
	heard := make([]byte, len(word))
	if _, err := io.ReadFull(b.tunnel, heard); err != nil || !bytes.Equal(heard, word) {
		t.Fatalf("the tunnel: %q, %v", heard, err)
	}
	return strings.Join([]string{
		etag(t, b.Daemon), mustDo(t, b.Daemon, "GET", "/configs", "", 200), shownProxy(t, b.Daemon, "G").Now,
		strings.Join(listeningSockets(t, b.Daemon), "\n"), homeOf(t, b.Daemon),
	}, "\n")
}

// unmoved compares what is with what was.
func (b *bystander) unmoved(t *testing.T, after string) {
	t.Helper()
	if now := b.look(t); now != b.before {
		t.Errorf("after %s it is\n%s\nand was\n%s", after, now, b.before)
	}
}

// hangup has the daemon read its file, with other content, and returns what it logs of that.
func (b *bystander) hangup(t *testing.T, yaml string) (said string) {
	t.Helper()
	if err := os.WriteFile(b.File, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	from := len(b.Log())
	b.Signal(t, syscall.SIGHUP)
	until(t, "the daemon says how the reload went", func() bool {
		said = b.Log()[from:]
		return strings.Contains(said, "reload failed, nothing has changed") || strings.Contains(said, "configuration reloaded")
	})
	if err := os.WriteFile(b.File, []byte(b.good), 0o600); err != nil {
		t.Fatal(err)
	}
	return said
}

// fault is what keeps a configuration from being used.
type fault struct {
	name  string
	yaml  string // with what cannot be
	patch string // the same as a PATCH; "" where that has no key for it
	put   bool   // PUT without force sees it
	force bool   // PUT with force sees it
	step  string // "" is that the configuration is refused
	wrong bool   // at start that is the configuration's fault
	want  string
}

// TestFaults makes every door fail at every step: the answer says why and where, and what runs does not notice.
func TestFaults(t *testing.T) {
	b := newBystander(t)
	busyTCP, busyUDP := takenTCP(t), takenUDP(t)
	certificates(t, b.Home)
	file := filepath.Join(b.Home, "no-socket")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.before = b.look(t)
	with := func(key, line string) string {
		lines := strings.Split(b.good, "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
		return strings.Join(lines, "\n") + line + "\n"
	}
	tls := func(certificate, key string) string {
		return fmt.Sprintf("%sexternal-controller-tls: 127.0.0.1:0\ntls: {certificate: %s, private-key: %s}\n", b.good, certificate, key)
	}
	fresh := port.Free(t)
	for _, f := range []fault{
		{
			name: "a port that is in use", yaml: with("mixed-port", fmt.Sprintf("mixed-port: %d", busyTCP)), force: true,
			patch: fmt.Sprintf(`{"mixed-port":%d}`, busyTCP), step: "inbounds", want: "address already in use",
		},
		{
			name: "the UDP port beside one", yaml: with("mixed-port", fmt.Sprintf("mixed-port: %d", busyUDP)), force: true,
			patch: fmt.Sprintf(`{"mixed-port":%d}`, busyUDP), step: "inbounds", want: "address already in use",
		},
		{
			name: "the second of two ports", yaml: with("mixed-port", fmt.Sprintf("mixed-port: %d\nport: %d", fresh, busyTCP)), force: true,
			patch: fmt.Sprintf(`{"mixed-port":%d,"port":%d}`, fresh, busyTCP), step: "inbounds", want: "address already in use",
		},
		{
			name: "an address that is not here", yaml: b.good + "allow-lan: true\nbind-address: 192.0.2.1\n", force: true,
			patch: `{"allow-lan":true,"bind-address":"192.0.2.1"}`, step: "inbounds", want: "192.0.2.1",
		},
		{
			name: "the DNS server's port over TCP", put: true, force: true, step: "dns", want: "dns.listen",
			yaml: with("dns", fmt.Sprintf("dns: {enable: true, listen: '127.0.0.1:%d', nameserver: ['127.0.0.1:1']}", busyTCP)),
		},
		{
			name: "the DNS server's port over UDP, after a port that is free", force: true, step: "dns", want: "dns.listen",
			yaml: strings.Replace(with("dns", fmt.Sprintf("dns: {enable: true, listen: '127.0.0.1:%d', nameserver: ['127.0.0.1:1']}\nport: %d", busyUDP, fresh)),
				"mode: rule", "mode: global", 1),
		},
		{
			name: "the controller's port, after all others", step: "controller", want: "external-controller: bind",
			yaml: with("external-controller", fmt.Sprintf("external-controller: 127.0.0.1:%d\nport: %d", busyTCP, fresh)),
		},
		{
			name: "a port that another's TLS wants", step: "controller", want: "address already in use",
			yaml: strings.Replace(tls("cert.pem", "key.pem"), "external-controller-tls: 127.0.0.1:0", fmt.Sprintf("external-controller-tls: 127.0.0.1:%d", busyTCP), 1),
		},
		{
			name: "a file where the Unix socket should be", step: "controller", want: "is there already and no socket",
			yaml: with("external-controller-unix", "external-controller-unix: "+file),
		},
		{name: "a certificate that is not there", yaml: tls("none.pem", "key.pem"), step: "controller", want: "tls.certificate: open"},
		{name: "a certificate that is none", yaml: tls("garbage.pem", "key.pem"), step: "controller", want: "no certificate and its key"},
		{name: "a key that does not fit", yaml: tls("cert.pem", "other.pem"), step: "controller", want: "no certificate and its key"},
		{name: "a certificate outside of the fence", yaml: tls("/etc/passwd", "key.pem"), step: "controller", wrong: true, want: "SAFE_PATHS"},
		{
			name: "TUN, which this version has not got", yaml: b.good + "tun: {enable: true}\n", put: true, force: true,
			patch: `{"tun":{"enable":true}}`, want: "tun: not supported yet",
		},
		{name: "a target that is not there", yaml: with("rules", "rules: ['MATCH,none']"), put: true, force: true, want: "none"},
		{name: "a file of its own", yaml: b.good + "proxy-providers: {p: {type: http, url: 'http://127.0.0.1:1/', path: config.yaml}}\n", put: true, force: true, want: "daemon's own"},
	} {
		t.Run(f.name, func(t *testing.T) { b.tries(t, &f) })
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file is %q now", text)
	}
	b.works(t)
}

// tries makes one fault by every door.
func (b *bystander) tries(t *testing.T, f *fault) {
	status, code := 500, `"code":"apply_failed"`
	if f.step == "" {
		status, code = 400, `"code":"config_invalid"`
	}
	says := func(door, text string) {
		t.Helper()
		if !strings.Contains(text, f.want) || strings.HasPrefix(door, "P") && !strings.Contains(text, code) ||
			f.step != "" && !strings.Contains(text, `"step":"`+f.step+`"`) && !strings.Contains(text, f.step+": ") {
			t.Errorf("%s: %s\nwant %s of step %q", door, text, f.want, f.step)
		}
		b.unmoved(t, door)
	}
	says("SIGHUP", b.hangup(t, f.yaml))
	if f.patch != "" {
		says("PATCH", mustDo(t, b.Daemon, "PATCH", "/configs", f.patch, status))
	}
	if f.force {
		says("PUT with force", mustDo(t, b.Daemon, "PUT", "/configs?force=true", asPayload(f.yaml), status))
	}
	if f.put {
		says("PUT", mustDo(t, b.Daemon, "PUT", "/configs", asPayload(f.yaml), status))
	}
	// At start there is nothing to disturb, but the home directory.
	home := t.TempDir()
	certificates(t, home)
	before := homeOf(t, &testkit.Daemon{Home: home})
	path := filepath.Join(t.TempDir(), "config.yaml")
	yaml := strings.NewReplacer( // its good ports are in use
		"external-controller: "+strings.TrimPrefix(b.BaseURL, "http://"), "external-controller: 127.0.0.1:0",
		"mixed-port: "+b.Mixed[strings.LastIndex(b.Mixed, ":")+1:]+"\n", "mixed-port: 0\n",
	).Replace(f.yaml)
	if f.step != "dns" {
		yaml = strings.Replace(yaml, "dns: {enable: true", "dns: {enable: false", 1)
	}
	if strings.Contains(f.want, "192.0.2.1") {
		yaml = strings.Replace(yaml, "mixed-port: 0", fmt.Sprintf("mixed-port: %d", port.Free(t)), 1)
	}
	if strings.Contains(f.want, "daemon's own") {
		yaml = strings.Replace(yaml, "config.yaml", "cache.db", 1)
	}
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	exit, out := command(t, nil, "-d", home, "-f", path)
	wantExit := 3
	if f.step == "" || f.wrong {
		wantExit = 1
	}
	if exit != wantExit || !strings.Contains(out, f.want) || f.step != "" && !strings.Contains(out, "switchyard: "+f.step+": ") {
		t.Errorf("start: %d %s\nwant %s of step %q", exit, out, f.want, f.step)
	}
	if after := homeOf(t, &testkit.Daemon{Home: home}); strings.ReplaceAll(after, filepath.Join(home, "run")+"\n", "") != before {
		t.Errorf("the start has left\n%sthere was\n%s", after, before)
	}
}

// works makes a change of each kind that is fine.
func (b *bystander) works(t *testing.T) {
	t.Helper()
	for _, change := range [][3]string{
		{"PATCH", "/configs", `{"mode":"global","port":` + fmt.Sprint(port.Free(t)) + `}`},
		{"PUT", "/configs", `{}`},
		{"PUT", "/configs?force=true", asPayload(b.good)},
	} {
		tag := etag(t, b.Daemon)
		mustDo(t, b.Daemon, change[0], change[1], change[2], 204)
		if etag(t, b.Daemon) == tag {
			t.Errorf("%v: the ETag is that from before", change)
		}
	}
	if said := b.hangup(t, b.good); !strings.Contains(said, "configuration reloaded") {
		t.Error(said)
	}
	_, sockets, _ := strings.Cut(b.before, "\n")
	_, now, _ := strings.Cut(b.look(t), "\n")
	if now != sockets {
		t.Errorf("after changes that end where they began it is\n%s\nand was\n%s", now, sockets)
	}
}

// takenTCP is a port that somebody else listens on.
func takenTCP(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

// takenUDP is a port that is free for TCP alone.
func takenUDP(t *testing.T) int {
	t.Helper()
	tcp, udp, err := port.Listen()
	if err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()
	t.Cleanup(func() { _ = udp.Close() })
	return tcp.Addr().(*net.TCPAddr).Port
}

// certificates puts cert.pem with its key key.pem, other.pem, which is another's, and garbage.pem into a directory.
func certificates(t *testing.T, dir string) {
	t.Helper()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"key.pem", "other.pem"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if name != "key.pem" {
			continue
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
		if der, err = x509.CreateCertificate(rand.Reader, c, c, key.Public(), key); err != nil {
			t.Fatal(err)
		}
		write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	write("garbage.pem", []byte("-----BEGIN NOTHING-----\n"))
}

// TestFullDisk lets the daemon write no file any more: what has to be written fails, and nothing half-written
// stays; all else goes on, and is made up for later.
func TestFullDisk(t *testing.T) {
	b := newBystander(t)
	limit := func(bytes uint64) {
		t.Helper()
		l := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(b.PID(), unix.RLIMIT_FSIZE, &l, nil); err != nil {
			t.Skipf("the limit of file sizes cannot be set: %v", err)
		}
	}
	limit(0)
	open := strings.Replace(b.good, "external-controller: 127.0.0.1:", "external-controller: 0.0.0.0:", 1)
	if said := b.hangup(t, open); !strings.Contains(said, "controller: secret: ") || !strings.Contains(said, "file too large") {
		t.Error(said)
	}
	b.unmoved(t, "a secret that could not be written")
	for _, change := range [][3]string{
		{"PATCH", "/configs", `{"mode":"direct"}`},
		{"PUT", "/configs?force=true", asPayload(b.good)},
		{"PUT", "/proxies/G", `{"name":"a"}`},
	} {
		mustDo(t, b.Daemon, change[0], change[1], change[2], 204)
	}
	if status, message := storeOf(t, b.Daemon); status != "degraded" || !strings.Contains(message, "file too large") {
		t.Errorf("%s %s", status, message)
	}
	if now := shownProxy(t, b.Daemon, "G").Now; now != "a" {
		t.Error(now)
	}
	limit(unix.RLIM_INFINITY)
	b.WaitLog(t, "is stored again")
	mustDo(t, b.Daemon, "PUT", "/proxies/G", `{"name":"b"}`, 204)
	b.before = b.look(t)
	b.works(t)
	if said := b.hangup(t, open); !strings.Contains(said, "configuration reloaded") {
		t.Error(said)
	}
	if st, err := os.Stat(filepath.Join(b.Home, "controller.secret")); err != nil || st.Size() < 20 {
		t.Error(st, err)
	}
}

// TestChangesWithoutStore changes the configuration while another process has the store: no change fails for
// that, and choices stay.
func TestChangesWithoutStore(t *testing.T) {
	b := newBystander(t)
	b.Kill(t)
	other, err := bbolt.Open(filepath.Join(b.Home, "cache.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	d := b.Again(t)
	d.BaseURL = b.BaseURL
	mustDo(t, d, "PUT", "/proxies/G", `{"name":"b"}`, 204)
	for _, change := range [][3]string{
		{"PATCH", "/configs", `{"mode":"direct"}`},
		{"PUT", "/configs", `{}`},
		{"PUT", "/configs?force=true", asPayload(strings.Replace(b.good, "[a, b]", "[b, a, DIRECT]", 1))},
	} {
		mustDo(t, d, change[0], change[1], change[2], 204)
		if now := shownProxy(t, d, "G").Now; now != "b" {
			t.Errorf("after %v: %s", change, now)
		}
	}
	mustDo(t, d, "POST", "/configs/validate", `{}`, 200)
	mustDo(t, d, "POST", "/configs/plan", `{}`, 200)
}

// TestProviderServerFails loads a configuration whose providers cannot be had: that is no fault of the change,
// and the providers say so.
func TestProviderServerFails(t *testing.T) {
	b := newBystander(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	yaml := b.good + fmt.Sprintf("proxy-providers: {p: {type: http, url: '%s/p', path: p.yaml}}\nrule-providers: {r: {type: http, behavior: domain, url: '%s/r', path: r.yaml}}\n", s.URL, s.URL)
	mustDo(t, b.Daemon, "PUT", "/configs", asPayload(yaml), 204)
	for _, path := range []string{"/providers/proxies/p", "/providers/rules/r"} {
		until(t, path+" says that its server fails", func() bool {
			return strings.Contains(mustDo(t, b.Daemon, "GET", path, "", 200), "500 Internal Server Error")
		})
	}
	mustDo(t, b.Daemon, "PUT", "/configs", asPayload(b.good), 204)
	_ = b.look(t)
}
