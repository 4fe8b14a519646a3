package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/protocol/socks"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// through gets a page by a proxy of any scheme that package http knows.
func through(proxy, target string) (string, error) {
	p, err := url.Parse(proxy)
	if err != nil {
		return "", err
	}
	tr := &http.Transport{Proxy: http.ProxyURL(p), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get(target)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestNothingLeaks has names that only a proxy may hear of: whatever clients do with them, no name
// server is asked.
func TestNothingLeaks(t *testing.T) {
	_, port, _ := net.SplitHostPort(page(t))
	echo := udpEcho(t)
	far := testkit.Start(t, "mixed-port: MIXED\nhosts: {'+.proxied.test': 127.0.0.1}\nrules: ['MATCH,DIRECT']\n")
	_, farPort, _ := net.SplitHostPort(far.Mixed)
	up := newNameServer(t, "*. 60 IN A 127.0.0.1")
	d, addr := startDNS(t, "mixed-port: MIXED\nipv6: true\nexternal-doh-server: /dns-query\n"+
		dnsSection("ipv6: true\nenhanced-mode: fake-ip\nnameserver: ["+up.addr+"]\ndirect-nameserver: ["+up.addr+"]\nproxy-server-nameserver: ["+up.addr+"]")+
		fmt.Sprintf("proxies: [{name: PROXY, type: socks5, server: 127.0.0.1, port: %s, udp: true}]\n", farPort)+
		"sub-rules: {s: ['IP-CIDR,10.0.0.0/8,DIRECT,no-resolve', 'DOMAIN-SUFFIX,proxied.test,PROXY']}\n"+
		ruleLines("rules", strings.Join([]string{
			"GEOIP,LAN,DIRECT,no-resolve", "IP-CIDR,192.0.2.0/24,REJECT,no-resolve",
			"AND,((DOMAIN-SUFFIX,sub.proxied.test),(IP-CIDR,10.0.0.0/8,no-resolve)),REJECT",
			"SUB-RULE,(DOMAIN-KEYWORD,-sub),s",
			"DOMAIN-SUFFIX,proxied.test,PROXY", "IP-CIDR,10.0.0.0/8,REJECT", "MATCH,DIRECT",
		}, "\n")))
	var wait sync.WaitGroup
	for client := range 8 {
		wait.Go(func() {
			for i := range 4 {
				name := fmt.Sprintf("%c%d%s.proxied.test", 'a'+client, i, []string{"", "-sub", ".sub", ""}[i])
				if err := usesEverywhere(d, addr, name, port); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wait.Wait()
	// Datagrams, by name and by fake address; each name has a source of its own.
	for i := range 4 {
		name := fmt.Sprintf("udp%d.proxied.test", i)
		to := flow.Addr{Host: name, Port: echo}
		if i%2 == 0 {
			to = flow.Addr{IP: netip.MustParseAddr(address(t, addr, name)), Port: echo}
		}
		c := associate(t, d.Mixed)
		sends(t, c, to, name)
		if from, text := receives(t, c); text != name || to.IP.IsValid() && from != to {
			t.Errorf("%q from %v; want it from %v", text, from, to)
		}
	}
	live := connect(t, d.Mixed, "live.proxied.test:"+port)
	if m := shown(t, d, live).Metadata; m.Host != "live.proxied.test" || m.DestinationIP != "" {
		t.Errorf("%+v", m)
	}
	_ = get[api.Connections](t, d, "/connections")
	explain(t, d, "explained.proxied.test")
	if leaked := up.questions("proxied"); len(leaked) > 0 {
		t.Errorf("the name server was asked %q", leaked)
	}
	if got := far.Log(); !strings.Contains(got, "a0.proxied.test:"+port) || !strings.Contains(got, "udp0.proxied.test:") {
		t.Errorf("the far end has not been given names:\n%s", got)
	}
	// It is one that notices: a name that goes out directly is asked about.
	if got, err := through("socks5h://"+d.Mixed, "http://direct.test:"+port+"/"); err != nil || !strings.HasPrefix(got, "GET / ") {
		t.Errorf("%q, %v", got, err)
	}
	if got := up.questions("direct"); !slices.Contains(got, "direct.test A") {
		t.Errorf("%q", got)
	}
}

// usesEverywhere asks for a name and connects to it, in all ways.
func usesEverywhere(d *testkit.Daemon, addr, name, port string) error {
	fake := ""
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB} {
		m, err := tryQuery(addr, name, kind)
		if err != nil {
			return err
		}
		if kind == dns.TypeA {
			fake = said(m)
		} else if m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
			return fmt.Errorf("%v", m)
		}
	}
	if !strings.HasPrefix(fake, "198.18.") {
		return fmt.Errorf("it is %s", fake)
	}
	for _, host := range []string{name, fake} {
		for _, scheme := range []string{"http", "socks5h"} {
			got, err := through(scheme+"://"+d.Mixed, "http://"+host+":"+port+"/")
			if err != nil || !strings.HasPrefix(got, "GET / ") {
				return fmt.Errorf("%s by %s: %q, %w", host, scheme, got, err)
			}
		}
	}
	return nil
}

// explain asks why a name goes where it does.
func explain(t *testing.T, d *testkit.Daemon, host string) {
	t.Helper()
	status, body := d.Do(t, "POST", "/rules/match", fmt.Sprintf(`{"host":%q,"trace":true}`, host))
	if status != 200 || !strings.Contains(body, `"chains":["PROXY"]`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestDNSNode answers what clients send to any name server, by datagrams and by a stream.
func TestDNSNode(t *testing.T) {
	up := newNameServer(t, append(bigZone(), "real.test. 60 IN A 192.0.2.7")...)
	d, _ := startDNS(t, "mixed-port: MIXED\n"+fakeSection(up, "real.test")+
		"proxies: [{name: dns-out, type: dns}]\n"+ruleLines("rules", "DST-PORT,53,dns-out\nMATCH,REJECT"))
	server := flow.Addr{IP: netip.MustParseAddr("192.0.2.53"), Port: 53}
	udp := &dns.Conn{Conn: &datagrams{Conn: associate(t, d.Mixed), to: server}}
	tcp := &dns.Conn{Conn: connect(t, d.Mixed, server.String())}
	for over, c := range map[string]*dns.Conn{"udp": udp, "tcp": tcp} {
		f := func(name string, kind uint16, want string) *dns.Msg {
			t.Helper()
			client := dns.Client{Net: over, Timeout: 8 * time.Second}
			m, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(name, kind), c)
			if err != nil || said(m) != want {
				t.Fatalf("%s: %v, %v; want %s", over, m, err, want)
			}
			return m
		}
		f("fake.test.", dns.TypeA, "198.18.0.4")
		f("real.test.", dns.TypeA, "192.0.2.7")
		f("none.test.", dns.TypeTXT, "NXDOMAIN")
		if over == "udp" {
			if m := f("big.test.", dns.TypeTXT, ""); !m.Truncated {
				t.Errorf("%v", m)
			}
			continue
		}
		client := dns.Client{Net: over, Timeout: 8 * time.Second}
		if m, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("big.test.", dns.TypeTXT), c); err != nil || len(m.Answer) != 40 {
			t.Errorf("%v, %v", m, err)
		}
		if is := shown(t, d, tcp.Conn); is.Chains[0] != "dns-out" || is.Metadata.DestinationIP != "192.0.2.53" {
			t.Errorf("%+v", is)
		}
	}
}

// datagrams wraps what is sent through an association to one target, and unwraps what comes.
type datagrams struct {
	net.Conn
	to flow.Addr
}

// Write implements net.Conn.
func (c *datagrams) Write(p []byte) (int, error) {
	_, err := c.Conn.Write(append(socks.AppendDatagram(nil, c.to), p...))
	return len(p), err
}

// Read implements net.Conn.
func (c *datagrams) Read(p []byte) (int, error) {
	b := make([]byte, 64<<10)
	n, err := c.Conn.Read(b)
	if err != nil {
		return 0, err
	}
	from, head, err := socks.ParseDatagram(b[:n])
	if err == nil && from != c.to {
		err = fmt.Errorf("an answer from %v; want %v", from, c.to)
	}
	return copy(p, b[head:n]), err
}

// ReadFrom makes it one that package dns reads as datagrams.
func (c *datagrams) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.RemoteAddr(), err
}

// WriteTo is Write.
func (c *datagrams) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }
