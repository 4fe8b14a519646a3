package sharelink

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A link is scheme://body?query#name.
type link struct {
	scheme string
	body   string // as written
	query  query
	name   string // clean
}

func split(scheme, rest string) *link {
	rest, name, _ := strings.Cut(rest, "#")
	body, raw, _ := strings.Cut(rest, "?")
	l := &link{scheme: scheme, body: body, query: parseQuery(raw)}
	l.name = CleanName(unescape(name))
	if l.name == "" {
		l.name = CleanName(l.query.get("remarks", "remark"))
	}
	return l
}

// query holds a link's parameters by their plain names: small letters, without - and _, because
// links spell them in every way (allowInsecure, allow_insecure). Of equal ones the first counts.
type query map[string]string

var plainName = strings.NewReplacer("-", "", "_", "")

// parseQuery differs from url.ParseQuery, which refuses the ; of plugin options and turns the + of
// base64 into a blank.
func parseQuery(s string) query {
	q := make(query)
	for part := range strings.SplitSeq(s, "&") {
		key, value, _ := strings.Cut(strings.TrimPrefix(part, "amp;"), "=") // of &amp; in web pages
		key = plainName.Replace(strings.ToLower(unescape(key)))
		if _, have := q[key]; key != "" && !have {
			q[key] = strings.TrimSpace(unescape(value))
		}
	}
	return q
}

// get returns the first of names that is not empty.
func (q query) get(names ...string) string {
	for _, name := range names {
		if v := q[name]; v != "" {
			return v
		}
	}
	return ""
}

// yes says whether one of names is set to a true value.
func (q query) yes(names ...string) bool {
	for _, name := range names {
		if truth(q[name]) {
			return true
		}
	}
	return false
}

func truth(s string) bool {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "on":
		return true
	}
	return false
}

// keys are those of a node.
type keys map[string]any

// put sets key unless value is empty.
func (k keys) put(key, value string) {
	if value != "" {
		k[key] = value
	}
}

// list sets key to the parts between the commas of value, unless there is none.
func (k keys) list(key, value string) {
	if parts := splitList(value); len(parts) > 0 {
		k[key] = parts
	}
}

// newKeys starts a node at an address host:port. The port may be missing where standard is not 0.
func newKeys(kind, address string, standard int) (keys, error) {
	host, port, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if port == "" && standard != 0 {
		port = strconv.Itoa(standard)
	}
	return keysAt(kind, host, port)
}

func keysAt(kind, host, port string) (keys, error) {
	if err := checkHost(host); err != nil {
		return nil, err
	}
	n, err := parsePort(port)
	if err != nil {
		return nil, err
	}
	return keys{"type": kind, "server": host, "port": n}, nil
}

// cutUser cuts at the last @, because passwords are not always escaped as they should be.
func cutUser(body string) (user, address string, ok bool) {
	at := strings.LastIndexByte(body, '@')
	if at < 0 {
		return "", body, false
	}
	return body[:at], body[at+1:], true
}

// splitAddress splits host:port, or [IPv6]:port; what follows a slash is no part of it. The port
// may be missing.
func splitAddress(s string) (host, port string, err error) {
	s, _, _ = strings.Cut(s, "/")
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, port, ok = strings.Cut(rest, "]")
		if ip, err := netip.ParseAddr(unescape(host)); !ok || err != nil || !ip.Is6() {
			return "", "", errors.New("the host in brackets is no IPv6 address")
		}
		if port != "" && port[0] != ':' {
			return "", "", errors.New("want a colon after the brackets")
		}
		return unescape(host), strings.TrimPrefix(port, ":"), nil
	}
	host, port, _ = strings.Cut(s, ":")
	if strings.Contains(port, ":") {
		return "", "", errors.New("want host:port, with an IPv6 host in brackets")
	}
	return unescape(host), port, nil
}

func checkHost(host string) error {
	if host == "" {
		return errors.New("no host")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	bad := func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r) || unicode.IsSpace(r) ||
			strings.ContainsRune("\"#%&'(),/:;<=>?@[\\]^`{|}", r)
	}
	if len(host) > 253 || strings.ContainsFunc(host, bad) {
		return errors.New("the host is no name or address")
	}
	return nil
}

func parsePort(s string) (int, error) {
	if s == "" {
		return 0, errors.New("no port")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("want a port of 1-65535")
	}
	return int(n), nil
}

// unescape decodes %XX. Unlike url.PathUnescape it keeps a % that stands for itself.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// decode reads base64 of either alphabet, padded or not, with blanks in it or not.
func decode(s []byte) ([]byte, bool) {
	var plain []byte
	ended := false
	for _, c := range s {
		switch {
		case c == '\n' || c == '\r' || c == ' ' || c == '\t':
			continue
		case c == '=':
			ended = true
			continue
		case ended: // something follows the padding
			return nil, false
		case c == '-':
			c = '+'
		case c == '_':
			c = '/'
		case !isBase64(c):
			return nil, false
		}
		plain = append(plain, c)
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	n, err := base64.RawStdEncoding.Decode(out, plain)
	return out[:n], err == nil && n > 0
}

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

func decodeString(s string) (string, bool) {
	b, ok := decode([]byte(s))
	return string(b), ok
}

// splitList splits at commas and leaves empty parts out.
func splitList(s string) []string {
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// unsupported names a value only where it is a plain word.
func unsupported(what, value string) error {
	odd := func(r rune) bool {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if value == "" || len(value) > 24 || strings.ContainsFunc(value, odd) {
		return errors.New("this " + what + " is not supported")
	}
	return errors.New(what + " " + strconv.Quote(value) + " is not supported")
}
