package sharelink

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// secure sets the keys of TLS or REALITY, but for tls itself. sni is the key of the server's name.
func (k keys) secure(q query, security, sni string) error {
	switch security {
	case "tls":
	case "reality":
		public := q.get("pbk")
		if public == "" {
			return errors.New("REALITY has no pbk")
		}
		reality := map[string]any{"public-key": public}
		if id := q.get("sid"); id != "" {
			reality["short-id"] = id
		}
		k["reality-opts"] = reality
		k["client-fingerprint"] = "chrome" // it needs one
	default:
		return unsupported("security", security)
	}
	k.tls(q, sni)
	k.put("client-fingerprint", q.get("fp"))
	return nil
}

// tls sets the keys that every kind of TLS has, that of QUIC too.
func (k keys) tls(q query, sni string) {
	k.put(sni, q.get("sni", "peer", "servername"))
	k.list("alpn", q.get("alpn"))
	k.put("fingerprint", q.get("pinsha256", "pcs", "hpkp"))
	if q.yes("insecure", "allowinsecure", "skipcertverify") {
		k["skip-cert-verify"] = true
	}
}

// network is the transport that q asks for, by the name a configuration has for it; "" is none.
func (q query) network() string {
	name := strings.ToLower(q.get("type", "network"))
	switch name {
	case "", "none", "tcp", "raw", "original":
		if strings.EqualFold(q.get("headertype"), "http") {
			return "http"
		}
		if name == "" {
			return ""
		}
		return "tcp"
	case "http": // so links call HTTP/2
		return "h2"
	case "websocket":
		return "ws"
	case "splithttp":
		return "xhttp"
	}
	return name
}

// transport sets network and its options. can holds the transports of the node's type.
func (k keys) transport(q query, can ...string) error {
	network := q.network()
	if network == "" {
		return nil
	}
	if !slices.Contains(can, network) {
		return unsupported("transport", network)
	}
	k["network"] = network
	opts := make(keys)
	switch network {
	case "ws", "httpupgrade":
		opts.ws(q, network == "httpupgrade")
		network = "ws"
		k["network"] = network
	case "grpc":
		opts.put("grpc-service-name", q.get("servicename", "path"))
	case "h2":
		opts.list("host", q.get("host"))
		opts.put("path", q.get("path"))
	case "http":
		opts.list("path", q.get("path"))
		if hosts := splitList(q.get("host")); len(hosts) > 0 {
			opts["headers"] = map[string]any{"Host": hosts}
		}
	case "xhttp":
		if err := opts.xhttp(q); err != nil {
			return err
		}
	}
	if len(opts) > 0 {
		k[network+"-opts"] = map[string]any(opts)
	}
	return nil
}

func (k keys) ws(q query, upgrade bool) {
	path, early := cutEarlyData(q.get("path"))
	if n, err := strconv.ParseUint(q.get("ed"), 10, 16); err == nil {
		early = int(n)
	}
	k.put("path", path)
	if host := q.get("host"); host != "" {
		k["headers"] = map[string]string{"Host": host}
	}
	switch {
	case upgrade:
		k["v2ray-http-upgrade"] = true
		if early > 0 {
			k["v2ray-http-upgrade-fast-open"] = true
		}
	case early > 0:
		k["max-early-data"] = early
		k["early-data-header-name"] = "Sec-WebSocket-Protocol"
		k.put("early-data-header-name", q.get("eh"))
	}
}

// cutEarlyData takes ed=N, the bytes of early data, out of the query of a path.
func cutEarlyData(path string) (string, int) {
	path, raw, _ := strings.Cut(path, "?")
	early := 0
	var rest []string
	for part := range strings.SplitSeq(raw, "&") {
		if value, ok := strings.CutPrefix(part, "ed="); ok {
			if n, err := strconv.ParseUint(value, 10, 16); err == nil {
				early = int(n)
				continue
			}
		}
		if part != "" {
			rest = append(rest, part)
		}
	}
	if len(rest) > 0 {
		path += "?" + strings.Join(rest, "&")
	}
	return path, early
}

// xhttp also reads extra, a JSON of which it takes what changes what the server sees.
func (k keys) xhttp(q query) error {
	k.put("path", q.get("path"))
	k.put("host", q.get("host"))
	k.put("mode", q.get("mode"))
	raw := q.get("extra")
	if raw == "" {
		return nil
	}
	var extra struct {
		Headers       map[string]text
		NoGRPCHeader  bool
		XPaddingBytes text
	}
	if json.Unmarshal([]byte(raw), &extra) != nil {
		return errors.New("extra is no JSON we know")
	}
	if len(extra.Headers) > 0 {
		headers := make(map[string]string, len(extra.Headers))
		for name, value := range extra.Headers {
			headers[name] = string(value)
		}
		k["headers"] = headers
	}
	if extra.NoGRPCHeader {
		k["no-grpc-header"] = true
	}
	k.put("x-padding-bytes", string(extra.XPaddingBytes))
	return nil
}
