package impl

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/dns/wire"
)

const dohPath = "/dns-query"

// question is the question of the family's samples: fake1.test, type A.
const question = "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05fake1\x04test\x00\x00\x01\x00\x01"

func param(message string) string {
	return "?dns=" + base64.RawURLEncoding.EncodeToString([]byte(message))
}

func TestDoHAnswers(t *testing.T) {
	answer := response(t, []string{"example.test. 57 IN A 192.0.2.7", "example.test. 44 IN A 192.0.2.8"})
	var asked string
	n := &names{answer: func(m []byte) ([]byte, error) {
		asked = string(m)
		return answer, nil
	}}
	_, url := start(t, n, config.Controller{DoHPath: dohPath + "/", Secret: "s3cret"})
	f := func(method, path, contentType, body string) {
		t.Helper()
		asked = ""
		res, got := ask(t, method, url+path, contentType, body)
		h := res.Header
		if res.StatusCode != 200 || got != string(answer) || asked != question || h.Get("Content-Type") != dohType ||
			h.Get("Cache-Control") != "max-age=44" || h.Get("Vary") != "Origin" {
			t.Fatalf("%s %s: %+v %q, asked %q", method, path, res, got, asked)
		}
	}
	f("GET", dohPath+param(question), "", "")
	f("GET", dohPath+param(question)+"%3D%3D", "", "")
	f("GET", dohPath+"/"+param(question), "", "")
	f("GET", dohPath+"/foo"+param(question), "", "")
	f("POST", dohPath, dohType, question)
	f("POST", dohPath, "Application/DNS-message; charset=x", question)
}

func TestDoHFails(t *testing.T) {
	n := &names{}
	_, url := start(t, n, config.Controller{DoHPath: dohPath})
	f := func(err error, method, path, contentType, body string, status int, want string) {
		t.Helper()
		n.answer = func(m []byte) ([]byte, error) {
			if err != nil || len(m) < wire.HeaderSize {
				return nil, err
			}
			return m, nil
		}
		res, got := ask(t, method, url+path, contentType, body)
		h := res.Header
		if res.StatusCode != status || got != want || h.Get("Cache-Control") != "" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Fatalf("%s %s: %+v %q; want %d %q", method, path, res, got, status, want)
		}
	}
	const short = "dns: overflow unpacking uint16"
	f(nil, "GET", dohPath, "", "", 500, short)
	f(nil, "GET", dohPath+"?dns=AAAB", "", "", 500, short)
	f(nil, "GET", dohPath+"?dns=!!!", "", "", 500, "illegal base64 data at input byte 0")
	f(nil, "GET", dohPath+"?dns=AA=A", "", "", 500, "illegal base64 data at input byte 2")
	f(nil, "GET", dohPath+"?dns=%2BA", "", "", 500, "illegal base64 data at input byte 0")
	f(nil, "POST", dohPath, dohType, "", 500, short)
	f(nil, "POST", dohPath, "", question, 500, "invalid content-type")
	f(nil, "POST", dohPath, "application/dns-messages", question, 500, "invalid content-type")
	f(nil, "POST", dohPath, dohType, strings.Repeat("x", dns.MaxQuery+1), 413, "message too large")
	f(dns.ErrDisabled, "GET", dohPath+"?dns=AAAB", "", "", 500, "DNS section is disabled")
	f(errors.New("out of order"), "POST", dohPath, dohType, question, 500, "out of order")
	f(nil, "PUT", dohPath, "", "", 405, "method not allowed")
	f(nil, "DELETE", dohPath+"/x", "", "", 405, "method not allowed")
	f(nil, "HEAD", dohPath, "", "", 405, "")
	// What is larger than anything that a guest may send is not even read.
	n.answer = nil
	if res, _ := ask(t, "POST", url+dohPath, dohType, strings.Repeat("x", maxGuestBody+1)); res.StatusCode != 413 {
		t.Fatalf("%+v", res)
	}
}

// TestDoHIsNotForPages has an API without a secret: neither foreign pages nor foreign names ask it.
func TestDoHIsNotForPages(t *testing.T) {
	n := &names{answer: func(m []byte) ([]byte, error) { return m, nil }}
	c, url := start(t, n, config.Controller{DoHPath: dohPath})
	f := func(host, origin string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+dohPath+param(question), nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Fatalf("%s, %s: %d %v; want %d", host, origin, res.StatusCode, res.Header, want)
		}
	}
	f("", "", 200)
	f("localhost", "http://localhost:8080", 200)
	f("rebound.example", "", 403)
	f("", "https://page.example", 403)
	c.settings.Store(newSettings(&config.Config{Controller: config.Controller{DoHPath: dohPath}}, "s3cret"))
	f("resolver.example", "", 200)
	f("resolver.example", "https://page.example", 200) // which cannot read it
}

