package sharelink

import (
	"cmp"
	"errors"
	"strings"
)

func (l *link) vless() (keys, error) {
	q := l.query
	id, address, ok := cutUser(l.body)
	if ok {
		id = unescape(id)
	} else if inner, is := decodeString(l.body); is { // method:uuid@host:port
		_, id, address, ok = cutMethod(inner)
		q = l.rocketQuery()
	}
	if !ok || id == "" {
		return nil, errors.New("want uuid@host:port")
	}
	k, err := newKeys("vless", address, 0)
	if err != nil {
		return nil, err
	}
	k["uuid"], k["udp"] = id, true
	k.put("flow", strings.ToLower(q.get("flow")))
	if how := q.get("encryption"); how != "none" {
		k.put("encryption", how)
	}
	k.packets(q)
	if err := k.mayTLS(q); err != nil {
		return nil, err
	}
	return k, k.transport(q, "tcp", "http", "ws", "httpupgrade", "h2", "grpc", "xhttp")
}

func (l *link) trojan() (keys, error) {
	k, err := l.withPassword("trojan", 0)
	if err != nil {
		return nil, err
	}
	if l.query.get("plugin") != "" {
		return nil, errors.New("no plugins here")
	}
	q := l.query
	if q.get("type") == "" && q.yes("ws") { // an older way to say it
		q["type"], q["path"] = "ws", q.get("path", "wspath")
	}
	security := strings.ToLower(cmp.Or(q.get("security"), "tls"))
	if err := k.secure(q, security, "sni"); err != nil {
		return nil, err
	}
	return k, k.transport(q, "tcp", "ws", "httpupgrade", "grpc")
}

func (l *link) anytls() (keys, error) {
	k, err := l.withPassword("anytls", 443)
	if err != nil {
		return nil, err
	}
	return k, k.secure(l.query, "tls", "sni")
}

// withPassword reads password@host:port. Of user:password, only the second is of use to anytls;
// trojan has no users, and a colon is part of its password.
func (l *link) withPassword(kind string, port int) (keys, error) {
	password, address, ok := cutUser(l.body)
	if kind == "anytls" {
		if _, after, colon := strings.Cut(password, ":"); colon {
			password = after
		}
	}
	if !ok || password == "" {
		return nil, errors.New("want password@host:port")
	}
	k, err := newKeys(kind, address, port)
	if err != nil {
		return nil, err
	}
	k["password"], k["udp"] = unescape(password), true
	return k, nil
}
