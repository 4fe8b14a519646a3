package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func status(t *testing.T, text string) Status {
	t.Helper()
	s, err := ParseStatus(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRun asks a real server, by HTTP and by TLS, and looks at what it was asked.
func TestRun(t *testing.T) {
	leak.Check(t)
	var got atomic.Pointer[http.Request]
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r)
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/cookie":
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	c := trusting(secure)
	f := func(url, expected string, want bool, line string) {
		t.Helper()
		p := Probe{URL: url, Expected: status(t, expected)}
		delay, ok, err := p.Run(t.Context(), direct(), c)
		if err != nil || ok != want || delay < 1 || delay > 5000 {
			t.Fatalf("%s: %d, %v, %v", url, delay, ok, err)
		}
		r := got.Load()
		if got := r.Method + " " + r.Host + " " + r.RequestURI; got != line {
			t.Errorf("%q; want %q", got, line)
		}
		if r.Header.Get("User-Agent") != "tester/1" || r.Header.Get("Cookie") != "" {
			t.Errorf("fields %v", r.Header)
		}
	}
	_, port, _ := net.SplitHostPort(plain.Listener.Addr().String())
	f(plain.URL, "", true, "HEAD 127.0.0.1:"+port+" /")
	f(at(plain, "A.Test", "/generate_204?a=b c#d"), "204", true, "HEAD a.test:"+port+" /generate_204?a=b%20c")
	f(at(plain, "a.test", "/"), "200/300-399", false, "HEAD a.test:"+port+" /")
	f(at(plain, "a.test", "/away"), "302", true, "HEAD a.test:"+port+" /away") // not followed
	f(at(plain, "a.test", "/cookie"), "", true, "HEAD a.test:"+port+" /cookie")
	f(at(plain, "a.test", "/"), "", true, "HEAD a.test:"+port+" /")
	f(at(plain, "u:p@a.test", "/"), "", true, "HEAD a.test:"+port+" /")
	if u, p, _ := got.Load().BasicAuth(); u != "u" || p != "p" {
		t.Errorf("sent %q, %q", u, p)
	}
	_, port, _ = net.SplitHostPort(secure.Listener.Addr().String())
	f(secure.URL, "", true, "HEAD 127.0.0.1:"+port+" /")
	f(at(secure, "example.com", "/a"), "204", true, "HEAD example.com:"+port+" /a")
	if s := got.Load().TLS; s.ServerName != "example.com" || s.Version < tls.VersionTLS12 {
		t.Errorf("TLS: %q, %x", s.ServerName, s.Version)
	}

	bad := func(url string, c Client) {
		t.Helper()
		var cert *tls.CertificateVerificationError
		if _, _, err := (&Probe{URL: url}).Run(t.Context(), direct(), c); !errors.As(err, &cert) {
			t.Errorf("%s: %v", url, err)
		}
	}
	bad(at(secure, "wrong.test", "/"), c)
	bad(secure.URL, Client{}) // the system does not know it
}

// TestRunUnified asks twice on one connection; where the second request fails the first one counts.
func TestRunUnified(t *testing.T) {
	leak.Check(t)
	f := func(again string, want bool) {
		t.Helper()
		var conns, requests atomic.Int64
		url := raw(t, func(c net.Conn) {
			conns.Add(1)
			in := bufio.NewReader(c)
			for _, answer := range []string{"HTTP/1.1 200 OK\r\n\r\n", again} {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if requests.Add(1); r.Close != (requests.Load() == 2) {
					t.Errorf("request %d: close %v", requests.Load(), r.Close)
				}
				if _, _ = c.Write([]byte(answer)); answer == "" {
					return
				}
			}
			_, _ = in.ReadByte()
		})
		p := Probe{URL: url, Unified: true, Expected: status(t, "200")}
		delay, ok, err := p.Run(t.Context(), direct(), Client{})
		if err != nil || ok != want || delay < 1 || conns.Load() != 1 || requests.Load() != 2 {
			t.Errorf("%q: %d, %v, %v; %d connections, %d requests", again, delay, ok, err, conns.Load(), requests.Load())
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", true)
	f("HTTP/1.1 503 No\r\n\r\n", false)
	f("", true)
	f("nonsense\r\n\r\n", true)
}

// TestRunFails meets servers that answer badly or not at all. No error says the URL's path.
func TestRunFails(t *testing.T) {
	leak.Check(t)
	f := func(url string, patience time.Duration, want error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		delay, ok, err := (&Probe{URL: url}).Run(ctx, direct(), Client{})
		if delay != 0 || ok || !errors.Is(err, want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %d, %v, %v; want %v", url, delay, ok, err, want)
		}
	}
	const long, short = time.Minute, 50 * time.Millisecond
	closing := func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }
	endless := func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, err := c.Write([]byte("HTTP/1.1 200 OK\r\nA: "))
		for err == nil {
			_, err = c.Write([]byte(strings.Repeat("a", 1<<10)))
		}
	}
	silent := raw(t, says(""))
	f(raw(t, closing), long, io.ErrUnexpectedEOF)
	f(raw(t, says("HTTP/1.1 nonsense\r\n\r\n")), long, errAnswer)
	f(raw(t, endless), long, errHead)
	f(silent, short, context.DeadlineExceeded)
	deaf := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	f(strings.Replace(deaf, "http:", "https:", 1), short, context.DeadlineExceeded)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	f("http://"+ln.Addr().String()+"/secret", long, syscall.ECONNREFUSED)
	f("http://u:secret@%zz/", long, ErrURL)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := (&Probe{URL: silent}).Run(ctx, direct(), Client{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	reject := outbound.NewReject(outbound.Info{Name: "REJECT"}, flow.ErrRejected)
	if _, _, err := (&Probe{URL: silent}).Run(t.Context(), reject, Client{}); !errors.Is(err, flow.ErrRejected) {
		t.Error(err)
	}
}

// TestDelay measures in a bubble, where time is exact.
func TestDelay(t *testing.T) {
	f := func(dial time.Duration, answers []time.Duration, unified bool, want uint16) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			n := fast("n")
			n.dial, n.answers = dial, answers
			p := Probe{URL: "http://far.test/", Unified: unified}
			if delay, ok, err := p.Run(t.Context(), n, Client{}); delay != want || !ok || err != nil {
				t.Errorf("%v, %v, unified %v: %d, %v, %v; want %d", dial, answers, unified, delay, ok, err, want)
			}
			if n.to != (flow.Addr{Host: "far.test", Port: 80}) {
				t.Errorf("dialed %v", n.to)
			}
		})
	}
	ms := func(d ...time.Duration) []time.Duration {
		for i := range d {
			d[i] *= time.Millisecond
		}
		return d
	}
	f(120*time.Millisecond, ms(30), false, 150)
	f(120*time.Millisecond, ms(30, 20), true, 20)
	f(120*time.Millisecond, ms(30, 200), true, 200)
	f(0, ms(0), false, 1)
	f(900*time.Microsecond, ms(0), false, 1)
	f(time.Second, ms(0), true, 1)
	f(70*time.Second, ms(10), false, 65534)
}

