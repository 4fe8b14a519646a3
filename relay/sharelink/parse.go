// Package sharelink reads the body of a subscription that is made of share links, one a line, into
// nodes as a configuration writes them. Whether the keys of a node fit together is for the
// configuration to check. A link is refused here when it is broken, and when it asks for something
// that no key can say: such a node could never connect.
package sharelink

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

const (
	// maxLinks bounds the lines that are read. Those that are skipped do not count.
	maxLinks = 10_000
	// maxLine bounds one line, in bytes.
	maxLine = 16 << 10
	// maxProblems bounds the problems that are kept one by one.
	maxProblems = 100
)

// ErrFormat means that the body is no list of links: no line of it starts with scheme://, neither
// as it is nor after base64.
var ErrFormat = errors.New("not a list of share links")

// Node is one link, with the keys that a configuration writes for it.
type Node struct {
	Line int            // in the text of links, from 1
	Keys map[string]any // string, int, bool, []string, map[string]any, map[string]string
}

// Problem is a line that is no link of ours, or a broken one. Err tells the scheme and what is
// wrong, and nothing of the link that could be a secret.
type Problem struct {
	Line int
	Name string // "" where it is not known, or could be a piece of a password
	Err  error
}

// Left is the Err of the last Problem, which then has no Line: so many more lines are bad, of which
// nothing else is kept.
type Left int

func (n Left) Error() string { return fmt.Sprintf("%d more lines are bad", int(n)) }

// Parse reads the links of body. It keeps at most 100 problems, and one more with Left where there
// were more; a body of over 10,000 links also has a Problem for the line where reading stopped.
// Names are unique among the nodes. err is ErrFormat or nil.
func Parse(body []byte) ([]Node, []Problem, error) {
	text, ok := links(body)
	if !ok {
		return nil, nil, ErrFormat
	}
	p := parser{names: make(names), words: !allLinks(text)}
	number, read := 0, 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.Trim(line, blank)
		if skipped(line) {
			continue
		}
		if read++; read > maxLinks {
			p.problems = append(p.problems, Problem{Line: number, Err: fmt.Errorf("more than %d links", maxLinks)})
			break
		}
		p.line(number, line)
	}
	if p.left > 0 {
		p.problems = append(p.problems, Problem{Err: p.left})
	}
	return p.nodes, p.problems, nil
}

// links is the text of links that body is, or is the base64 of.
func links(body []byte) ([]byte, bool) {
	if anyLink(body) {
		return body, true
	}
	packed := bytes.TrimLeft(body, blank)
	for bytes.HasPrefix(packed, []byte("#")) { // but // may be base64
		_, packed, _ = bytes.Cut(packed, []byte("\n"))
		packed = bytes.TrimLeft(packed, blank)
	}
	text, ok := decode(bytes.TrimRight(packed, blank))
	return text, ok && anyLink(text)
}

// allLinks says whether each line that is not skipped is a link.
func allLinks(text []byte) bool {
	for line := range bytes.Lines(text) {
		if line = bytes.Trim(line, blank); skipped(line) {
			continue
		}
		if _, _, ok := cutScheme(string(line[:min(len(line), 64)])); !ok {
			return false
		}
	}
	return true
}

// skipped says whether a line is empty, or a comment.
func skipped(line []byte) bool {
	return len(line) == 0 || line[0] == '#' || bytes.HasPrefix(line, []byte("//"))
}

func anyLink(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.Trim(line, blank)
		if _, _, ok := cutScheme(string(line[:min(len(line), 64)])); ok {
			return true
		}
	}
	return false
}

// blank is what may stand around a line. There is a byte order mark wherever files were put together.
const blank = " \t\r\n\v\f\x00\ufeff"

// cutScheme cuts a line at ://. The scheme comes in small letters.
func cutScheme(line string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(line, "://")
	if !ok || len(scheme) > 32 {
		return "", "", false
	}
	scheme = strings.ToLower(scheme)
	for i, c := range []byte(scheme) {
		letter := 'a' <= c && c <= 'z'
		other := '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
		if !letter && (i == 0 || !other) {
			return "", "", false
		}
	}
	return scheme, rest, scheme != ""
}

// A parser gathers what the lines are.
type parser struct {
	nodes    []Node
	problems []Problem
	left     Left
	names    names
	words    bool // some lines are none: bare web addresses are what somebody should visit
}

func (p *parser) line(number int, line []byte) {
	if len(line) > maxLine {
		p.problem(Problem{Line: number, Err: fmt.Errorf("longer than %d bytes", maxLine)})
		return
	}
	scheme, rest, ok := cutScheme(string(line))
	if !ok {
		p.problem(Problem{Line: number, Err: errors.New("not a link")})
		return
	}
	l := split(scheme, rest)
	var k keys
	var err error
	if p.words && l.bare() {
		err = errors.New("a web address among words")
	} else {
		k, err = l.read()
	}
	if err != nil {
		bad := Problem{Line: number, Err: fmt.Errorf("%s: %w", scheme, err)}
		if !strings.Contains(l.name, "@") { // a # in a password makes the rest of the link a name
			bad.Name = l.name
		}
		p.problem(bad)
		return
	}
	if l.name == "" {
		l.name = CleanName(net.JoinHostPort(k["server"].(string), strconv.Itoa(k["port"].(int))))
	}
	k["name"] = p.names.unique(l.name)
	p.nodes = append(p.nodes, Node{Line: number, Keys: k})
}

func (p *parser) problem(bad Problem) {
	if len(p.problems) == maxProblems {
		p.left++
		return
	}
	p.problems = append(p.problems, bad)
}

// read reads the link by its scheme. The keys lack only the name.
func (l *link) read() (keys, error) {
	switch l.scheme {
	case "ss":
		return l.ss()
	case "ssr":
		return l.ssr()
	case "vmess":
		return l.vmess()
	case "vless":
		return l.vless()
	case "trojan":
		return l.trojan()
	case "anytls":
		return l.anytls()
	case "hysteria2", "hy2":
		return l.hysteria2()
	case "hysteria", "hy":
		return l.hysteria()
	case "tuic":
		return l.tuic()
	case "socks", "socks5", "socks5h":
		return l.socks()
	case "http", "https":
		return l.http()
	default:
		return nil, errors.New("unknown scheme")
	}
}
