package compat

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// servers are what answered in the lab, by the port each had there.
type servers map[string]string

func startServers(t *testing.T) servers {
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	s := servers{"18099": fmt.Sprint(testkit.FreePort(t))} // a port where nobody listens
	serve := func(port string, handle func(net.Conn)) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, s[port], _ = net.SplitHostPort(ln.Addr().String())
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					handle(c)
				}()
			}
		}()
	}
	serve("18080", func(c net.Conn) { // an origin that reads a request and keeps the client waiting
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			<-held
		}
	})
	serve("18093", echo)
	serve("18090", func(c net.Conn) { socks(c, s["18093"]) })
	return s
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// socks speaks enough SOCKS5 to be connected through; the lab sent every name to one origin.
func socks(c net.Conn, origin string) {
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return
	}
	if _, err := r.Discard(int(head[1])); err != nil {
		return
	}
	_, _ = c.Write([]byte{5, 0})
	ask := make([]byte, 5)
	if _, err := io.ReadFull(r, ask); err != nil || ask[3] != 3 {
		return
	}
	if _, err := r.Discard(int(ask[4]) + 2); err != nil {
		return
	}
	up, err := net.Dial("tcp", "127.0.0.1:"+origin)
	if err != nil {
		return
	}
	defer up.Close()
	_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0})
	go func() { _, _ = io.Copy(up, r) }()
	_, _ = io.Copy(c, up)
}

// home is one daemon of the lab. What was recorded is translated to it by text.
type home struct {
	*testkit.Daemon
	t     *testing.T
	ports map[string]string // of the recording, and of ours
	flows []net.Conn
	dirty bool // something may have changed since the last reset
}

var (
	labPort = regexp.MustCompile(`\b1[5-9][0-9]{3}\b`)
	labName = regexp.MustCompile(`\b(direct|t)\.test\b`) // names that the lab resolved to 127.0.0.1
)

// text is recorded text as it is here: with our ports, names and folders.
func (h *home) text(s string) string {
	s = labPort.ReplaceAllStringFunc(s, func(port string) string {
		if h.ports[port] == "" {
			h.ports[port] = fmt.Sprint(testkit.FreePort(h.t))
		}
		return h.ports[port]
	})
	s = labName.ReplaceAllString(s, "localhost")
	if h.Daemon != nil {
		s = strings.NewReplacer("<home>", h.Home, "<run>", filepath.Dir(h.Home), "<tmp>", os.TempDir()).Replace(s)
	}
	return s
}

// addr is the address of a port of the lab.
func (h *home) addr(port string) string { return "127.0.0.1:" + h.text(port) }

func startHome(t *testing.T, s servers, config string) *home {
	t.Helper()
	h := &home{t: t, ports: make(map[string]string)}
	for port, ours := range s {
		h.ports[port] = ours
	}
	h.Daemon = testkit.Start(t, h.text(config))
	h.BaseURL = "http://" + h.addr("19090") // the log also names the Unix socket
	return h
}

// laterKeys are sections that this version refuses, or leaves out.
var laterKeys = []string{
	"dns", "sniffer", "hosts", "tunnels", "listeners", "proxy-providers", "rule-providers", "sub-rules",
	"external-ui", "external-ui-url", "external-doh-server",
}

// laterGroupKeys are keys of groups that this version refuses.
var laterGroupKeys = []string{"use", "filter", "exclude-filter", "include-all"}

// ruleTypes are the types of rules of this version, and how the API spells them.
var ruleTypes = map[string]string{
	"DOMAIN": "Domain", "DOMAIN-SUFFIX": "DomainSuffix", "DOMAIN-KEYWORD": "DomainKeyword",
	"IP-CIDR": "IPCIDR", "IP-CIDR6": "IPCIDR", "SRC-IP-CIDR": "SrcIPCIDR", "SRC-PORT": "SrcPort",
	"DST-PORT": "DstPort", "IN-PORT": "InPort", "NETWORK": "Network", "MATCH": "Match",
}

