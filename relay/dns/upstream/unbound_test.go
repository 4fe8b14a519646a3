package upstream

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// unbound is Debian's resolver, which knows the names of its local data alone.
type unbound struct {
	id               *identity
	plain, tls, http uint16 // ports of 127.0.0.1; http is 0 where its build does not have DoH
}

// startUnbound runs unbound with records, such as "a.test. 60 IN A 192.0.2.7", until the test is over.
func startUnbound(t testing.TB, records ...string) *unbound {
	t.Helper()
	path, err := exec.LookPath("unbound")
	if err != nil {
		path = "/usr/sbin/unbound"
	}
	version, err := exec.Command(path, "-V").Output()
	if err != nil {
		t.Skipf("there is no unbound: %v", err)
	}
	u := &unbound{id: newIdentity(t), plain: uint16(port.Free(t)), tls: uint16(port.Free(t))}
	if strings.Contains(string(version), "--with-libnghttp2") {
		u.http = uint16(port.Free(t))
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := write("cert.pem", u.id.pem), write("key.pem", u.id.keys)
	conf := write("unbound.conf", []byte(u.conf(dir, cert, key, records)))

	cmd := exec.Command(path, "-d", "-c", conf)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	ready := false
	for !ready && lines.Scan() {
		said = append(said, lines.Text())
		ready = strings.Contains(lines.Text(), "start of service")
	}
	var rest sync.WaitGroup
	rest.Go(func() {
		for lines.Scan() {
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		rest.Wait()
		cmd.Wait()
	})
	if !ready {
		t.Fatalf("unbound does not start:\n%s", strings.Join(said, "\n"))
	}
	return u
}

func (u *unbound) conf(dir, cert, key string, records []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("server:")
	for _, port := range []uint16{u.plain, u.tls, u.http} {
		if port != 0 {
			line("  interface: 127.0.0.1@%d", port)
		}
	}
	line("  tls-port: %d", u.tls)
	if u.http != 0 {
		line("  https-port: %d\n  http-endpoint: \"/dns-query\"", u.http)
	}
	line("  tls-service-pem: %q\n  tls-service-key: %q", cert, key)
	line("  directory: %q\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"", dir)
	line("  do-daemonize: no\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1")
	line("  num-threads: 1\n  do-ip6: no\n  module-config: \"iterator\"\n  do-not-query-localhost: no")
	line("  local-zone: \"test.\" static")
	for _, r := range records {
		line("  local-data: '%s'", r)
	}
	line("remote-control:\n  control-enable: no")
	return b.String()
}

// server is u as a name server that is spoken to by scheme at port.
func (u *unbound) server(scheme nameserver.Scheme, port uint16) (*nameserver.Server, Config) {
	s := &nameserver.Server{Scheme: scheme, Path: "/dns-query"}
	s.Addr = flow.Addr{IP: netip.MustParseAddr("127.0.0.1"), Port: port}
	c := straight()
	c.Roots = u.id.roots
	return s, c
}

func TestUnbound(t *testing.T) {
	leak.Check(t)
	u := startUnbound(t, "a.test. 60 IN A 192.0.2.7", "b.test. 60 IN A 192.0.2.7")
	f := func(scheme nameserver.Scheme, port uint16) {
		s, c := u.server(scheme, port)
		up := New(s, c)
		defer up.Close()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				query := ask(t, []string{"a.test", "b.test"}[i%2], uint16(i))
				resp, err := up.Exchange(limited(t), query)
				checkAnswer(t, query, resp, err)
			})
		}
		all.Wait()
		// A name that does not exist is an answer too.
		resp, err := up.Exchange(limited(t), ask(t, "none.test", 3))
		if err != nil || resp[3]&0xf != 3 {
			t.Errorf("%s: %x, %v", s, resp, err)
		}
		// One that nobody knows about gets another certificate.
		c.Roots = newIdentity(t).roots
		stranger := New(s, c)
		defer stranger.Close()
		_, err = stranger.Exchange(limited(t), ask(t, "a.test", 3))
		checkError(t, s, err)
	}
	f(nameserver.TLS, u.tls)
	if u.http == 0 {
		t.Skip("this build of unbound has no DoH")
	}
	f(nameserver.HTTPS, u.http)
}
