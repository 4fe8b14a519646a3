package e2e

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// fetch gets a page through a daemon's mixed port.
func fetch(t *testing.T, mixed, url string) (string, error) {
	t.Helper()
	tr := &http.Transport{Proxy: proxyURL(mixed)}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		err = fmt.Errorf("%d: %s", resp.StatusCode, b)
	}
	return string(b), err
}

// withTLS is a TLS port before a plain one, and the PEM and fingerprint-free trust of its certificate.
func withTLS(t *testing.T, to string) (port, authority string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	cert := s.TLS.Certificates[0]
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer b.Close()
				go func() { _, _ = io.Copy(b, c); _ = b.(*net.TCPConn).CloseWrite() }()
				_, _ = io.Copy(c, b)
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func indent(s string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n      ")
}

// TestNodes carries flows through http and socks5 nodes of every kind, to a second daemon.
func TestNodes(t *testing.T) {
	host := page(t)
	far := testkit.Start(t, "mixed-port: MIXED\nauthentication: [\"u:p\"]\nrules: [\"DOMAIN,no.test,REJECT\", \"MATCH,DIRECT\"]\n")
	_, port, _ := net.SplitHostPort(far.Mixed)
	tlsPort, authority := withTLS(t, far.Mixed)
	near := testkit.Start(t, fmt.Sprintf(`mixed-port: MIXED
tls:
  custom-certifactes:
    - |
%s
proxies:
  - {name: socks, type: socks5, server: 127.0.0.1, port: %[2]s, username: u, password: p, udp: true}
  - {name: http, type: http, server: localhost, port: %[2]s, username: u, password: p}
  - {name: https, type: http, server: 127.0.0.1, port: %[3]s, username: u, password: p, tls: true, sni: example.com}
  - {name: https-skip, type: http, server: 127.0.0.1, port: %[3]s, username: u, password: p, tls: true, skip-cert-verify: true}
  - {name: sockss, type: socks5, server: 127.0.0.1, port: %[3]s, username: u, password: p, tls: true, sni: example.com}
  - {name: chained, type: socks5, server: 127.0.0.1, port: %[2]s, username: u, password: p, dialer-proxy: http}
  - {name: ipv4, type: http, server: localhost, port: %[2]s, username: u, password: p, ip-version: ipv4, tfo: true, mptcp: true}
  - {name: wrong-name, type: http, server: 127.0.0.1, port: %[3]s, username: u, password: p, tls: true, sni: wrong.test}
  - {name: wrong-login, type: socks5, server: 127.0.0.1, port: %[2]s, username: u, password: q}
  - {name: no-login, type: http, server: 127.0.0.1, port: %[2]s}
  - {name: dead, type: socks5, server: 127.0.0.1, port: 1}
  - {name: later, type: vmess, server: 127.0.0.1, port: %[2]s, uuid: x, alterId: 0, cipher: auto}
proxy-groups:
  - {name: G, type: select, proxies: [socks, http, https, https-skip, sockss, chained, ipv4, wrong-name, wrong-login, no-login, dead, later, REJECT, PASS]}
rules: ["MATCH,G", "MATCH,REJECT"]
`, indent(authority), port, tlsPort))
	use := func(t *testing.T, node string) {
		t.Helper()
		if status, body := near.Do(t, "PUT", "/proxies/G", fmt.Sprintf(`{"name":%q}`, node)); status != 204 {
			t.Fatalf("%d %s", status, body)
		}
	}
	want := fmt.Sprintf("GET / %s \"\"", host)
	for _, node := range []string{"socks", "http", "https", "https-skip", "sockss", "chained", "ipv4"} {
		t.Run(node, func(t *testing.T) {
			use(t, node)
			if got, err := fetch(t, near.Mixed, "http://"+host+"/"); err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
			if got, err := fetch(t, near.Mixed, "http://"+host+"/big"); err != nil || len(got) != 1<<20 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if _, err := fetch(t, near.Mixed, "http://no.test/"); err == nil {
				t.Error("what the far proxy refuses came through")
			}
		})
	}
	f := func(node, say string) {
		t.Helper()
		t.Run(node, func(t *testing.T) {
			use(t, node)
			if _, err := fetch(t, near.Mixed, "http://"+host+"/"); err == nil || !strings.Contains(err.Error(), say) {
				t.Errorf("%v; want %q", err, say)
			}
		})
	}
	f("wrong-name", "certificate is valid for")
	f("wrong-login", "refused username or password")
	f("no-login", "the proxy answered 407: set username and password")
	f("dead", "connection refused")
	f("later", "type vmess is not supported yet")
	f("REJECT", "403: a rule of the proxy refuses this target")
	f("PASS", "403: a rule of the proxy refuses this target") // goes on to the next rule
}

// TestUDPThroughANode sends datagrams through two daemons. The http node carries none, so that its
// rule is passed over.
func TestUDPThroughANode(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	target := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	far := testkit.Start(t, plain)
	_, port, _ := net.SplitHostPort(far.Mixed)
	near := testkit.Start(t, fmt.Sprintf(`mixed-port: MIXED
proxies:
  - {name: http, type: http, server: 127.0.0.1, port: %[1]s}
  - {name: mute, type: socks5, server: 127.0.0.1, port: %[1]s}
  - {name: socks, type: socks5, server: 127.0.0.1, port: %[1]s, udp: true}
rules: ["DST-PORT,%[2]d,http", "MATCH,mute", "MATCH,socks"]
`, port, target.Port()))
	c := associate(t, near.Mixed)
	p := make([]byte, 8<<10)
	for i := range 20 {
		p[0] = byte(i)
		for _, to := range []flow.Addr{{IP: target.Addr(), Port: target.Port()}, {Host: "localhost", Port: target.Port()}} {
			if _, err := c.Write(append(socks.AppendDatagram(nil, to), p...)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 64<<10)
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			from, head, err := socks.ParseDatagram(b[:n])
			if err != nil || from.Port != target.Port() || string(b[head:n]) != string(p) {
				t.Fatalf("%d bytes from %v, %v", n-head, from, err)
			}
		}
	}
	status, body := near.Do(t, "GET", "/connections", "")
	if status != 200 || !strings.Contains(body, `"chains":["socks"]`) || !strings.Contains(body, `"network":"udp"`) {
		t.Errorf("%d %s", status, body)
	}
}

// associate asks a SOCKS port for a UDP association and connects to its relay.
func associate(t *testing.T, proxy string) *net.UDPConn {
	t.Helper()
	control, err := net.Dial("tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	_ = control.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(control, "\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(control, answer); err != nil || answer[3] != socks.Granted {
		t.Fatalf("UDP ASSOCIATE: %v, %v", answer, err)
	}
	relay := netip.AddrPortFrom(netip.AddrFrom4([4]byte(answer[6:10])), uint16(answer[10])<<8|uint16(answer[11]))
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(relay))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// TestStrangersSendNoDatagrams shows that the UDP port serves only clients with an association.
func TestStrangersSendNoDatagrams(t *testing.T) {
	d := testkit.Start(t, plain)
	addr, _ := net.ResolveUDPAddr("udp", d.Mixed)
	// An association admits an address: the stranger has another one.
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, addr)
	if err != nil {
		t.Skip(err) // a system with one loopback address
	}
	defer c.Close()
	_, _ = c.Write(append(socks.AppendDatagram(nil, flow.Addr{IP: addr.AddrPort().Addr(), Port: 9}), "x"...))
	known := associate(t, d.Mixed) // its datagram comes after the stranger's
	_, _ = known.Write(append(socks.AppendDatagram(nil, flow.Addr{IP: addr.AddrPort().Addr(), Port: 8}), "x"...))
	d.WaitLog(t, ":8 match")
	if strings.Contains(d.Log(), ":9 match") {
		t.Errorf("a stranger's datagram was carried:\n%s", d.Log())
	}
}

// TestDebianPeers uses proxies that others wrote, where they are installed.
func TestDebianPeers(t *testing.T) {
	path, err := exec.LookPath("microsocks")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no microsocks")
		}
		t.Skip("no microsocks")
	}
	port := testkit.FreePort(t)
	cmd := exec.Command(path, "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-u", "u", "-P", "p")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for range 200 { // until it listens
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.Close()
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	d := testkit.Start(t, fmt.Sprintf("mixed-port: MIXED\nproxies: [{name: m, type: socks5, server: 127.0.0.1, port: %d, username: u, password: p}]\nrules: [\"MATCH,m\"]\n", port))
	host := page(t)
	if got, err := fetch(t, d.Mixed, "http://"+host+"/big"); err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestLoop points a node at the daemon itself: the flow ends with an error, and the daemon lives.
func TestLoop(t *testing.T) {
	port := testkit.FreePort(t)
	d := testkit.Start(t, fmt.Sprintf("mixed-port: %d\nproxies: [{name: me, type: socks5, server: 127.0.0.1, port: %[1]d}]\nrules: [\"MATCH,me\"]\n", port))
	if _, err := fetch(t, fmt.Sprintf("127.0.0.1:%d", port), "http://example.test/"); err == nil {
		t.Error("a loop led somewhere")
	}
	d.WaitLog(t, "connects to itself in a loop")
	if status, _ := d.Do(t, "GET", "/version", ""); status != 200 {
		t.Error(status)
	}
}
