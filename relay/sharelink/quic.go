package sharelink

import (
	"errors"
	"strconv"
	"strings"
)

func (l *link) hysteria2() (keys, error) {
	password, address, _ := cutUser(l.body)
	k, err := hopping("hysteria2", address, l.query)
	if err != nil {
		return nil, err
	}
	k["udp"] = true
	k.put("password", unescape(password))
	if password == "" {
		k.put("password", l.query.get("auth", "password"))
	}
	if obfs := strings.ToLower(l.query.get("obfs")); obfs != "" && obfs != "none" {
		k["obfs"] = obfs
		k.put("obfs-password", l.query.get("obfspassword"))
	}
	k.put("up", l.query.get("upmbps", "up"))
	k.put("down", l.query.get("downmbps", "down"))
	k.tls(l.query, "sni")
	return k, nil
}

func (l *link) hysteria() (keys, error) {
	user, address, _ := cutUser(l.body)
	k, err := hopping("hysteria", address, l.query)
	if err != nil {
		return nil, err
	}
	k.put("auth-str", unescape(user))
	k.put("auth-str", l.query.get("auth", "authstr"))
	k.put("protocol", l.query.get("protocol"))
	k.put("up", l.query.get("upmbps", "up"))
	k.put("down", l.query.get("downmbps", "down"))
	// A link names the way of obfuscation and its password, a configuration the password only.
	if way := l.query.get("obfs"); way != "xplus" && way != "none" {
		k.put("obfs", way)
	}
	k.put("obfs", l.query.get("obfsparam"))
	k.tls(l.query, "sni")
	return k, nil
}

// hopping starts a node whose port may be a list of ports and ranges, in the address or beside it.
func hopping(kind, address string, q query) (keys, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	ports := q.get("mport", "ports")
	if strings.ContainsAny(port, ",-") {
		if ports == "" {
			ports = port
		}
		port = port[:strings.IndexAny(port, ",-")]
	}
	if port == "" {
		port = "443"
	}
	k, err := keysAt(kind, host, port)
	if err != nil || ports == "" {
		return k, err
	}
	if err := checkPorts(ports); err != nil {
		return nil, err
	}
	k["ports"] = ports
	if every := q.get("hopinterval", "mporthopint"); every != "" {
		n, err := strconv.ParseUint(every, 10, 31)
		if err != nil {
			return nil, errors.New("the hop interval is no number")
		}
		k["hop-interval"] = int(n)
	}
	return k, nil
}

func checkPorts(list string) error {
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := parsePort(low)
		if err != nil {
			return err
		}
		if !isRange {
			continue
		}
		last, err := parsePort(high)
		if err != nil {
			return err
		}
		if last < first {
			return errors.New("a range of ports goes backwards")
		}
	}
	return nil
}

// tuic reads version 5, which has a UUID and a password, and version 4, which has a token.
func (l *link) tuic() (keys, error) {
	user, address, _ := cutUser(l.body)
	k, err := newKeys("tuic", address, 0)
	if err != nil {
		return nil, err
	}
	id, password, colon := strings.Cut(user, ":")
	id, password = unescape(id), unescape(password)
	if !colon { // or the colon is escaped, too
		id, password, _ = strings.Cut(id, ":")
	}
	if id == "" {
		id = l.query.get("uuid")
	}
	if password == "" {
		password = l.query.get("password")
	}
	switch token := l.query.get("token"); {
	case token != "":
		k["token"] = token
	case id != "" && password != "":
		k["uuid"], k["password"] = id, password
	case id != "":
		k["token"] = id
	default:
		return nil, errors.New("want uuid:password or a token")
	}
	k["udp"] = true
	k.put("congestion-controller", l.query.get("congestioncontrol", "congestioncontroller"))
	k.put("udp-relay-mode", l.query.get("udprelaymode"))
	if l.query.yes("disablesni") {
		k["disable-sni"] = true
	}
	if l.query.yes("reducertt", "zerortthandshake", "zerortt") {
		k["reduce-rtt"] = true
	}
	k.tls(l.query, "sni")
	return k, nil
}
