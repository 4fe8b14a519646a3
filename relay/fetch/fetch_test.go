package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// serve starts a server that ends with the test, which is checked for goroutines left behind.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	leak.Check(t)
	return start(t, h)
}

func start(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// startTLS starts a server, and returns who vouches for it.
func startTLS(t *testing.T, h http.HandlerFunc, h2 bool) (url string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // for handshakes that are meant to fail
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, roots
}

func TestBody(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		fmt.Fprintf(w, "%s|%s|%s", r.UserAgent(), r.Header.Get("X-Mine"), r.Header.Get("Accept-Encoding"))
	})
	get := func(r *Request) *Response {
		t.Helper()
		r.URL = url
		resp, err := Get(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	resp := get(&Request{
		UserAgent: "switchyard",
		Header:    http.Header{"x-mine": {"yes"}, "Accept-Encoding": {"br"}},
	})
	if string(resp.Body) != "switchyard|yes|gzip" {
		t.Errorf("%q", resp.Body)
	}
	if want := (Validators{`"1"`, "Mon, 02 Jan 2006 15:04:05 GMT"}); resp.Validators != want {
		t.Errorf("%+v", resp.Validators)
	}
	// No name is sent where none is given, and the user's own goes first.
	if resp = get(&Request{}); !strings.HasPrefix(string(resp.Body), "|") {
		t.Errorf("%q", resp.Body)
	}
	resp = get(&Request{UserAgent: "switchyard", Header: http.Header{"User-Agent": {"mine"}}})
	if !strings.HasPrefix(string(resp.Body), "mine|") {
		t.Errorf("%q", resp.Body)
	}
}

func TestNotModified(t *testing.T) {
	const date = "Mon, 02 Jan 2006 15:04:05 GMT"
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch h := r.Header; {
		case r.URL.Path == "/always", h.Get("If-None-Match") == `"1"`, h.Get("If-Modified-Since") == date:
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.WriteString(w, "new")
		}
	})
	f := func(have Validators, want bool) {
		t.Helper()
		resp, err := Get(t.Context(), &Request{URL: url, Have: have})
		if err != nil || resp.NotModified != want || (resp.Body == nil) != want {
			t.Errorf("%+v: %+v, %v", have, resp, err)
		}
	}
	f(Validators{}, false)
	f(Validators{ETag: `"1"`}, true)
	f(Validators{ETag: `"2"`}, false)
	f(Validators{LastModified: date}, true)

	// Nobody asked.
	_, err := Get(t.Context(), &Request{URL: url + "/always"})
	if s, ok := errors.AsType[*StatusError](err); !ok || s.Code != http.StatusNotModified {
		t.Error(err)
	}
}

func TestStatus(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", r.URL.Query().Get("after"))
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(code)
	})
	f := func(path, text string, after time.Duration) {
		t.Helper()
		_, err := Get(t.Context(), &Request{URL: url + path})
		s, ok := errors.AsType[*StatusError](err)
		if !ok || err.Error() != text || s.RetryAfter != after {
			t.Errorf("%s: %v, %+v", path, err, s)
		}
	}
	f("/404", "404 Not Found", 0)
	f("/503?after=120", "503 Service Unavailable", 2*time.Minute)
	f("/429?after=soon", "429 Too Many Requests", 0)
	f("/204", "204 No Content", 0)
	f("/299", "299", 0)
	f("/302", "302 Found", 0) // to nowhere
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(field string, want time.Duration) {
		t.Helper()
		if got := retryAfter(field, now); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
	f("", 0)
	f("-1", 0)
	f("7", 7*time.Second)
	f("9999999999", 1<<31*time.Second)
	f("Fri, 02 Jan 2026 03:05:05 GMT", time.Minute)
	f("Fri, 02 Jan 2026 03:03:05 GMT", 0)
}

func TestGzip(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Path[1:])
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(make([]byte, size))
		_ = z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		if r.URL.Query().Has("cut") {
			b.Truncate(b.Len() - 4)
		}
		_, _ = b.WriteTo(w)
	})
	resp, err := Get(t.Context(), &Request{URL: url + "/100000", Limit: 100_000})
	if err != nil || len(resp.Body) != 100_000 {
		t.Fatal(err)
	}
	// A bomb: what comes over the wire is far below the limit.
	_, err = Get(t.Context(), &Request{URL: url + "/2000000", Limit: 100_000})
	if err == nil || !strings.Contains(err.Error(), "larger than 100000 bytes") {
		t.Error(err)
	}
	_, err = Get(t.Context(), &Request{URL: url + "/100000?cut"})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestLimit(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/said":
			w.Header().Set("Content-Length", "1001")
		case "/chunks":
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(make([]byte, 1001))
	})
	for _, path := range []string{"/said", "/chunks"} {
		_, err := Get(t.Context(), &Request{URL: url + path, Limit: 1000})
		if err == nil || !strings.HasSuffix(err.Error(), ": larger than 1000 bytes") {
			t.Error(err)
		}
		resp, err := Get(t.Context(), &Request{URL: url + path, Limit: 1001})
		if err != nil || len(resp.Body) != 1001 {
			t.Error(err)
		}
	}
}

