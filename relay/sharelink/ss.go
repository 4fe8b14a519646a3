package sharelink

import (
	"errors"
	"strings"
)

// ss reads SIP002, where method:password is in base64 or escaped, and the older form, where
// method:password@host:port is in base64.
func (l *link) ss() (keys, error) {
	user, address, ok := cutUser(l.body)
	if !ok {
		inner, is := decodeString(strings.TrimSuffix(l.body, "/"))
		if user, address, ok = cutUser(inner); !is || !ok {
			return nil, errors.New("want method:password@host:port")
		}
	} else if user = unescape(user); !strings.Contains(user, ":") {
		user, _ = decodeString(user)
	}
	method, password, ok := strings.Cut(user, ":")
	method = strings.ToLower(strings.TrimSpace(method))
	if !ok || method == "" {
		return nil, errors.New("want method:password")
	}
	if password == "" && method != "none" && method != "plain" {
		return nil, errors.New("no password")
	}
	k, err := newKeys("ss", address, 0)
	if err != nil {
		return nil, err
	}
	k["cipher"], k["password"], k["udp"] = method, password, true
	if l.query.yes("uot", "udpovertcp") {
		k["udp-over-tcp"] = true
	}
	if security := strings.ToLower(l.query.get("security")); security != "" && security != "none" {
		return nil, unsupported("security", security)
	}
	if network := l.query.network(); network != "" && network != "tcp" {
		return nil, unsupported("transport", network)
	}
	return k, k.plugin(l.query)
}

// ssr reads the base64 of host:port:protocol:method:obfs:password/?query, where the password and
// the values of the query are in base64 once more.
func (l *link) ssr() (keys, error) {
	inner, ok := decodeString(strings.TrimSuffix(l.body, "/"))
	if !ok {
		return nil, errors.New("not base64")
	}
	body, raw, _ := strings.Cut(inner, "?")
	q := parseQuery(raw)
	for key, value := range q {
		q[key], _ = decodeString(value)
	}
	if name := CleanName(q["remarks"]); name != "" {
		l.name = name
	}
	parts := strings.Split(strings.TrimSuffix(body, "/"), ":")
	n := len(parts)
	if n < 6 {
		return nil, errors.New("want host:port:protocol:method:obfs:password")
	}
	host := strings.Trim(strings.Join(parts[:n-5], ":"), "[]") // of IPv6
	k, err := keysAt("ssr", host, parts[n-5])
	if err != nil {
		return nil, err
	}
	password, ok := decodeString(parts[n-1])
	if !ok {
		return nil, errors.New("the password is not base64")
	}
	for i, key := range []string{"protocol", "cipher", "obfs"} {
		if parts[n-4+i] == "" {
			return nil, errors.New("no " + key)
		}
		k[key] = strings.ToLower(parts[n-4+i])
	}
	k["password"], k["udp"] = password, true
	k.put("obfs-param", q["obfsparam"])
	k.put("protocol-param", q["protoparam"])
	return k, nil
}
