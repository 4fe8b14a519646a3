package sharelink

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
)

// vmess reads the three forms: uuid@host:port with a query, and the base64 of a JSON or of
// method:uuid@host:port.
func (l *link) vmess() (keys, error) {
	if user, address, ok := cutUser(l.body); ok {
		return vmessNode(unescape(user), address, l.query)
	}
	inner, ok := decodeString(l.body)
	if !ok {
		return nil, errors.New("want base64 or uuid@host:port")
	}
	if inner = strings.TrimSpace(inner); strings.HasPrefix(inner, "{") {
		return l.vmessJSON(inner)
	}
	method, id, address, ok := cutMethod(inner)
	if !ok {
		return nil, errors.New("the base64 holds neither JSON nor method:uuid@host:port")
	}
	q := l.rocketQuery()
	q["encryption"] = method
	return vmessNode(id, address, q)
}

func vmessNode(id, address string, q query) (keys, error) {
	k, err := newKeys("vmess", address, 0)
	if err != nil {
		return nil, err
	}
	return k, k.vmess(id, q)
}

func (k keys) vmess(id string, q query) error {
	if id == "" || strings.ContainsAny(id, ":@ ") {
		return errors.New("want a UUID as the user")
	}
	alter := 0
	if aid := q.get("alterid", "aid"); aid != "" {
		n, err := strconv.ParseUint(aid, 10, 16)
		if err != nil {
			return errors.New("the alterId is no number")
		}
		alter = int(n)
	}
	k["uuid"], k["alterId"], k["cipher"], k["udp"] = id, alter, "auto", true
	k.put("cipher", strings.ToLower(q.get("encryption")))
	k.packets(q)
	if err := k.mayTLS(q); err != nil {
		return err
	}
	return k.transport(q, "tcp", "http", "ws", "httpupgrade", "h2", "grpc")
}

// cutMethod cuts method:uuid@host:port.
func cutMethod(s string) (method, id, address string, ok bool) {
	user, address, ok := cutUser(s)
	method, id, colon := strings.Cut(user, ":")
	return method, id, address, ok && colon
}

// rocketQuery is the query of a link whose address is in base64, with the names that the other links
// use.
func (l *link) rocketQuery() query {
	q := maps.Clone(l.query)
	switch obfs := strings.ToLower(q["obfs"]); obfs {
	case "", "none":
	case "http":
		q["type"], q["headertype"] = "tcp", "http"
	default:
		q["type"] = obfs
	}
	if host := q.get("obfsparam"); host != "" && q["host"] == "" {
		var headers struct{ Host text }
		if json.Unmarshal([]byte(host), &headers) == nil {
			host = string(headers.Host)
		}
		q["host"] = host
	}
	if q["security"] == "" && q.yes("tls") {
		q["security"] = "tls"
		if q["pbk"] != "" {
			q["security"] = "reality"
		}
	}
	if q["flow"] == "" && q["xtls"] == "2" {
		q["flow"] = "xtls-rprx-vision"
	}
	return q
}

// vmessJSON reads the form of v2rayN.
func (l *link) vmessJSON(s string) (keys, error) {
	var v struct {
		PS, Add, Port, ID, Aid, Scy, Security, Net, Type, Host, Path text
		TLS, SNI, ALPN, FP, PBK, SID, Insecure, AllowInsecure        text
		SkipCertVerify                                               text `json:"skip-cert-verify"`
	}
	if json.NewDecoder(bytes.NewReader([]byte(s))).Decode(&v) != nil {
		return nil, errors.New("the JSON does not parse")
	}
	if name := CleanName(string(v.PS)); name != "" {
		l.name = name
	}
	for _, need := range []struct {
		key   string
		value text
	}{{"add", v.Add}, {"port", v.Port}, {"id", v.ID}} {
		if need.value == "" {
			return nil, errors.New("the JSON has no " + need.key)
		}
	}
	k, err := keysAt("vmess", strings.Trim(string(v.Add), "[] "), strings.TrimSpace(string(v.Port)))
	if err != nil {
		return nil, err
	}
	q := query{
		"encryption": string(v.Scy), "aid": string(v.Aid), "type": string(v.Net), "headertype": string(v.Type),
		"host": string(v.Host), "path": string(v.Path), "sni": string(v.SNI), "alpn": string(v.ALPN),
		"fp": string(v.FP), "pbk": string(v.PBK), "sid": string(v.SID), "insecure": string(v.Insecure),
		"allowinsecure": string(v.AllowInsecure), "skipcertverify": string(v.SkipCertVerify),
		"security": string(v.TLS),
	}
	if v.Scy == "" {
		q["encryption"] = string(v.Security)
	}
	return k, k.vmess(strings.TrimSpace(string(v.ID)), q)
}

// mayTLS sets tls and its keys where the link asks for it.
func (k keys) mayTLS(q query) error {
	security := strings.ToLower(q.get("security"))
	switch {
	case security == "" || security == "none" || security == "0" || security == "false":
		return nil
	case truth(security):
		security = "tls"
	}
	k["tls"] = true
	return k.secure(q, security, "servername")
}

// packets sets how UDP is packed.
func (k keys) packets(q query) {
	switch how := strings.ToLower(q.get("packetencoding")); how {
	case "packet", "packetaddr":
		k["packet-encoding"] = "packetaddr"
	case "xudp":
		k["packet-encoding"] = how
	}
}
