package upstream

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/tests/leak"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// unbound is a real resolver with records of its own.
func TestWithUnbound(t *testing.T) {
	needs(t, "unbound")
	leak.Check(t)
	port := port.Free(t)
	path := filepath.Join(t.TempDir(), "unbound.conf")
	var text strings.Builder
	text.WriteString("server:\n interface: 127.0.0.1\n port: " + strconv.Itoa(port) + "\n do-daemonize: no\n chroot: \"\"\n" +
		" username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n verbosity: 1\n do-not-query-localhost: no\n" +
		" module-config: \"iterator\"\n local-zone: \"example.\" static\n local-data: \"a.example. 60 IN A 10.9.8.7\"\n")
	for i := range 20 {
		text.WriteString(" local-data: 'long.example. 60 IN TXT \"" + strconv.Itoa(i) + strings.Repeat("x", 200) + "\"'\n")
	}
	text.WriteString("remote-control:\n control-enable: no\n")
	writeFile(t, path, text.String())
	daemon(t, "start of service", "unbound", "-d", "-c", path)
	askReal(t, port)
}

func TestWithDnsmasq(t *testing.T) {
	needs(t, "dnsmasq")
	leak.Check(t)
	port := port.Free(t)
	args := []string{
		"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--pid-file=", "--port=" + strconv.Itoa(port), "--listen-address=127.0.0.1", "--bind-interfaces",
		"--address=/a.example/10.9.8.7", "--local=/example/",
	}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	for i := range 20 {
		args = append(args, "--txt-record=long.example,"+strconv.Itoa(i)+strings.Repeat("x", 200))
	}
	daemon(t, "started", args...)
	askReal(t, port)
}

// askReal asks a server at port for an address, for what does not fit in UDP, and for what is not there.
func askReal(t *testing.T, port int) {
	t.Helper()
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	for _, scheme := range []nameserver.Scheme{nameserver.UDP, nameserver.TCP} {
		u := New(at(scheme, addr), straight())
		defer u.Close()
		if got := firstA(t, mustAsk(t, u, "a.example", dns.TypeA)); got != "10.9.8.7" {
			t.Errorf("got %s", got)
		}
		if m := mustAsk(t, u, "long.example", dns.TypeTXT); len(m.Answer) != 20 || m.Truncated {
			t.Errorf("%d records of 20; truncated: %v", len(m.Answer), m.Truncated)
		}
		if m := mustAsk(t, u, "no.example", dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Errorf("no such name: %s", dns.RcodeToString[m.Rcode])
		}
	}
}

// needs skips the test where a program is missing.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// daemon starts a command, waits until it says ready, and ends it with the test.
func daemon(t testing.TB, ready string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	up, over := make(chan struct{}), make(chan struct{})
	var said []string // valid when over
	go func() {
		defer close(over)
		lines, found := bufio.NewScanner(r), false
		for lines.Scan() {
			said = append(said, lines.Text())
			if !found && strings.Contains(lines.Text(), ready) {
				found = true
				close(up)
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		<-over
		r.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", command[0], strings.Join(said, "\n"))
		}
	})
	select {
	case <-up:
	case <-over:
		t.Fatalf("%s ended:\n%s", command[0], strings.Join(said, "\n"))
	case <-time.After(patience):
		t.Fatalf("%s is not ready", command[0])
	}
}
