package config_test

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
)

// providerOf is the proxy provider that settings make, of a configuration without errors.
func providerOf(t *testing.T, settings string) *config.ProxyProvider {
	t.Helper()
	c, diags := config.Parse("f", []byte("proxy-providers: {p: {type: file, path: a, "+settings+"}}\nproxies: [{name: via, type: direct}]"))
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	return &c.ProxyProviders[0]
}

func names(list *config.NodeList) string {
	var names []string
	for _, n := range list.Nodes {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

func problems(list *config.NodeList) string {
	var lines []string
	for _, p := range list.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

const someNodes = `
proxies:
- {name: US 1, type: socks5, server: a.test, port: 1080}
- {name: HK 1, type: http, server: b.test, port: "8080"}
- {name: HK 2 x10, type: ss, server: c.test, port: 1, cipher: aes-128-gcm, password: secret}
- {name: US 2, type: http, server: d.test, port: 1}
`

func TestNodesAreFiltered(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		list, err := providerOf(t, settings).ReadNodes([]byte(someNodes))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(list); got != want {
			t.Errorf("%s: %s; want %s", settings, got, want)
		}
	}
	f("", "US 1, HK 1, HK 2 x10, US 2")
	f("filter: HK", "HK 1, HK 2 x10")
	f("filter: 'HK`US'", "HK 1, HK 2 x10, US 1, US 2")
	f("exclude-filter: '(?!x1)x'", "US 1, HK 1, HK 2 x10, US 2")
	f("exclude-filter: x10", "US 1, HK 1, US 2")
	f("exclude-type: SS|socks5", "HK 1, US 2")
	f("filter: ^US, override: {additional-prefix: 'p ', additional-suffix: ' s', proxy-name: [{pattern: 'p (..) (.) s', target: '$1-$2'}, {pattern: 'US', target: us}]}", "us-1, us-2")
}

func TestNodesAreOverridden(t *testing.T) {
	p := providerOf(t, `dialer-proxy: nobody-asks, override: {tfo: true, mptcp: 1, udp: "yes", udp-over-tcp: true, up: 10 Mbps, down: 50,
  dialer-proxy: via, skip-cert-verify: true, interface-name: eth9, routing-mark: 7, ip-version: ipv4-prefer}`)
	list, err := p.ReadNodes([]byte(`proxies: [{name: x, type: socks5, server: a.test, port: 1, udp: false, tfo: false, username: u}]`))
	if err != nil {
		t.Fatal(err)
	}
	n := list.Nodes[0]
	if !n.TFO || !n.MPTCP || !n.UDP || !n.UoT || n.DialerProxy != "via" || !n.Login.SkipCertVerify || n.InterfaceName != "eth9" ||
		n.RoutingMark != 7 || n.IPVersion != "ipv4-prefer" || n.Login.Username != "u" || n.Server != "a.test" {
		t.Errorf("%+v", n)
	}
	p = providerOf(t, "dialer-proxy: via")
	if list, err = p.ReadNodes([]byte(`proxies: [{name: x, type: direct, dialer-proxy: y}]`)); err != nil || list.Nodes[0].DialerProxy != "via" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestBadNodesAreToldOf by name and line, and the others work.
func TestBadNodesAreToldOf(t *testing.T) {
	list, err := providerOf(t, "").ReadNodes([]byte(`
proxies:
- &base {name: good, type: socks5, server: a.test, port: 1080}
- {name: no port, type: socks5, server: a.test}
- {name: bad port, type: http, server: a.test, port: 99999, password: hunter2}
- {name: other, type: sock5, server: a.test, port: 1}
- {type: direct}
- {name: typeless}
- just text
- {name: good, type: direct}
- {name: DIRECT, type: direct}
- {name: later, type: vmess, server: a.test, port: 1, uuid: 5c0f, alterId: 0, cipher: auto}
- {<<: *base, name: merged}
- {name: twice, name: twice, type: direct}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := names(list); got != "good, later, merged" {
		t.Error(got)
	}
	want := `line 4, "no port": a node of type socks5 needs port
line 5, "bad port": port: want 1-65535, got 99999
line 6, "other": type: unknown type "sock5"
line 7: want a name
line 8, "typeless": want a type
line 9: want a map
line 10, "good": the name is that of node 0 already
line 11, "DIRECT": the name is built in
line 14, "twice": name: this key is there already, in line 14
line 12, "later": vmess: not supported yet: the node is listed and carries nothing`
	if got := problems(list); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if list.Count != 10 {
		t.Error(list.Count)
	}
}

func TestLinksAreNodes(t *testing.T) {
	links := "# a comment\r\nsocks5://dXNlcjpwYXNz@192.0.2.1:1080#one%20%F0%9F%87%A9%F0%9F%87%AA\r\nbogus://x\nhttp://u:p@b.test:8080#two\n" +
		"vless://b831381d-6324-4d53-ad4f-8cda48b30811@c.test:443?security=tls&type=ws&path=%2Fx#three\n"
	for _, body := range []string{links, base64.StdEncoding.EncodeToString([]byte(links)), base64.RawURLEncoding.EncodeToString([]byte(links))} {
		list, err := providerOf(t, "").ReadNodes([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := names(list); got != "one 🇩🇪, two, three" {
			t.Error(got)
		}
		if n := list.Nodes[0]; n.Server != "192.0.2.1" || n.Port != 1080 || n.Login.Username != "user" || n.Login.Password != "pass" || !n.UDP {
			t.Errorf("%+v", n)
		}
		if got := problems(list); !strings.Contains(got, "line 3") || !strings.Contains(got, "vless: not supported yet") || list.Count != 2 {
			t.Errorf("%d: %s", list.Count, got)
		}
	}
}

// TestListsOfNoUse say why, and nothing of what they hold.
func TestListsOfNoUse(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		_, err := providerOf(t, "").ReadNodes([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want %q", body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is told: %v", err)
		}
	}
	f("", "want `proxies`")
	f("  \n", "want `proxies`")
	f("<!DOCTYPE html><html>hunter2", "this is a web page")
	f("\n <HTML><body>", "this is a web page")
	f("hunter2", "want `proxies`")
	f("rules: [hunter2]", "want `proxies`")
	f("proxies: hunter2", "line 1: `proxies` is no list")
	f("proxies:\n", "the list has no nodes")
	f("proxies: []", "the list has no nodes")
	f("proxies: [{name: a, password: hunter2", "neither YAML nor share links")
	f("proxies: [{name: a, type: nope, password: hunter2}]", `no node can be used: line 1, "a": type: unknown type "nope"`)
	f("proxies: [{name: a, type: socks5, server: b, password: hunter2}]", "needs port")
	f("vmess://hunter2\nss://hunter2\n", "no node can be used: line 1")
	if _, err := providerOf(t, "filter: zz").ReadNodes([]byte(someNodes)); err == nil || !strings.Contains(err.Error(), "no node is left") {
		t.Error(err)
	}
}

// TestListsAreBounded where somebody writes them with aliases, or without end.
func TestListsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("proxies:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "- {name: n%d, type: socks5}\n", i)
	}
	b.WriteString("- {name: good, type: direct}\n")
	list, err := providerOf(t, "").ReadNodes([]byte(b.String()))
	if err != nil || len(list.Nodes) != 1 || list.Count != 1000 || len(list.Problems) != 100 {
		t.Errorf("%v, %d problems of %d", err, len(list.Problems), list.Count)
	}
	f := func(body, want string) {
		t.Helper()
		before := new(runtime.MemStats)
		runtime.ReadMemStats(before)
		start := time.Now()
		list, err := providerOf(t, "").ReadNodes([]byte(body))
		got := fmt.Sprint(err)
		if list != nil {
			got += "\n" + problems(list)
		}
		after := new(runtime.MemStats)
		runtime.ReadMemStats(after)
		if !strings.Contains(got, want) {
			t.Errorf("%.60q: %.300s; want %q", body, got, want)
		}
		if took, used := time.Since(start), after.TotalAlloc-before.TotalAlloc; took > 10*time.Second || used > 500<<20 {
			t.Errorf("%.60q: %v, %d MiB", body, took, used>>20)
		}
	}
	bomb := "proxies:\n- &a {name: a, type: direct}\n- &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a], name: b, type: direct}\n"
	for i := 'c'; i < 'p'; i++ {
		bomb += fmt.Sprintf("- &%c {<<: [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c], name: %c, type: direct}\n", i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i)
	}
	f(bomb, "merge keys or aliases bring too much")
	var keys strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&keys, "k%d: 1, ", i)
	}
	f("x: &b {"+keys.String()+"}\nproxies: [{name: a, type: direct, <<: ["+strings.Repeat("*b,", 3000)+"]}]", "bring too much")
	f("x: &b {"+keys.String()+"}\nproxies: ["+strings.Repeat("{name: a, type: direct, <<: *b}, ", 3000)+"]", "bring too much")
	f("x: &b {name: a, type: direct, "+keys.String()+"}\nproxies: ["+strings.Repeat("*b,", 9000)+"]", "")
	f("proxies: 1\r"+strings.Repeat("? a\r", 2<<20), "a list of more than 1000000 parts")
	f("proxies: ["+strings.Repeat("a,", 4<<20)+"]", "a list of more than 1000000 parts")
	f("proxies: ["+strings.Repeat("a,", 20_000)+"]", "more than 10000 nodes")
	f("proxies: [{name: a, type: direct, dialer-proxy: "+strings.Repeat("x", 1000)+"}]", "256 bytes at the most")
	list, err = providerOf(t, "").ReadNodes([]byte("proxies: [{name: \"a\\nb\\e[31m\\0\", type: direct}, {name: " + strings.Repeat("n", 1<<20) + ", type: direct}]"))
	if err != nil || list.Nodes[0].Name != "ab[31m" || len(list.Nodes[1].Name) != 256 {
		t.Errorf("%v, %v", err, list)
	}
}

// TestBrokenNodesComeFirst before those that cannot be dialed yet, which are one line for each type.
func TestBrokenNodesComeFirst(t *testing.T) {
	body := strings.Repeat("trojan://secret@a.test:443#t\n", 150) + "ss://nonsense\nvless://b831381d-6324-4d53-ad4f-8cda48b30811@c.test:443#v\n"
	list, err := providerOf(t, "").ReadNodes([]byte(body))
	if err != nil || list.Count != 152 || len(list.Problems) != 3 {
		t.Fatalf("%v, %+v", err, list.Problems)
	}
	want := `line 151: ss: `
	if got := problems(list); !strings.HasPrefix(got, want) || !strings.Contains(got, `line 1, "t": trojan: not supported yet: this and 149 more are listed and carry nothing`) {
		t.Error(got)
	}
}

// TestWordsAreNoList: a notice with the address of a page does not replace nodes.
func TestWordsAreNoList(t *testing.T) {
	if list, err := providerOf(t, "").ReadNodes([]byte("Your subscription has expired, renew at\nhttps://panel.example.com:8443\n")); err == nil {
		t.Errorf("%+v", list.Nodes)
	}
	list, err := providerOf(t, "").ReadNodes([]byte("http://192.0.2.1:8080\nhttps://192.0.2.2:8443\n"))
	if err != nil || len(list.Nodes) != 2 {
		t.Error(err)
	}
}

func FuzzReadNodes(f *testing.F) {
	f.Add([]byte(someNodes))
	f.Add([]byte("ss://YWVzLTEyOC1nY206cA@a.test:1#x\nvmess://e30="))
	f.Add([]byte("proxies: [{<<: {a: b}, name: x, type: direct}]"))
	c, diags := config.Parse("f", []byte("proxy-providers: {p: {type: file, path: a, filter: '.', override: {additional-prefix: 'p ', udp: true}}}"))
	if err := diags.Err(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := c.ProxyProviders[0].ReadNodes(body)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, n := range list.Nodes {
			if seen[n.Name] || !strings.HasPrefix(n.Name, "p ") || n.Type == "" {
				t.Errorf("%+v", n)
			}
			seen[n.Name] = true
		}
		if len(list.Nodes) == 0 {
			t.Error("no error and no node")
		}
	})
}