func TestCheckURL(t *testing.T) {
	f := func(s, addr, host, path string) {
		t.Helper()
		u, err := parseURL(s)
		if err != nil || u.addr.String() != addr || u.host != host || u.path != path {
			t.Errorf("%q: %+v, %v", s, u, err)
		}
	}
	f("http://a.test", "a.test:80", "a.test", "/")
	f("HTTPS://A.test.:443/b", "a.test:443", "a.test", "/b")
	f("https://a.test:80/b?", "a.test:80", "a.test:80", "/b?")
	f("http://[2001:db8::1]/x y", "[2001:db8::1]:80", "[2001:db8::1]", "/x%20y")
	f("http://bücher.example:/ü?ü", "xn--bcher-kva.example:80", "xn--bcher-kva.example", "/%C3%BC?%C3%BC")
	bad := func(s string) {
		t.Helper()
		if err := CheckURL(s); !errors.Is(err, ErrURL) || strings.Contains(err.Error(), "tok") {
			t.Errorf("%q: %v", s, err)
		}
	}
	bad("")
	bad("::::tok")
	bad("a.test/tok")
	bad("ftp://a.test/tok")
	bad("http:tok")
	bad("http:///tok")
	bad("http://a.test:0/tok")
	bad("http://a.test:65536/tok")
	bad("http://a.test:tok/")
	bad("http://[fe80::1%25tok]/")
	bad("http://a..tok/")
	bad("http://a.test/tok\r\nX: y")
	bad("http://a.test/" + strings.Repeat("a", maxURL))

	u, _ := parseURL("http://a.test/")
	if got := string(u.request("a\r\nb", true)); got != "HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
