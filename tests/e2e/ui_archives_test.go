package e2e

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// archives is a server of web panels, by path.
type archives struct {
	URL string

	mu    sync.Mutex
	held  chan struct{} // where it is set, answers wait for it
	came  chan struct{} // gets one element where somebody waits for it
	files map[string][]byte
	asked int
}

func startArchives(t *testing.T) *archives {
	t.Helper()
	a := &archives{files: make(map[string][]byte)}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

func (a *archives) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked++
	held, body := a.held, a.files[r.URL.Path]
	a.mu.Unlock()
	select {
	case a.came <- struct{}{}:
	default:
	}
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}
	if body == nil {
		http.Error(w, "<!doctype html><title>nope</title>", http.StatusNotFound)
		return
	}
	_, _ = w.Write(body)
}

func (a *archives) put(path string, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[path] = body
}

func (a *archives) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// zipped is a zip file of names and bodies in turn; a name that ends in @ is a symbolic link.
func zipped(t *testing.T, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(texts); i += 2 {
		name, isLink := strings.CutSuffix(texts[i], "@")
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o644)
		if isLink {
			h.SetMode(os.ModeSymlink | 0o777)
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, texts[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tarred is a tar.gz file of names and bodies in turn.
func tarred(t *testing.T, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(texts); i += 2 {
		err := w.WriteHeader(&tar.Header{Name: texts[i], Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(texts[i+1]))})
		if err == nil {
			_, err = io.WriteString(w, texts[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func panelZip(t *testing.T, version string) []byte {
	t.Helper()
	return zipped(t, "panel-"+version+"/index.html", version, "panel-"+version+"/assets/app-"+version+".js", version+strings.Repeat(" //", 50_000))
}

const uiConfig = "mixed-port: MIXED\nsecret: s3cret\nrules: [\"MATCH,DIRECT\"]\n"

// fetchUI asks for a path without the secret and follows no redirect.
func fetchUI(t *testing.T, d *testkit.Daemon, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	return fetchAs(t, d, http.MethodGet, path, fields...)
}

// fetchAs sends a request byte by byte: nothing tidies the path up.
func fetchAs(t *testing.T, d *testkit.Daemon, method, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	addr := strings.TrimPrefix(d.BaseURL, "http://")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: " + addr, "Connection: close"}, fields...)
	if method == http.MethodPost {
		lines = append(lines, "Content-Length: 0")
	}
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res, string(b)
}
