package compat

import (
	"bufio"
	"bytes"
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
	serve("18080", func(c net.Conn) { // an origin that reads a request and keeps the client waiting
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			<-held
		}
	})
	serve("18093", echo)
	serve("18090", func(c net.Conn) { socks(c, s.ports["18093"]) })
	serve("18091", func(c net.Conn) { httpProxy(c, s.ports["18093"]) })
	provider := httptest.NewServer(s.files)
	t.Cleanup(provider.Close)
	_, s.ports["18081"], _ = net.SplitHostPort(provider.Listener.Addr().String())
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
	forward(c, r, origin, "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
}

// httpProxy answers CONNECT.
func httpProxy(c net.Conn, origin string) {
	r := bufio.NewReader(c)
	if req, err := http.ReadRequest(r); err != nil || req.Method != http.MethodConnect {
		return
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

// files is the lab's provider server.
type files struct {
	dir string

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
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(body)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

func (f *files) read(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if body, ok := f.other[name]; ok {
		return []byte(body), nil
	}
	return os.ReadFile(filepath.Join(f.dir, name))
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
