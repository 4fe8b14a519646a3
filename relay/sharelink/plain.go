package sharelink

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

func (l *link) socks() (keys, error) {
	k, err := l.proxy("socks5")
	if err != nil {
		return nil, err
	}
	k["udp"] = true
	if l.query.yes("tls") {
		k["tls"] = true
		k.tls(l.query, "sni")
	}
	return k, nil
}

// bare says whether the link may as well be the address of a page: it has no user and no name.
func (l *link) bare() bool {
	return (l.scheme == "http" || l.scheme == "https") && l.name == "" && !strings.Contains(l.body, "@")
}

func (l *link) http() (keys, error) {
	k, err := l.proxy("http")
	if err != nil {
		return nil, err
	}
	if l.scheme == "https" || l.query.yes("tls") {
		k["tls"] = true
		k.tls(l.query, "sni")
	}
	return k, nil
}

// proxy reads user:password@host:port, where the first two, or all of it, may be in base64. A port
// is wanted and a path is not, since lists hold links to web pages, too.
func (l *link) proxy(kind string) (keys, error) {
	body := strings.TrimSuffix(l.body, "/")
	if !strings.ContainsAny(body, "@:") {
		if inner, ok := decodeString(body); ok && strings.Contains(inner, ":") {
			body = inner
		}
	}
	user, address, _ := cutUser(body)
	if strings.Contains(address, "/") {
		return nil, errors.New("a proxy has no path")
	}
	k, err := newKeys(kind, address, 0)
	if err != nil {
		return nil, err
	}
	name, password := cutCredentials(user)
	k.put("username", name)
	k.put("password", password)
	return k, nil
}

// cutCredentials cuts user:password, in base64 or not.
func cutCredentials(user string) (name, password string) {
	name, password, ok := strings.Cut(user, ":")
	name, password = unescape(name), unescape(password)
	if ok {
		return name, password
	}
	inner, ok := decodeString(name)
	if ok && utf8.ValidString(inner) && !strings.ContainsFunc(inner, unicode.IsControl) {
		if n, p, ok := strings.Cut(inner, ":"); ok {
			return n, p
		}
	}
	return name, ""
}
