package health

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// ErrURL means that a URL is none that can be tested. It says nothing about a node.
var ErrURL = errors.New("not a URL that can be tested")

// maxURL bounds a URL, in bytes: it is kept with each node that is tested with it.
const maxURL = 2 << 10

// CheckURL says what is wrong with url, in an error that is ErrURL and repeats nothing of it.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

// target is what a URL says.
type target struct {
	addr   flow.Addr
	secure bool   // TLS
	origin string // scheme://host:port: all that errors may say
	host   string // the Host field
	path   string // and query, as the request line has them
	auth   string // the Authorization field; "" is none
}

func parseURL(s string) (*target, error) {
	if len(s) > maxURL {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrURL, maxURL)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be parsed", ErrURL)
	}
	t := new(target)
	usual := uint16(80)
	switch u.Scheme {
	case "http":
	case "https":
		t.secure, usual = true, 443
	default:
		return nil, fmt.Errorf("%w: want http or https", ErrURL)
	}
	t.addr.Host, t.addr.IP, err = flow.ParseHost(u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), strconv.Itoa(int(usual))), 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("%w: want a port from 1 to 65535", ErrURL)
	}
	t.addr.Port = uint16(port)
	t.origin = u.Scheme + "://" + t.addr.String()
	t.host = t.addr.String()
	if t.addr.Port == usual {
		t.host = t.host[:strings.LastIndexByte(t.host, ':')]
	}
	t.path = plain(u.RequestURI())
	if u.User != nil {
		password, _ := u.User.Password()
		t.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return t, nil
}

// plain escapes what would break a request line: net/url lets spaces through in queries.
func plain(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// request is a HEAD request; last says that no other follows on its connection.
func (t *target) request(agent string, last bool) []byte {
	var b []byte
	field := func(name, value string) {
		b = append(append(append(append(b, name...), value...), '\r'), '\n')
	}
	field("HEAD ", t.path+" HTTP/1.1")
	field("Host: ", t.host)
	if agent != "" && !strings.ContainsFunc(agent, unicode.IsControl) {
		field("User-Agent: ", agent)
	}
	if t.auth != "" {
		field("Authorization: ", t.auth)
	}
	if last {
		field("Connection: ", "close")
	}
	return append(b, '\r', '\n')
}
