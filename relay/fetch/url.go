package fetch

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// parse reads a URL. Its error is one for all faults, since what the parser says quotes the URL.
func parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || !web(u) {
		return nil, errors.New("not a valid http or https URL")
	}
	return u, nil
}

func web(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// origin is as much of a URL as others may see.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// redirect is where an answer sends those who ask at, or nil where it is no redirect.
func redirect(at *url.URL, answer *http.Response) (*url.URL, error) {
	switch answer.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	to := answer.Header.Get("Location")
	if to == "" {
		return nil, nil
	}
	next, err := at.Parse(to)
	switch {
	case err != nil || !web(next):
		return nil, &said{"redirected to what is not a valid http or https URL"}
	case at.Scheme == "https" && next.Scheme == "http":
		return nil, &said{"redirected from https to http"}
	}
	return next, nil
}

// sameHost says whether two URLs lead to one host and port. The well-known ports of http and https
// count as one, so that a host may send its visitors from the former to the latter.
func sameHost(a, b *url.URL) bool { return authority(a) == authority(b) }

func authority(u *url.URL) string {
	port := u.Port()
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		port = ""
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