// TestDoHPathIsExact leaves all other paths to the API.
func TestDoHPathIsExact(t *testing.T) {
	n := &names{answer: func(m []byte) ([]byte, error) { return m, nil }}
	c, url := start(t, n, config.Controller{DoHPath: dohPath})
	f := func(path string) {
		t.Helper()
		if res, body := ask(t, "GET", url+path+param(question), "", ""); res.StatusCode != 404 {
			t.Fatalf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	f("/dns-queryx")
	f("/dns")
	f("/dns%2Dquery")
	f("/Dns-query")
	c.settings.Store(new(settings))
	f(dohPath)
}

func TestDoHIsBounded(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	n := &names{answer: func(m []byte) ([]byte, error) {
		begun <- struct{}{}
		<-end
		return m, nil
	}}
	c, url := start(t, n, config.Controller{DoHPath: dohPath})
	c.questions = make(chan struct{}, 2)
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			if res, _ := ask(t, "GET", url+dohPath+param(question), "", ""); res.StatusCode != 200 {
				t.Errorf("%+v", res)
			}
		})
		<-begun
	}
	if res, body := ask(t, "GET", url+dohPath+param(question), "", ""); res.StatusCode != 503 || body != "too many questions" {
		t.Errorf("%+v %s", res, body)
	}
	close(end)
	asking.Wait()
	go func() { <-begun }()
	if res, _ := ask(t, "GET", url+dohPath+param(question), "", ""); res.StatusCode != 200 {
		t.Errorf("%+v", res)
	}
}

func TestKeepFor(t *testing.T) {
	f := func(want uint32, code byte, sections ...[]string) {
		t.Helper()
		m := response(t, sections...)
		m[3] |= code
		before := bytes.Clone(m)
		if got := keepFor(m); got != want || !bytes.Equal(m, before) {
			t.Fatalf("%v: %d; want %d", sections, got, want)
		}
	}
	f(44, wire.Success, []string{"example.test. 57 IN A 192.0.2.7", "example.test. 44 IN A 192.0.2.8"})
	f(1, wire.Success, []string{"example.test. 1 IN A 198.18.0.4"})
	soa := []string{"test. 30 IN SOA ns.test. admin.test. 1 2 3 4 5"}
	f(5, wire.Success, nil, soa)
	f(5, wire.NameError, nil, soa)
	f(0, wire.Success)
	f(0, wire.ServerFailure)
	f(0, wire.ServerFailure, []string{"example.test. 57 IN A 192.0.2.7"})
}

func TestCheckDoH(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		c := &config.Config{Controller: config.Controller{DoHPath: path}}
		err := Check(c)
		if want == "" {
			if err != nil {
				t.Fatalf("%q: %v", path, err)
			}
			return
		}
		var invalid *config.Invalid
		if !errors.As(err, &invalid) || invalid.Diagnostics[0].Path != "external-doh-server" || !strings.Contains(err.Error(), want) {
			t.Fatalf("%q: %v; want %s", path, err, want)
		}
		ctl := New(Options{Relay: &names{}, Hub: testHub()})
		defer ctl.Stop()
		if _, err := ctl.Prepare(nil, c); !errors.As(err, &invalid) {
			t.Fatalf("%q is prepared: %v", path, err)
		}
	}
	f("", "")
	f("/dns-query", "")
	f("/dns-query/", "")
	f("/a1/dns_query~.x/y", "")
	f("/proxy", "")
	for _, path := range []string{"/proxies", "/proxies/x", "/dns", "/dns/query", "/cache/", "/configs", "/rules/doh", "/ui/doh", "/debug", "/version", "/logs/"} {
		f(path, "belongs to the API")
	}
	for _, path := range []string{"/", "//", "dns-query", "https://dns.test/dns-query", "//dns-query", "/a//b", "/a/../proxies", "/./a", "/dns query", "/dns?x", "/%64ns", "/дns", "/{name}"} {
		f(path, "want a path such as /dns-query")
	}
}

// FuzzDecodeDoH gives back what was encoded, and never more than it was given.
func FuzzDecodeDoH(f *testing.F) {
	for _, s := range []string{"", "AAAB", "AAA=", "A===", "!!!", "_-8", base64.RawURLEncoding.EncodeToString([]byte(question))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, err := decodeDoH(p); err == nil && len(m) > len(p) {
			t.Fatalf("%q: %d bytes", p, len(m))
		}
		if m, err := decodeDoH([]byte(base64.URLEncoding.EncodeToString(p))); err != nil || !bytes.Equal(m, p) {
			t.Fatalf("%q: %q, %v", p, m, err)
		}
	})
}

// FuzzKeepFor has an answer of anybody: it is not changed, and kept for a week at most.
func FuzzKeepFor(f *testing.F) {
	f.Add([]byte(question))
	f.Add(response(f, []string{"example.test. 57 IN A 192.0.2.7"}))
	f.Add(response(f, nil, []string{"test. 30 IN SOA ns.test. admin.test. 1 2 3 4 5"}))
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		if n := keepFor(p); n > 7*24*3600 || !bytes.Equal(p, before) {
			t.Fatalf("%d seconds, %q was %q", n, p, before)
		}
	})
}
