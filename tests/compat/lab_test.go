package compat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// home is one daemon of the lab. What was recorded is translated to it by text.
type home struct {
	*testkit.Daemon
	t     *testing.T
	files *files
	ports map[string]string // of the recording, and of ours
	flows []net.Conn
	stale []string // paths of providers that hold what only one sample serves
	dirty bool     // something may have changed since the last reset
}

var labPort = regexp.MustCompile(`(\b|%3A)1[15-9][0-9]{3}\b`) // a colon may be escaped

// text is recorded text as it is here: with our ports and folders.
func (h *home) text(s string) string {
	s = labPort.ReplaceAllStringFunc(s, func(port string) string {
		port, escaped := strings.CutPrefix(port, "%3A")
		if h.ports[port] == "" {
			h.ports[port] = fmt.Sprint(testkit.FreePort(h.t))
		}
		if escaped {
			return "%3A" + h.ports[port]
		}
		return h.ports[port]
	})
	if h.Daemon != nil {
		s = strings.NewReplacer("<home>", h.Home, "<run>", filepath.Dir(h.Home), "<tmp>", os.TempDir()).Replace(s)
	}
	return s
}

// addr is the address of a port of the lab.
func (h *home) addr(port string) string { return "127.0.0.1:" + h.text(port) }

func startHome(t *testing.T, s *servers, config string) *home {
	t.Helper()
	h := &home{t: t, files: s.files, ports: maps.Clone(s.ports)}
	h.Daemon = testkit.Start(t, h.text(config))
	h.BaseURL = "http://" + h.addr("19090") // the log also names the Unix socket
	h.copyFiles(s.home)
	if strings.Contains(config, "/p/ui.zip") {
		h.WaitLog(t, "web panel is updated")
	}
	h.loadProviders()
	h.testNodes()
	return h
}

// testNodes lets the groups that choose by themselves know which of their members are dead.
func (h *home) testNodes() {
	h.t.Helper()
	test := "/delay?timeout=5000&url=" + url.QueryEscape("http://"+h.addr("18080")+"/generate_204")
	h.Do(h.t, "GET", "/group/Fall"+test, "") // there may be none
	h.Do(h.t, "GET", "/group/Auto"+test, "")
}

// copyFiles copies what is in the lab's home directory beside its configuration.
func (h *home) copyFiles(from string) {
	t := h.t
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "config.yaml" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			if e.Name() == "file-provider.yaml" {
				b = []byte(h.text(string(b)))
			}
			err = os.WriteFile(filepath.Join(h.Home, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// loadProviders loads every provider: the daemon began without the files, and downloads when it likes.
// Some cannot be loaded; the samples say which.
func (h *home) loadProviders() {
	h.t.Helper()
	for _, kind := range []string{"proxies", "rules"} {
		_, body := h.Do(h.t, "GET", "/providers/"+kind, "")
		var list struct{ Providers map[string]struct{} }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			h.t.Fatalf("%v: %s", err, body)
		}
		for name := range list.Providers {
			h.Do(h.t, "PUT", "/providers/"+kind+"/"+url.PathEscape(name), "")
		}
	}
	h.waitFlows(0) // downloads are listed too
}

// laterKeys are sections that this version refuses, or leaves out.
var laterKeys = []string{
	"sniffer", "tunnels", "listeners",
}

// reduce takes out of the lab's configuration what this version has not got.
func reduce(t *testing.T, config []byte) string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(config, &doc); err != nil {
		t.Fatal(err)
	}
	remove(doc.Content[0], laterKeys)
	b, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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
	h.files.restore()
	h.must("DELETE", "/connections", "")
	h.must("PUT", "/configs?force=true", "{}")
	for _, group := range []string{"Auto", "Fall"} {
		h.Do(h.t, "DELETE", "/proxies/"+group, "") // there may be none
	}
	for group, member := range map[string]string{"Sel": "socks-ok", "GLOBAL": "DIRECT", "%E6%97%A5%E6%9C%AC%2F%E7%BB%84%201": "DIRECT"} {
		if status, _ := h.Do(h.t, "GET", "/group/"+group, ""); status == 200 {
			h.must("PUT", "/proxies/"+group, `{"name":"`+member+`"}`)
		}
	}
	for _, path := range h.stale {
		h.must("PUT", path, "")
	}
	h.stale = nil
	for _, path := range []string{"/providers/rules/r-bad", "/providers/proxies/badp"} {
		h.Do(h.t, "PUT", path, "") // it fails now, and not beside what is compared
	}
	h.waitFlows(0)
}

// providerFiles are what the lab's providers download, by their paths.
var providerFiles = map[string]string{
	"/providers/rules/r-dom-h": "dom.yaml", "/providers/rules/r-cl-h": "classical.yaml",
	"/providers/proxies/httpp": "sub.yaml", "/providers/proxies/sub": "sub2.yaml",
}

// serve makes another body what the provider of a path downloads, until the next reset.
func (h *home) serve(path, body string) {
	h.t.Helper()
	if providerFiles[path] == "" {
		h.t.Fatalf("which file is of %s?", path)
	}
	h.files.replace(providerFiles[path], body)
	h.stale, h.dirty = append(h.stale, path), true
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

// resolve asks the daemon's DNS server for the address of a name.
func (h *home) resolve(name string) string {
	h.t.Helper()
	m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), h.addr("11053"))
	if err != nil || len(m.Answer) != 1 {
		h.t.Fatalf("%s: %v, %v", name, m, err)
	}
	return m.Answer[0].(*dns.A).A.String()
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
