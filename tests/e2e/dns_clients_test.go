package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// bigZone has more text for big.test than a datagram holds.
func bigZone(lines ...string) []string {
	for i := range 40 {
		lines = append(lines, fmt.Sprintf(`big.test. 60 IN TXT "%02d %s"`, i, strings.Repeat("x", 90)))
	}
	return lines
}

var smallZone = []string{
	"foo.test. 60 IN A 192.0.2.7", "foo.test. 60 IN A 192.0.2.8", "foo.test. 60 IN AAAA 2001:db8::7",
	`foo.test. 60 IN TXT "two words" "x"`, "foo.test. 60 IN MX 10 mx.foo.test.",
}

// TestDig asks with the clients that others wrote.
func TestDig(t *testing.T) {
	up := newNameServer(t, bigZone(smallZone...)...)
	_, addr := startDNS(t, "mixed-port: MIXED\n"+dnsSection("ipv6: true\nnameserver: ["+up.addr+"]"))
	f := func(tool, status string, answers []string, args ...string) printed {
		t.Helper()
		p := dig(t, tool, addr, args...)
		if p.status != status || !slices.Equal(p.answers, answers) {
			t.Errorf("%s %v: %s, %q; want %s, %q\n%s", tool, args, p.status, p.answers, status, answers, p.text)
		}
		return p
	}
	is := func(name string, data ...string) (list []string) {
		for _, d := range data {
			list = append(list, name+" "+d)
		}
		return list
	}
	for _, tool := range []string{"dig", "kdig"} {
		for _, over := range []string{"+notcp", "+tcp"} {
			f(tool, "NOERROR", is("foo.test.", "A 192.0.2.7", "A 192.0.2.8"), over, "foo.test", "A")
			f(tool, "NOERROR", is("foo.test.", "AAAA 2001:db8::7"), over, "foo.test", "AAAA")
			f(tool, "NOERROR", is("foo.test.", `TXT "two words" "x"`), over, "foo.test", "TXT")
			f(tool, "NOERROR", is("foo.test.", "MX 10 mx.foo.test."), over, "foo.test", "MX")
			f(tool, "NXDOMAIN", nil, over, "none.test", "A")
			f(tool, "NOERROR", nil, over, "foo.test", "SRV")
		}
		// What does not fit is cut, and the client comes again over TCP.
		if p := f(tool, "NOERROR", nil, "+ignore", "+bufsize=512", "big.test", "TXT"); !strings.Contains(p.flags, "tc") {
			t.Errorf("%s: flags %q", tool, p.flags)
		} else if n, _ := strconv.Atoi(p.size); n > 512 {
			t.Errorf("%s: %d bytes", tool, n)
		}
		p := dig(t, tool, addr, "+bufsize=512", "big.test", "TXT")
		if len(p.answers) != 40 || !strings.Contains(p.text, "TCP") {
			t.Errorf("%s: %d answers\n%.300s", tool, len(p.answers), p.text)
		}
	}
	// The case of the question comes back: it may be what makes the question hard to guess.
	p := f("dig", "NOERROR", is("FoO.tEsT.", "A 192.0.2.7", "A 192.0.2.8"), "FoO.tEsT", "A")
	if p.question != "FoO.tEsT." {
		t.Errorf("question %q", p.question)
	}
	foo := is("foo.test.", "MX 10 mx.foo.test.")
	if p := f("dig", "NOERROR", foo, "+ednsopt=65001:0102", "+subnet=192.0.2.0/24", "+nsid", "foo.test", "MX"); !strings.Contains(p.text, "EDNS: version: 0") {
		t.Error(p.text)
	}
	if p := f("dig", "NOERROR", foo, "+noedns", "foo.test", "MX"); strings.Contains(p.text, "EDNS") {
		t.Error(p.text)
	}
	f("dig", "NOERROR", foo, "+keepopen", "+tcp", "foo.test", "MX")
	f("dig", "BADVERS", nil, "+edns=1", "+noednsnegotiation", "foo.test", "A")
	f("dig", "NOTIMP", nil, "+opcode=status", "foo.test", "A")
	f("dig", "REFUSED", nil, "version.bind", "CH", "TXT")
	f("kdig", "REFUSED", nil, "version.bind", "CH", "TXT")
	for _, transfer := range []string{"axfr", "ixfr=1"} {
		if p := dig(t, "dig", addr, transfer, "foo.test"); !strings.Contains(p.text, "Transfer failed") {
			t.Error(p.text)
		}
	}
	if got := up.questions("XFR"); len(got) > 0 {
		t.Errorf("asked for a whole zone: %v", got)
	}
	// The listener speaks nothing but DNS.
	for _, over := range []string{"+tls", "+https"} {
		if p := dig(t, "kdig", addr, over, "+retry=0", "+timeout=2", "foo.test", "A"); p.status != "" {
			t.Errorf("%s: %s", over, p.text)
		}
	}
	f("dig", "NOERROR", foo, "foo.test", "MX") // it lives
}

// selfSigned is the PEM of a certificate for 127.0.0.1, example.com and *.example.com, and that of its
// key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestDoHController asks the controller over HTTPS by curl, and has curl resolve names there.
func TestDoHController(t *testing.T) {
	host := page(t)
	_, port, _ := net.SplitHostPort(host)
	up := newNameServer(t, "real.test. 60 IN A 127.0.0.1")
	cert, key := selfSigned(t)
	secure := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	d, _ := startDNS(t, fmt.Sprintf(`external-doh-server: /dns-query
secret: s
external-controller-tls: %s
tls:
  certificate: |
%s
  private-key: |
%s
hosts: {mine.test: 192.0.2.9}
`, secure, indent(cert), indent(key))+
		dnsSection("enhanced-mode: fake-ip\nfake-ip-filter: [real.test]\nnameserver: ["+up.addr+"]"))
	ca := filepath.Join(d.Home, "ca.pem")
	if err := os.WriteFile(ca, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "https://" + secure + "/dns-query"
	f := func(name, want string) {
		t.Helper()
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.Id = 0
		text, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "query")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for kind, args := range map[string][]string{
			"GET":  {url + "?dns=" + base64.RawURLEncoding.EncodeToString(text)},
			"POST": {"-H", "Content-Type: application/dns-message", "--data-binary", "@" + file, url},
		} {
			got, err := curl(t, append([]string{"--cacert", ca}, args...)...)
			reply := new(dns.Msg)
			if unpack := reply.Unpack([]byte(got)); err != nil || unpack != nil || said(reply) != want {
				t.Errorf("%s %s: %q, %v, %v; want %s", kind, name, got, err, unpack, want)
			}
		}
	}
	f("real.test.", "127.0.0.1")
	f("mine.test.", "192.0.2.9")
	f("a.test.", "198.18.0.4")
	f("FoO.test.", "198.18.0.5")
	got, err := curl(t, "--doh-url", url, "--doh-insecure", "http://real.test:"+port+"/")
	if want := fmt.Sprintf("GET / real.test:%s \"\"", port); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
