package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

func proxyURL(addr string) func(*http.Request) (*url.URL, error) {
	return http.ProxyURL(&url.URL{Scheme: "http", Host: addr})
}

// command runs the daemon to its end, in an empty home, and returns its exit code and output.
func command(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, testkit.Binary(t), args...)
	cmd.Env = append([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "cfg"), "GORACE=" + os.Getenv("GORACE")}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	if left, _ := os.ReadDir(home); len(left) > 0 {
		t.Errorf("it wrote %v", left)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad := file("good.yaml", "mode: direct"), file("bad.yaml", "mode: x\nrules: ['FOO,a,DIRECT']\n")
	deep := file("deep.yaml", "rules: ['DST-PORT,99999,DIRECT']\n")
	f := func(code int, want string, args ...string) {
		t.Helper()
		if got, out := command(t, nil, args...); got != code || !strings.Contains(out, want) {
			t.Errorf("%v: exit code %d, %s\nwant %d, %s", args, got, out, code, want)
		}
	}
	f(0, "switchyard v", "-v")
	f(0, "-ext-ctl-unix PATH", "--help")
	f(2, "not defined: -x", "-x")
	f(2, "unexpected argument", "run")
	f(0, "built-in configuration test is successful", "-t")
	f(0, "good.yaml test is successful", "-t", "-f", good)
	f(0, "good.yaml test is successful", "-t", "-d", dir, "-f", good)
	f(1, "rules[0]: [FOO,a,DIRECT]: unsupported rule type: FOO", "-t", "-f", bad)
	f(1, `bad.yaml:1:7: error: mode: want rule, global, direct, got "x"`, "-t", "-f", bad)
	f(1, "rules[0]: [DST-PORT,99999,DIRECT]: want a number from 0 to 65535 or a range", "-t", "-f", deep)
	f(1, "bad.yaml:1:7: error", "-f", bad)
	f(1, "no such file", "-f", filepath.Join(dir, "none.yaml"))
	f(0, "-config test is successful", "-t", "-config", base64.StdEncoding.EncodeToString([]byte("mode: direct")))
	f(1, "want the configuration in base64", "-t", "-config", "%")

	// Everything that is wrong is said at once, whoever finds it: the parser, the rules, the nodes.
	all := file("all.yaml", "mode: x\nproxies:\n- {name: n, type: http, server: 'a b', port: 1}\nrules:\n- IP-CIDR,1.1.1.1,DIRECT\n- FOO,a,DIRECT\ntls: {custom-certifactes: [x]}\n")
	for _, want := range []string{
		`all.yaml:1:7: error: mode`, "all.yaml:3:3: error: proxies[0].server: want a host name",
		"all.yaml:5:3: error: rules[0]: [IP-CIDR,1.1.1.1,DIRECT]: want a prefix", "all.yaml:6:3: error: rules[1]: [FOO", "all.yaml:7:1: error: tls.custom-certifactes[0]",
	} {
		f(1, want, "-t", "-f", all)
	}
	if _, out := command(t, nil, "-t", "-f", all); strings.Count(out, ": error: ") != 5 {
		t.Errorf("said more than once:\n%s", out)
	}
	f(1, "proxies[0].server: want a host name", "-t", "-f", file("two.yaml", "proxies: [{name: x, type: http, server: 'a b'}]"))
	f(1, "proxies[0]: a node of type http needs port", "-t", "-f", filepath.Join(dir, "two.yaml"))
	notes := file("notes.yaml", "geodata-loader: standard\ngeosite-matcher: hybrid\ntun: {enable: false}\nbind-address: '[::]'\nallow-lan: true\n")
	if code, out := command(t, nil, "-t", "-f", notes); code != 0 || strings.Count(out, "\n") != 4 {
		t.Errorf("want 3 lines and the verdict, got %d:\n%s", code, out)
	}
	// What the command line overrides is tested too, and the certificate of the API.
	f(1, `external-controller: want an address such as 127.0.0.1:9090, got "garbage"`, "-t", "-f", good, "-ext-ctl", "garbage")
	f(1, `external-controller: want an address`, "-f", good, "-ext-ctl", "garbage")
	f(1, "-ext-ctl: error: external-controller: want", "-t", "-f", good, "-ext-ctl", "garbage")
	f(1, "tls.certificate", "-t", "-d", dir, "-f", file("cert2.yaml", "rules: ['MATCH,none']\nexternal-controller-tls: 127.0.0.1:0\ntls: {certificate: none.pem, private-key: none.pem}\n"))
	f(1, "tls.certificate", "-t", "-d", dir, "-f", file("cert.yaml", "external-controller-tls: 127.0.0.1:0\ntls: {certificate: none.pem, private-key: none.pem}\n"))
	f(0, "test is successful", "-t", "-d", dir, "-f", good, "-ext-ui", "ui")
	f(1, "external-ui: path is not subpath of home directory or SAFE_PATHS", "-t", "-d", dir, "-f", good, "-ext-ui", "/etc")
	f(1, "want a directory of its own", "-t", "-d", dir, "-f", good, "-ext-ui", ".")
	f(1, "external-ui-name: want the name of a directory", "-t", "-d", dir, "-f", file("ui.yaml", "external-ui: ui\nexternal-ui-name: ../x\n"))
	f(1, "ui2.yaml:1:1: error: external-ui: path is not subpath", "-t", "-d", dir, "-f", file("ui2.yaml", "external-ui: ../x\n"))
	f(1, "ui3.yaml:1:18: error: external-ui-url: want an http or https URL", "-t", "-d", dir, "-f", file("ui3.yaml", "external-ui-url: 'ftp://x/SECRET'\n"))

	if code, out := command(t, []string{"CLASH_CONFIG_FILE=" + bad}, "-t"); code != 1 || !strings.Contains(out, "FOO") {
		t.Errorf("environment: %d %s", code, out)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	f(3, "address already in use", "-f", file("busy.yaml", fmt.Sprintf("mixed-port: %d", port)))
	// A start that fails leaves no secret behind.
	f(3, "address already in use", "-d", dir, "-f", file("open.yaml", fmt.Sprintf("external-controller: 0.0.0.0:0\nmixed-port: %d", port)))
	f(3, "address already in use", "-d", dir, "-f", file("open2.yaml", fmt.Sprintf("external-controller: 0.0.0.0:%d", port)))
	if _, err := os.Stat(filepath.Join(dir, "controller.secret")); !os.IsNotExist(err) {
		t.Error("a secret of a daemon that never ran")
	}
	f(3, "external-controller", "-f", good, "-ext-ctl", busy.Addr().String())
}

// TestStops checks that both signals end the daemon well within two seconds, also under load.
func TestStops(t *testing.T) {
	host := page(t)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		d := testkit.Start(t, plain)
		for range 10 {
			connect(t, d.Mixed, host)
		}
		started := time.Now()
		d.Signal(t, s)
		if code := d.Wait(t); code != 0 {
			t.Errorf("%v: exit code %d\n%s", s, code, d.Log())
		}
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("%v took %v", s, took)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	d := testkit.Start(t, plain+"secret: s\nexternal-controller-unix: run/ctl.sock\n")
	path := filepath.Join(d.Home, "run", "ctl.sock")
	sdk, err := client.New("http://localhost", client.WithUnixSocket(path))
	if err != nil {
		t.Fatal(err)
	}
	r, err := sdk.GetVersionWithResponse(t.Context())
	if err != nil || r.JSON200 == nil || !r.JSON200.Meta {
		t.Fatalf("%+v, %v", r, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	d.Signal(t, syscall.SIGTERM)
	d.Wait(t)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the socket is left behind")
	}
}

// TestReachableWithoutSecret shows that an API others can reach is never open.
func TestReachableWithoutSecret(t *testing.T) {
	d := testkit.Start(t, "external-controller: 0.0.0.0:0\n")
	d.BaseURL = strings.Replace(d.BaseURL, "0.0.0.0", "127.0.0.1", 1)
	d.BaseURL = strings.Replace(d.BaseURL, "[::]", "127.0.0.1", 1)
	if status, _ := d.Do(t, "GET", "/version", ""); status != 401 {
		t.Errorf("without the secret: %d", status)
	}
	path := filepath.Join(d.Home, "controller.secret")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	d.Secret = strings.TrimSpace(string(b))
	if status, _ := d.Do(t, "GET", "/version", ""); status != 200 || strings.Contains(d.Log(), d.Secret) {
		t.Errorf("with the secret: %d, log\n%s", status, d.Log())
	}
}

// TestPagesAndReboundNames shows that no web page drives an API that has no secret.
func TestPagesAndReboundNames(t *testing.T) {
	d := testkit.Start(t, "mode: rule\n")
	f := func(host, origin string, want int) {
		t.Helper()
		req, _ := http.NewRequest("GET", d.BaseURL+"/configs", nil)
		if host != "" {
			req.Host = host
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q, Origin %q: %d; want %d", host, origin, resp.StatusCode, want)
		}
	}
	f("", "", 200)
	f("localhost:9090", "", 200)
	f("192.168.1.1:9090", "", 200)
	f("evil.test", "", 403)
	f("", "http://evil.test", 403)
	f("", "http://localhost:3000", 200)
	f("", "null", 403)
}