// reduce takes out of the lab's configuration what this version has not got. Groups of later types
// become groups that are picked by hand, so that names and order stay.
func reduce(t *testing.T, config []byte) string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(config, &doc); err != nil {
		t.Fatal(err)
	}
	root := doc.Content[0]
	remove(root, laterKeys)
	for _, g := range value(root, "proxy-groups").Content {
		value(g, "type").Value = "select"
		remove(g, laterGroupKeys)
		if value(g, "proxies") == nil {
			g.Content = append(g.Content, scalar("proxies"),
				&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{scalar("DIRECT")}})
		}
	}
	rules := value(root, "rules")
	rules.Content = slices.DeleteFunc(rules.Content, func(n *yaml.Node) bool {
		word, _, _ := strings.Cut(n.Value, ",")
		return ruleTypes[word] == ""
	})
	b, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func remove(n *yaml.Node, keys []string) {
	for i := 0; i+1 < len(n.Content); {
		if slices.Contains(keys, n.Content[i].Value) {
			n.Content = slices.Delete(n.Content, i, i+2)
		} else {
			i += 2
		}
	}
}

// must sends a request that has to succeed.
func (h *home) must(method, path, body string) {
	h.t.Helper()
	if status, answer := h.Do(h.t, method, path, body); status/100 != 2 {
		h.t.Fatalf("%s %s %s: %d %s", method, path, body, status, answer)
	}
}

// reset brings back the state after the start, if anything was done since the last reset.
func (h *home) reset() {
	h.t.Helper()
	if !h.dirty {
		return
	}
	h.dirty = false
	for _, c := range h.flows {
		c.Close()
	}
	h.flows = nil
	h.must("DELETE", "/connections", "")
	h.must("PUT", "/configs?force=true", "{}")
	for group, member := range map[string]string{"Sel": "socks-ok", "GLOBAL": "DIRECT", "%E6%97%A5%E6%9C%AC%2F%E7%BB%84%201": "DIRECT"} {
		if status, _ := h.Do(h.t, "GET", "/group/"+group, ""); status == 200 {
			h.must("PUT", "/proxies/"+group, `{"name":"`+member+`"}`)
		}
	}
}

// dial connects to an inbound; the connection stays until the next reset.
func (h *home) dial(port string) net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr(port))
	if err != nil {
		h.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(wait))
	h.t.Cleanup(func() { c.Close() })
	h.flows, h.dirty = append(h.flows, c), true
	return c
}

// connect opens a flow with HTTP CONNECT, with user and password if login is not empty.
func (h *home) connect(port, target, login string) {
	h.t.Helper()
	c := h.dial(port)
	req, err := http.NewRequest(http.MethodConnect, "http://"+h.text(target), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if user, password, ok := strings.Cut(login, ":"); ok {
		req.SetBasicAuth(user, password)
		req.Header["Proxy-Authorization"] = req.Header["Authorization"]
		delete(req.Header, "Authorization")
	}
	_ = req.Write(c)
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil || res.StatusCode != 200 {
		h.t.Fatalf("CONNECT %s: %v, %v", target, res, err)
	}
}

// say opens a flow with bytes of its own, and reads the first n bytes of the answer.
func (h *home) say(port, words string, n int) {
	h.t.Helper()
	c := h.dial(port)
	_, _ = io.WriteString(c, words)
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		h.t.Fatalf("%q: %v", words, err)
	}
}

// portBytes is a port of the lab in network order.
func (h *home) portBytes(port string) string {
	var n int
	_, _ = fmt.Sscan(h.text(port), &n)
	return string([]byte{byte(n >> 8), byte(n)})
}

// refuse makes a flow that cannot reach its node, and waits until it was told so.
func (h *home) refuse() {
	h.t.Helper()
	c := h.dial("17890")
	_, _ = io.WriteString(c, h.text("CONNECT dead.test:18093 HTTP/1.1\r\nHost: dead.test:18093\r\n\r\n"))
	_, _ = io.Copy(io.Discard, c)
}
