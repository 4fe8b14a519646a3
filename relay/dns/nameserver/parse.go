package nameserver

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

// schemes are the words before "://", in the order of the Scheme constants, and the ports they go with.
var schemes = [...]struct {
	word string
	port uint16
}{
	UDP: {"udp", 53}, TCP: {"tcp", 53}, TLS: {"tls", 853}, HTTPS: {"https", 443}, HTTP: {"http", 80},
	QUIC: {"quic", 853}, System: {"system", 0}, DHCP: {"dhcp", 0}, RCode: {"rcode", 0},
}

// Schemes is how many there are.
const Schemes = len(schemes)

// String returns the word before "://".
func (s Scheme) String() string { return schemes[s].word }

// rcodes are the words of the response codes 0 to 5 (RFC 1035, section 4.1.1).
var rcodes = [...]string{"success", "format_error", "server_failure", "name_error", "not_implemented", "refused"}

// defaultPath is where a DoH server answers that is written without a path.
const defaultPath = "/dns-query"

// ErrHost is a host that cannot be read. It does not repeat it: beside it there may be secrets.
var ErrHost = errors.New("invalid host: want an address such as 1.1.1.1 or [2001:db8::1], or a name such as dns.example, with or without a port")

// Parse reads one name server. Its errors say what to write, and repeat neither a path nor a user.
func Parse(text string) (*Server, error) {
	addr, fragment, _ := strings.Cut(strings.TrimSpace(text), "#")
	s := new(Server)
	if err := s.parseAddr(addr); err != nil {
		return nil, err
	}
	if err := s.parseFragment(fragment); err != nil {
		return nil, err
	}
	if s.H3 && s.Scheme != HTTPS {
		return nil, fmt.Errorf("h3 is for https alone, not for %s", schemes[s.Scheme].word)
	}
	return s, nil
}

// String returns the server without path, user and fragment: what may stand in logs and errors.
func (s *Server) String() string {
	word := schemes[s.Scheme].word
	switch s.Scheme {
	case System:
		return word
	case DHCP:
		return word + "://" + s.Device
	case RCode:
		return word + "://" + rcodes[s.RCode]
	}
	return word + "://" + s.Addr.String()
}

// Disables says whether questions of the type qtype are not to be asked here.
func (s *Server) Disables(qtype uint16) bool {
	const a, aaaa = 1, 28
	return qtype == a && s.NoIPv4 || qtype == aaaa && s.NoIPv6 || slices.Contains(s.NoTypes, qtype)
}

func (s *Server) parseAddr(addr string) error {
	if addr == "" {
		return errors.New("the name server is empty: want an address such as 1.1.1.1, or a URL such as https://dns.example/dns-query")
	}
	if strings.EqualFold(addr, "system") {
		s.Scheme = System
		return nil
	}
	word, rest, found := strings.Cut(addr, "://")
	if !found {
		return s.parseHostPort(addr)
	}
	if err := s.parseScheme(strings.ToLower(word)); err != nil {
		return err
	}
	switch s.Scheme {
	case System:
		if rest != "" {
			return errors.New("nothing stands behind system://")
		}
		return nil
	case DHCP:
		return s.parseDevice(rest)
	case RCode:
		return s.parseRCode(rest)
	case HTTPS, HTTP:
		return s.parseURL(rest)
	}
	return s.parseHostPort(strings.TrimSuffix(rest, "/"))
}

func (s *Server) parseScheme(word string) error {
	for i, known := range schemes {
		if word == known.word {
			s.Scheme = Scheme(i)
			return nil
		}
	}
	const want = "want udp, tcp, tls, https, http, quic, system, dhcp or rcode"
	if !plain(word) {
		return errors.New("unknown scheme, " + want)
	}
	return fmt.Errorf("unknown scheme %s, %s", word, want)
}

// maxDevice is the longest name of an interface, in bytes; Windows has such long ones.
const maxDevice = 256

func (s *Server) parseDevice(name string) error {
	name = strings.TrimSuffix(name, "/")
	if name == "" || len(name) > maxDevice || strings.ContainsAny(name, "/?@") {
		return errors.New("dhcp:// wants the name of an interface, such as dhcp://eth0, or dhcp://system for that of the default route")
	}
	s.Device = name
	return nil
}

func (s *Server) parseRCode(word string) error {
	i := slices.Index(rcodes[:], strings.ToLower(word))
	if i < 0 {
		return fmt.Errorf("unknown response code behind rcode://, want %s", orList(rcodes[:]))
	}
	s.RCode = uint8(i)
	return nil
}

// parseURL reads what stands behind https:// or http://.
func (s *Server) parseURL(rest string) error {
	u, err := url.Parse("//" + rest) // its error repeats the text
	if err != nil || strings.Contains(u.Host, ",") {
		return fmt.Errorf("invalid URL: want %s://host:port/path", schemes[s.Scheme].word)
	}
	s.Path = u.EscapedPath()
	if s.Path == "" {
		s.Path = defaultPath
	}
	if u.RawQuery != "" {
		s.Path += "?" + u.RawQuery
	}
	s.User = u.User
	return s.parseHostPort(u.Host)
}

// parseHostPort reads a host with or without a port.
func (s *Server) parseHostPort(text string) error {
	if strings.ContainsAny(text, "/?@") {
		return errors.New("a path or a user is for https:// and http:// alone: want host:port")
	}
	host, port := text, ""
	if _, err := netip.ParseAddr(text); err != nil { // not an IPv6 address without brackets
		i := strings.LastIndexByte(text, ':')
		if i > strings.LastIndexByte(text, ']') {
			host, port = text[:i], text[i:]
		}
	}
	if strings.ContainsRune(host, '%') {
		return errors.New("a zone such as %eth0 cannot stand in an address: name the interface behind a #")
	}
	var err error
	if s.Addr.Host, s.Addr.IP, err = flow.ParseHost(host); err != nil {
		return ErrHost
	}
	s.Addr.Port = schemes[s.Scheme].port
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port[1:], 10, 16)
	if err != nil || n == 0 {
		return errors.New("invalid port: want 1-65535 behind the colon")
	}
	s.Addr.Port = uint16(n)
	return nil
}

// plain says whether a word of the user's is harmless enough to be repeated.
func plain(word string) bool {
	const most = 40
	return word != "" && len(word) <= most && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789-+_") == ""
}

// orList joins words as a person lists them.
func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
