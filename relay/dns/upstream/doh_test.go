package upstream

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/dns/nameserver"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestHTTP2(t *testing.T) {
	suite(t, func(t testing.TB) *peer { return startHTTP(t, nameserver.HTTPS, 2) })
}

func TestHTTP1(t *testing.T) {
	suite(t, func(t testing.TB) *peer { return startHTTP(t, nameserver.HTTPS, 1) }, oneByOne)
}

func TestHTTPPlain(t *testing.T) {
	suite(t, func(t testing.TB) *peer { return startHTTP(t, nameserver.HTTP, 1) }, oneByOne, withoutTLS)
}

// startHTTP runs a DoH server that speaks the version alone.
func startHTTP(t testing.TB, scheme nameserver.Scheme, version int) *peer {
	var to net.Addr
	p := newPeer(t, scheme, &to)
	s := httptest.NewUnstartedServer(p.handler(t, version))
	kept := &keeping{Listener: accepting{s.Listener, &p.accepts}}
	to, s.Listener = s.Listener.Addr(), kept
	s.EnableHTTP2 = version == 2
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	s.TLS = p.tls()
	if scheme == nameserver.HTTPS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	t.Cleanup(kept.drop)
	p.restart = kept.drop
	return p
}

// handler answers what is asked as RFC 8484 wants it.
func (p *peer) handler(t testing.TB, version int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		q := new(dns.Msg)
		switch {
		case err != nil || q.Unpack(body) != nil || q.Id != 0 || len(body)%padBlock != 0:
			t.Errorf("the body is %x, %v", body, err)
		case r.Method != http.MethodPost || r.ProtoMajor != version || r.URL.RequestURI() != "/dns-query?"+secret ||
			r.Host != "127.0.0.1:1" && r.Host != "other.test:1":
			t.Errorf("%s %s %s of %s", r.Method, r.URL, r.Proto, r.Host)
		case r.Header.Get("Content-Type") != mediaType || r.Header.Get("Accept") != mediaType || r.ContentLength < 1:
			t.Errorf("fields %v", r.Header)
		}
		for _, name := range []string{"User-Agent", "Accept-Encoding", "Cookie", "Referer"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s is sent: %v", name, r.Header)
			}
		}
		w.Header().Set("Content-Type", mediaType)
		w.Write(p.answer(q))
	})
}

// handle runs a DoH server of HTTP/2 with h for all.
func handle(t *testing.T, h http.HandlerFunc) *peer {
	var to net.Addr
	p := newPeer(t, nameserver.HTTPS, &to)
	s := httptest.NewUnstartedServer(h)
	to, s.EnableHTTP2, s.TLS = s.Listener.Addr(), true, p.tls()
	s.StartTLS()
	t.Cleanup(s.Close)
	return p
}

func TestHTTPAnswers(t *testing.T) {
	f := func(want string, h http.HandlerFunc) {
		t.Helper()
		p := handle(t, h)
		_, err := use(t, p).Exchange(limited(t), ask(t, "a.test", 5))
		checkError(t, p.server, err)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %q: want one with %q", err, want)
		}
	}
	leak.Check(t)
	reply := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		q.Unpack(body)
		w.Write(packed(good(q)))
	}
	f("status 500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, 500) })
	f("status 307", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/elsewhere") {
			t.Error("a redirect is followed")
		}
		http.Redirect(w, r, "/elsewhere?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
	})
	f("content type", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		reply(w, r)
	})
	f("content type", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		reply(w, r)
	})
	large := bytes.Repeat([]byte("0"), 1<<16)
	f("larger", func(w http.ResponseWriter, _ *http.Request) { // it says so
		w.Header().Set("Content-Type", mediaType)
		w.Write(large)
	})
	f("larger", func(w http.ResponseWriter, _ *http.Request) { // it does not end
		w.Header().Set("Content-Type", mediaType)
		for {
			if _, err := w.Write(large); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	f("", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	// Fields without end, which quote what is secret.
	f("", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("X", strings.Repeat(r.URL.RawQuery, maxHeader))
		reply(w, r)
	})
}

// A server of HTTP/1.1 that makes no sense is not quoted.
func TestHTTPQuotesNothing(t *testing.T) {
	leak.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ln.Addr()
	p := newPeer(t, nameserver.HTTP, &to)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.ReadFull(c, make([]byte, 16))
		io.WriteString(c, "echo "+secret+"\r\n\r\n")
		io.Copy(io.Discard, c)
	}()
	_, err = use(t, p).Exchange(limited(t), ask(t, "a.test", 5))
	checkError(t, p.server, err)
}

func TestHTTPUser(t *testing.T) {
	leak.Check(t)
	p := handle(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || user != "me" || password != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		q.Unpack(body)
		w.Header().Set("Content-Type", mediaType+"; charset=binary")
		w.Write(packed(good(q)))
	})
	p.server.User = url.UserPassword("me", secret)
	query := ask(t, "a.test", 5)
	resp, err := use(t, p).Exchange(limited(t), query)
	checkAnswer(t, query, resp, err)
	p.server.User = url.UserPassword("me", "wrong")
	_, err = use(t, p).Exchange(limited(t), query)
	checkError(t, p.server, err)
}

func TestHTTPHost(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		s, err := nameserver.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		o := newHTTP(s, Config{})
		defer o.Close()
		if o.host != want {
			t.Errorf("%s: host %q; want %q", text, o.host, want)
		}
	}
	// The port that goes without saying is not said.
	f("https://dns.test/dns-query", "dns.test")
	f("http://dns.test/dns-query", "dns.test")
	f("https://dns.test:8443/dns-query", "dns.test:8443")
	f("http://dns.test:443/dns-query", "dns.test:443")
	f("https://[2001:db8::1]/dns-query", "[2001:db8::1]")
	f("https://192.0.2.1:80", "192.0.2.1:80")
}

// deaf is a connection that loses everything once it is cut.
type deaf struct {
	net.Conn
	cut *atomic.Bool
}

func (d deaf) Write(p []byte) (int, error) {
	if d.cut.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// A connection whose path is gone is noticed, and replaced, while an exchange waits.
func TestHTTP2Silence(t *testing.T) {
	leak.Check(t)
	p := startHTTP(t, nameserver.HTTPS, 2)
	var cut atomic.Bool
	dial := p.config.Dial
	p.config.Dial = func(ctx context.Context, network string, to flow.Addr) (net.Conn, error) {
		c, err := dial(ctx, network, to)
		if p.dials.Load() > 1 {
			return c, err
		}
		return deaf{c, &cut}, err
	}
	u := use(t, p)
	o := u.(*overHTTP)
	o.dialer.HTTP2.SendPingTimeout, o.dialer.HTTP2.PingTimeout = 100*time.Millisecond, 100*time.Millisecond
	query := ask(t, "a.test", 5)
	for range 2 {
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
		cut.Store(true)
	}
	if n := p.accepts.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Connections that nobody uses are closed.
func TestHTTPIdle(t *testing.T) {
	leak.Check(t)
	for version := 1; version <= 2; version++ {
		p := startHTTP(t, nameserver.HTTPS, version)
		u := use(t, p)
		u.(*overHTTP).tcp.idle = 20 * time.Millisecond
		query := ask(t, "a.test", 5)
		resp, err := u.Exchange(limited(t), query)
		checkAnswer(t, query, resp, err)
		await(t, func() bool { return p.open.Load() == 0 })
	}
}
