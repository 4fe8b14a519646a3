package sharelink

import (
	"encoding/json"
	"errors"
	"strings"
)

// plugin sets the plugin of an ss node.
func (k keys) plugin(q query) error {
	if q.get("shadowtls") != "" {
		return unsupported("plugin", "shadow-tls")
	}
	if packed := q.get("v2rayplugin"); packed != "" {
		return k.packedPlugin(packed)
	}
	name, args := splitPlugin(q.get("plugin"))
	switch name {
	case "", "none":
		return nil
	case "obfs-local", "simple-obfs", "obfs":
		return k.simpleObfs(args)
	case "v2ray-plugin":
		return k.v2rayPlugin(args)
	default:
		return unsupported("plugin", name)
	}
}

func (k keys) simpleObfs(args map[string]string) error {
	mode := args["obfs"]
	if mode != "http" && mode != "tls" {
		return errors.New("the plugin wants obfs=http or obfs=tls")
	}
	opts := keys{"mode": mode}
	opts.put("host", args["obfs-host"])
	k["plugin"], k["plugin-opts"] = "obfs", map[string]any(opts)
	return nil
}

func (k keys) v2rayPlugin(args map[string]string) error {
	if mode := args["mode"]; mode != "" && mode != "websocket" && mode != "ws" {
		return unsupported("v2ray-plugin mode", mode)
	}
	opts := keys{"mode": "websocket"}
	opts.put("host", args["host"])
	opts.put("path", args["path"])
	if value, ok := args["tls"]; ok && (value == "" || truth(value) || value == "tls") { // a bare word is a yes
		opts["tls"] = true
	}
	if truth(args["skip-cert-verify"]) || truth(args["allowInsecure"]) {
		opts["skip-cert-verify"] = true
	}
	if streams := args["mux"]; streams != "" { // a number of streams or a truth value
		opts["mux"] = streams != "0" && streams != "false"
	}
	k["plugin"], k["plugin-opts"] = "v2ray-plugin", map[string]any(opts)
	return nil
}

// packedPlugin reads the options of v2ray-plugin from the base64 of a JSON.
func (k keys) packedPlugin(packed string) error {
	inner, _ := decodeString(packed)
	var args map[string]text
	if json.Unmarshal([]byte(inner), &args) != nil {
		return errors.New("v2ray-plugin is not the base64 of a JSON")
	}
	plain := make(map[string]string, len(args))
	for name, value := range args {
		if value != "" {
			plain[name] = string(value)
		}
	}
	return k.v2rayPlugin(plain)
}

// splitPlugin splits name;key=value;word, where a backslash escapes the next character (SIP003).
func splitPlugin(s string) (name string, args map[string]string) {
	args = make(map[string]string)
	for i, part := range splitEscaped(s, ';', -1) {
		pair := splitEscaped(part, '=', 2)
		key, value := unslash(pair[0]), ""
		if len(pair) == 2 {
			value = unslash(pair[1])
		}
		switch {
		case i == 0:
			name = strings.ToLower(key)
		case key != "":
			args[key] = value
		}
	}
	return name, args
}

// splitEscaped splits s at each sep that has no backslash before it, into at most n parts unless n
// is negative.
func splitEscaped(s string, sep byte, n int) []string {
	var parts []string
	start := 0
	for i := 0; i < len(s) && len(parts)+1 != n; i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// unslash takes the escaping backslashes out.
func unslash(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
