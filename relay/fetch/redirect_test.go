package fetch

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/tests/leak"
)

func TestRedirectCount(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n, _ := strconv.Atoi(r.URL.Path[1:]); n > 0 {
			http.Redirect(w, r, "/"+strconv.Itoa(n-1), http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "here")
	})
	resp, err := Get(t.Context(), &Request{URL: url + "/10"})
	if err != nil || string(resp.Body) != "here" {
		t.Error(err)
	}
	_, err = Get(t.Context(), &Request{URL: url + "/11"})
	if err == nil || err.Error() != url+": more than 10 redirects" {
		t.Error(err)
	}
}

func TestRedirectToPlain(t *testing.T) {
	leak.Check(t)
	plain := start(t, func(http.ResponseWriter, *http.Request) { t.Error("the plain server was asked") })
	away := http.RedirectHandler(plain+"/secret", http.StatusMovedPermanently)
	url, roots := startTLS(t, away.ServeHTTP, false)
	_, err := Get(t.Context(), &Request{URL: url, Roots: roots})
	if err == nil || err.Error() != url+": redirected from https to http" {
		t.Error(err)
	}
}

// TestRedirectKeepsSecrets follows redirects from a host to itself, to another, and back.
func TestRedirectKeepsSecrets(t *testing.T) {
	leak.Check(t)
	var seen []string
	note := func(host string, r *http.Request) {
		h := r.Header
		user, _, _ := r.BasicAuth()
		seen = append(seen, strings.Join([]string{
			host, user, h.Get("Cookie"), h.Get("X-Token"), h.Get("Referer"),
			h.Get("If-None-Match"), r.UserAgent(),
		}, " "))
	}
	var home, other string
	home = start(t, func(w http.ResponseWriter, r *http.Request) {
		note("home", r)
		switch r.URL.Path {
		case "/":
			http.Redirect(w, r, home+"/again", http.StatusMovedPermanently)
		case "/again":
			http.Redirect(w, r, other, http.StatusTemporaryRedirect)
		}
	})
	other = start(t, func(w http.ResponseWriter, r *http.Request) {
		note("other", r)
		http.Redirect(w, r, home+"/end", http.StatusPermanentRedirect)
	})
	_, err := Get(t.Context(), &Request{
		URL:       strings.Replace(home, "://", "://me:pass@", 1) + "/?token=1",
		Header:    http.Header{"Cookie": {"c=1"}, "X-Token": {"t"}},
		UserAgent: "switchyard",
		Have:      Validators{ETag: `"1"`},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`home me c=1 t  "1" switchyard`,
		`home me c=1 t  "1" switchyard`,
		`other     "1" switchyard`,
		`home     "1" switchyard`,
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Error(got)
	}
}

// TestNoAuthorizationElsewhere has the field given by the user, and hosts told apart by name.
func TestNoAuthorizationElsewhere(t *testing.T) {
	var there string
	here := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "a.test") {
			if r.Header.Get("Authorization") != "Bearer 1" {
				t.Error("not sent to its own host")
			}
			http.Redirect(w, r, there, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "["+r.Header.Get("Authorization")+"]")
	})
	addr := strings.TrimPrefix(here, "http://")
	there = "http://sub.a.test/" // net/http counts it as the same
	resp, err := Get(t.Context(), &Request{
		URL:    "http://a.test/",
		Header: http.Header{"Authorization": {"Bearer 1"}},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	if err != nil || string(resp.Body) != "[]" {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestSameHost(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		x, err := url.Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		y, err := url.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if sameHost(x, y) != want {
			t.Errorf("%s, %s: %v", a, b, !want)
		}
	}
	f("http://a/x", "http://A:80/y", true)
	f("http://a/", "https://a:443/", true)
	f("https://[::1]/", "https://[::1]:443/", true)
	f("http://a/", "http://a:8080/", false)
	f("http://a/", "https://a:80/", false)
	f("http://a/", "http://b/", false)
	f("http://a/", "http://sub.a/", false)
}