// answer serves raw bytes to every connection, whatever it asks.
func answer(t *testing.T, raw func(request string) string) string {
	t.Helper()
	leak.Check(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			_, _ = io.WriteString(c, raw(string(b[:n])))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestTruncated(t *testing.T) {
	url := answer(t, func(request string) string {
		if strings.HasPrefix(request, "GET /chunks ") {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
	})
	for _, path := range []string{"/length", "/chunks"} {
		if _, err := Get(t.Context(), &Request{URL: url + path}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	echo := answer(t, func(request string) string { return request })
	hung := answer(t, func(string) string { return "" })
	away := answer(t, func(string) string {
		return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://other:tok%zzen@secret/tok\r\n\r\n"
	})
	ftp := answer(t, func(string) string {
		return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ftp://user:token@host/secret\r\n\r\n"
	})
	f := func(url, want string) {
		t.Helper()
		_, err := Get(t.Context(), &Request{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: %v", url, err)
		}
		for _, secret := range []string{"secret", "token", "user", "%zz"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	const rest = "/secret/token?token=secret"
	f(strings.Replace(echo, "://", "://user:token@", 1)+rest, echo+": the answer makes no sense")
	f(hung+rest, hung+": EOF")
	part := answer(t, func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: token=sec\r\n\r\n" })
	f(part+"/x?token=sec", part+": the answer makes no sense")
	f(away+rest, "redirected to what is not a valid http or https URL")
	f(ftp+rest, "redirected to what is not a valid http or https URL")
	f("http://user:to/ken@127.0.0.1"+rest, "not a valid http or https URL")
	f("http://user:%zz@127.0.0.1"+rest, "not a valid http or https URL")
	f("ftp://user:token@127.0.0.1"+rest, "not a valid http or https URL")
	f("http:///secret", "not a valid http or https URL")
	f("secret", "not a valid http or https URL")
	f("", "not a valid http or https URL")
	f("http://user:token@127.0.0.1:0"+rest, "http://127.0.0.1:0: dial tcp")
}

// TestCancel has the server wait until the client has gone, which also ends the test.
func TestCancel(t *testing.T) {
	leak.Check(t)
	asked := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
		}
		asked <- struct{}{}
		<-r.Context().Done()
	})
	for _, h2 := range []bool{false, true} {
		url, roots := startTLS(t, handler, h2)
		for _, path := range []string{"/head", "/body"} {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			_, err := Get(ctx, &Request{URL: url + path, Roots: roots})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestCancelWhileDialing checks that a dial and a TLS handshake end with the Get they are for.
func TestCancelWhileDialing(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	_, err := Get(ctx, &Request{
		URL: "http://example.com",
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_, _ = server.Read(make([]byte, 1)) // the first byte of a hello that is never answered
		cancel()
	}()
	_, err = Get(ctx, &Request{
		URL:  "https://example.com",
		Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil },
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDialError(t *testing.T) {
	refused := errors.New("rejected by rule")
	_, err := Get(t.Context(), &Request{
		URL:  "https://example.com:8443/token",
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused },
	})
	if !errors.Is(err, refused) || err.Error() != "https://example.com:8443: rejected by rule" {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	leak.Check(t)
	for _, h2 := range []bool{false, true} {
		url, roots := startTLS(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Proto)
		}, h2)
		resp, err := Get(t.Context(), &Request{URL: url, Roots: roots})
		if err != nil || (string(resp.Body) == "HTTP/2.0") != h2 {
			t.Errorf("%v: %+v, %v", h2, resp, err)
		}
		_, err = Get(t.Context(), &Request{URL: url, Roots: x509.NewCertPool()})
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Error(err)
		}
	}
}

// TestHost asks for another host than the one it connects to.
func TestHost(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) })
	resp, err := Get(t.Context(), &Request{URL: url, Header: http.Header{"Host": {"lists.example"}}})
	if err != nil || string(resp.Body) != "lists.example" {
		t.Fatalf("%+v, %v", resp, err)
	}
}

// TestStalled gives a server up that sends a part and then nothing, and no other.
func TestStalled(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 5 {
			fmt.Fprint(w, "part")
			w.(http.Flusher).Flush()
			if r.URL.Path == "/stalls" {
				<-r.Context().Done()
				return
			}
		}
	})
	if resp, err := Get(t.Context(), &Request{URL: url, idle: time.Second}); err != nil || len(resp.Body) != 20 {
		t.Errorf("%+v, %v", resp, err)
	}
	_, err := Get(t.Context(), &Request{URL: url + "/stalls", idle: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "less than 4096 bytes came in 50ms") {
		t.Error(err)
	}
}

// TestLongValidators are not sent back.
func TestLongValidators(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", strings.Repeat("x", 2000)) })
	if resp, err := Get(t.Context(), &Request{URL: url}); err != nil || resp.Validators.ETag != "" {
		t.Errorf("%+v, %v", resp, err)
	}
}
