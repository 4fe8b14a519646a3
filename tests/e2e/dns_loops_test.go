package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// TestLoopsAreErrors has name servers that wait for themselves: the configuration is refused, and says
// how they do.
func TestLoopsAreErrors(t *testing.T) {
	dir := t.TempDir()
	f := func(yaml, says string) {
		t.Helper()
		file := filepath.Join(dir, "loop.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out := command(t, nil, "-t", "-d", dir, "-f", file)
		if says == "" && code != 0 || says != "" && (code != 1 || !strings.Contains(out, says)) {
			t.Errorf("%s\n%d %s; want %q", yaml, code, out, says)
		}
	}
	const nodes = `proxies:
- {name: P, type: socks5, server: p.test, port: 1080, udp: true}
- {name: Q, type: socks5, server: q.test, port: 1080, dialer-proxy: P}
- {name: R, type: socks5, server: 192.0.2.1, port: 1080, udp: true}
proxy-groups: [{name: G, type: select, proxies: [P, Q]}, {name: H, type: select, proxies: [P, R]}]
`
	section := func(more string) string { return nodes + dnsSection(more) }
	f(section("nameserver: ['1.1.1.1#P']"), "a name server waits for itself: udp://1.1.1.1:53#P → P → udp://1.1.1.1:53#P")
	f(section("nameserver: ['tls://1.1.1.1#Q']"), "tls://1.1.1.1:853#Q → Q → P → tls://1.1.1.1:853#Q")
	f(section("nameserver: ['1.1.1.1#G', '8.8.8.8#P']"), "waits for itself")
	f(section("nameserver: [1.1.1.1]\nproxy-server-nameserver: ['8.8.8.8#P']"), "waits for itself")
	f(section("nameserver: [1.1.1.1]\nnameserver-policy: {p.test: '8.8.8.8#P'}"), "waits for itself")
	f(section("default-nameserver: ['tls://8.8.8.8#P']\nnameserver: ['https://dns.test/dns-query']"), "tls://8.8.8.8:853#P → P → https://dns.test:443 → tls://8.8.8.8:853#P")
	// Somebody else knows the address, or it is no name.
	f(section("nameserver: ['1.1.1.1#P', 8.8.8.8]"), "")
	f(section("nameserver: ['1.1.1.1#H']"), "")
	f(section("nameserver: ['1.1.1.1#R']"), "")
	f(section("default-nameserver: ['tls://8.8.8.8#R']\nnameserver: ['https://dns.test/dns-query']"), "")
	f(section("default-nameserver: ['tls://8.8.8.8#P']\nnameserver: ['https://dns.test/dns-query#R']\nnameserver-policy: {p.test: 8.8.8.8}"), "")
	f(section("nameserver: ['1.1.1.1#P']\nproxy-server-nameserver: [8.8.8.8]"), "")
	f(section("nameserver: ['1.1.1.1#P']\nnameserver-policy: {p.test: 8.8.8.8}"), "")
	f(section("nameserver: ['1.1.1.1#P']")+"hosts: {p.test: 192.0.2.1}\n", "")
}

var goroutineTotal = regexp.MustCompile(`total (\d+)`)

// goroutines counts those of a daemon that logs at level debug.
func goroutines(t *testing.T, d *testkit.Daemon) int {
	t.Helper()
	status, body := d.Do(t, "GET", "/debug/pprof/goroutine?debug=1", "")
	m := goroutineTotal.FindStringSubmatch(body)
	if status != 200 || m == nil {
		t.Fatalf("%d %.200s", status, body)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// resident is the memory of a daemon in MB, after it has tidied up.
func resident(t *testing.T, d *testkit.Daemon) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	if status, body := d.Do(t, "PUT", "/debug/gc", ""); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// TestLoopsEnd has rules that lead to the name server through a node whose name only it knows, which
// nobody sees before it happens.
func TestLoopsEnd(t *testing.T) {
	up := newNameServer(t, "*. 60 IN A 127.0.0.1")
	nodes := fmt.Sprintf("proxies: [{name: P, type: socks5, server: p.test, port: %d, udp: true}]\n", testkit.FreePort(t))
	f := func(section string) {
		t.Helper()
		d, addr := startDNS(t, "mixed-port: MIXED\nlog-level: debug\n"+dnsSection(section)+nodes+"rules: ['MATCH,P']\n")
		many := func(round string, count int) {
			t.Helper()
			began := time.Now()
			var wait sync.WaitGroup
			for w := range 20 {
				wait.Go(func() {
					for i := w; i < count; i += 20 {
						m, err := tryQuery(addr, fmt.Sprintf("%s%d.test", round, i), dns.TypeA)
						if err != nil || m.Rcode != dns.RcodeServerFailure {
							t.Errorf("%v, %v", m, err)
							return
						}
					}
				})
			}
			wait.Wait()
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("%s: %d questions take %v", section, count, took)
			}
		}
		many("a", 500)
		count, size := goroutines(t, d), resident(t, d)
		many("b", 500)
		until(t, "no goroutine is left", func() bool { return goroutines(t, d) <= count+2 })
		most := 4
		if testkit.Race { // which remembers who has touched what
			most = 30
		}
		if grown := resident(t, d) - size; grown > most {
			t.Errorf("%s: %d MB more than %d MB", section, grown, size)
		}
		if n := strings.Count(d.Log(), "a name server can only be reached by asking it"); n != 1 {
			t.Errorf("%s: %d lines say so", section, n)
		}
		answers(t, addr, "p.test", "SERVFAIL")
		if asked := up.questions(""); len(asked) > 0 {
			t.Errorf("%s: %d questions have come through", section, len(asked))
		}
	}
	for _, scheme := range []string{"udp", "tcp"} {
		f("nameserver: ['" + scheme + "://" + up.addr + "#RULES']")
	}
	f("respect-rules: true\nnameserver: [" + up.addr + "]\nproxy-server-nameserver: ['" + up.addr + "#RULES']")
}

// TestLoopsAreQuiet: what the log says of one loop does not grow with the questions.
func TestLoopsAreQuiet(t *testing.T) {
	up := newNameServer(t)
	d, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("nameserver: ['"+up.addr+"#RULES']")+
		"proxies: [{name: P, type: socks5, server: p.test, port: 1080, udp: true}]\nrules: ['MATCH,P']\n")
	for i := range 50 {
		answers(t, addr, fmt.Sprintf("n%d.test", i), "SERVFAIL")
	}
	if n := strings.Count(d.Log(), "level=warning"); n > 5 {
		t.Errorf("%d warnings", n)
	}
}
