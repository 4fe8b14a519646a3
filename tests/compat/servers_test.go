package compat

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// servers are what answered in the lab.
type servers struct {
	ports map[string]string // ours, by the port each had there
	files *files
	home  string // the home directory of the lab's daemon
}

func startServers(t *testing.T, lab string) *servers {
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	s := &servers{
		ports: map[string]string{"18099": fmt.Sprint(testkit.FreePort(t))}, // a port where nobody listens
		files: &files{dir: filepath.Join(lab, "www"), other: make(map[string]string)},
		home:  filepath.Join(lab, "home"),
	}
	s.files.ports = s.ports
	serve := func(port string, handle func(net.Conn)) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, s.ports[port], _ = net.SplitHostPort(ln.Addr().String())
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
	serve("18080", func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			answerTest(c, r.URL.Path, held)
		}
	})
	serve("18093", echo)
	serve("18090", func(c net.Conn) { socks(c, s.ports["18093"]) })
	serve("18091", func(c net.Conn) { httpProxy(c, s.ports["18093"]) })
	s.ports["15353"] = nameServer(t)
	provider := httptest.NewServer(s.files)
	t.Cleanup(provider.Close)
	_, s.ports["18081"], _ = net.SplitHostPort(provider.Listener.Addr().String())
	return s
}

// answerTest answers one request as the path says: /slow/MS, /slowst/MS/STATUS, /status/STATUS,
// /generate_204 or /close. Any other keeps the client waiting.
func answerTest(c net.Conn, path string, held <-chan struct{}) {
	word, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	ms, status := 0, 204
	switch word {
	case "close":
		return
	case "generate_204":
	case "slow":
		_, _ = fmt.Sscanf(rest, "%d", &ms)
	case "slowst":
		_, _ = fmt.Sscanf(rest, "%d/%d", &ms, &status)
	case "status":
		_, _ = fmt.Sscanf(rest, "%d", &status)
	default:
		<-held
		return
	}
	select {
	case <-held:
	case <-time.After(time.Duration(ms) * time.Millisecond):
	}
	fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// socks speaks enough SOCKS5 to be connected through; the lab sent every name to one origin, and what
// is an address there.
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
	if _, err := io.ReadFull(r, ask); err != nil || ask[3] != 1 && ask[3] != 3 {
		return
	}
	rest := make([]byte, int(ask[4])+2)
	if ask[3] == 1 {
		rest = rest[:3+2]
	}
	if _, err := io.ReadFull(r, rest); err != nil {
		return
	}
	if ask[3] == 1 {
		origin = fmt.Sprint(int(rest[3])<<8 | int(rest[4]))
	}
	forward(c, r, origin, "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
}

// httpProxy answers CONNECT: late where delay tests go, so that it is never the faster one.
func httpProxy(c net.Conn, origin string) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	if host, port, _ := net.SplitHostPort(req.Host); net.ParseIP(host) != nil {
		origin = port
		time.Sleep(200 * time.Millisecond)
	}
	forward(c, r, origin, "HTTP/1.1 200 OK\r\n\r\n")
}

// forward connects c, from which r reads, with the origin, and says yes.
func forward(c net.Conn, r io.Reader, origin, yes string) {
	up, err := net.Dial("tcp", "127.0.0.1:"+origin)
	if err != nil {
		return
	}
	defer up.Close()
	_, _ = io.WriteString(c, yes)
	go func() { _, _ = io.Copy(up, r) }()
	_, _ = io.Copy(c, up)
}

// nameServer answers DNS over UDP, and returns its port.
func nameServer(t *testing.T) (port string) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(resolve)}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { c.Close() })
	_, port, _ = net.SplitHostPort(c.LocalAddr().String())
	return port
}

// zone is what every name has, by type.
var zone = map[uint16][]string{
	dns.TypeA:     {"A 127.0.0.1"},
	dns.TypeAAAA:  {"AAAA ::1"},
	dns.TypeTXT:   {`TXT "hello" "v=spf1 "`},
	dns.TypeMX:    {"MX 10 mx.test."},
	dns.TypeNS:    {"NS ns1.test."},
	dns.TypeSRV:   {"SRV 1 2 443 srv.test."},
	dns.TypeHTTPS: {`HTTPS 1 . alpn="h2"`},
}

// resolve answers by the first word of the name.
func resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := q.Question[0].Name
	data := zone[q.Question[0].Qtype]
	switch word, _, _ := strings.Cut(name, "."); word {
	case "slow":
		return
	case "nx":
		m.Rcode, data = dns.RcodeNameError, nil
		m.Ns = records(". 30 IN SOA ns.test. admin.test. 1 2 3 4 5")
	case "servfail":
		m.Rcode, data = dns.RcodeServerFailure, nil
	case "refused":
		m.Rcode, data = dns.RcodeRefused, nil
	case "empty":
		data = nil
	case "cname":
		m.Answer = records(name+" 60 IN CNAME real.test.", "real.test. 60 IN A 127.0.0.1")
		data = nil
	case "multi":
		data = []string{"A 127.0.0.1", "A 127.0.0.2", "A 127.0.0.3"}
	}
	for _, d := range data {
		m.Answer = append(m.Answer, records(name+" 60 IN "+d)...)
	}
	if q.Question[0].Qtype == dns.TypeMX {
		m.Extra = records("mx.test. 60 IN A 127.0.0.9")
	}
	_ = w.WriteMsg(m)
}

// records reads lines of a zone file.
func records(lines ...string) (list []dns.RR) {
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err) // a mistake in this file
		}
		list = append(list, rr)
	}
	return list
}

// files is the lab's provider server. Ports in its files are ours.
type files struct {
	dir   string
	ports map[string]string

	mu    sync.Mutex
	other map[string]string // what is served instead of a file
}

// ServeHTTP serves /p/FILE.
func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := filepath.Base(strings.TrimPrefix(r.URL.Path, "/p/"))
	body, err := f.read(name)
	if err != nil {
		http.Error(w, "nope", http.StatusNotFound)
		return
	}
	if name == "sub.yaml" {
		w.Header().Set("Subscription-Userinfo", "upload=1024; download=2048; total=1073741824; expire=1893456000")
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(body)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

func (f *files) text(s string) string {
	return labPort.ReplaceAllStringFunc(s, func(port string) string { return cmp.Or(f.ports[port], port) })
}

// panel is the archive of a web panel as it was in the lab.
func panel() []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("ui-main/index.html")
	if err == nil {
		_, err = io.WriteString(w, "<html>ui ok</html>\n")
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // nothing is written but memory
	}
	return b.Bytes()
}

func (f *files) read(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "ui.zip" {
		return panel(), nil
	}
	if body, ok := f.other[name]; ok {
		return []byte(f.text(body)), nil
	}
	body, err := os.ReadFile(filepath.Join(f.dir, name))
	return []byte(f.text(string(body))), err
}

func (f *files) replace(name, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.other[name] = body
}

func (f *files) restore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.other)
}
