package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// moodyNode is an HTTP proxy that behaves as it is told. What comes through it in a good mood it answers itself:
// 204 to tests, its name to others.
type moodyNode struct {
	name, addr string
	conns      sync.WaitGroup

	mu   sync.Mutex
	ln   net.Listener // nil while it refuses connections
	mood mood
	live map[net.Conn]bool
}

// mood is how a node treats a connection; nil is well.
type mood func(n *moodyNode, c net.Conn, in *bufio.Reader)

func startMoodyNode(t *testing.T, name string) *moodyNode {
	t.Helper()
	n := &moodyNode{name: name, addr: "127.0.0.1:0", live: make(map[net.Conn]bool)}
	n.open(t)
	t.Cleanup(func() {
		n.shut()
		n.conns.Wait()
	})
	return n
}

func (n *moodyNode) port() string { return n.addr[strings.LastIndexByte(n.addr, ':')+1:] }

// open listens, again at the same port.
func (n *moodyNode) open(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.ln, n.addr = ln, ln.Addr().String()
	n.mu.Unlock()
	n.conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.live[c] = true
			now := n.mood
			n.mu.Unlock()
			n.conns.Go(func() {
				defer n.end(c)
				if now == nil {
					now = after(0)
				}
				now(n, c, bufio.NewReader(c))
			})
		}
	})
}

func (n *moodyNode) end(c net.Conn) {
	_ = c.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.live, c)
}

// shut refuses connections from now on, and ends those there are.
func (n *moodyNode) shut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ln != nil {
		_ = n.ln.Close()
		n.ln = nil
	}
	for c := range n.live {
		_ = c.Close()
	}
}

// set changes the mood for connections to come.
func (n *moodyNode) set(m mood) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mood = m
}

// head reads a request up to its empty line.
func head(in *bufio.Reader) (*http.Request, error) { return http.ReadRequest(in) }

// opened reads a CONNECT and grants it.
func opened(c net.Conn, in *bufio.Reader) bool {
	if _, err := head(in); err != nil {
		return false
	}
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	return err == nil
}

// after is how a node should be, but for the time that tests take.
func after(wait time.Duration) mood {
	return func(n *moodyNode, c net.Conn, in *bufio.Reader) {
		if !opened(c, in) {
			return
		}
		r, err := head(in)
		switch {
		case err != nil:
		case r.Method == http.MethodHead:
			time.Sleep(wait) // this is what is tried
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		default:
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(n.name), n.name)
		}
	}
}

// refuses says this in place of opening a tunnel, and no more.
func refuses(text string) mood {
	return func(_ *moodyNode, c net.Conn, in *bufio.Reader) {
		if _, err := head(in); err == nil {
			_, _ = io.WriteString(c, text)
		}
	}
}

// replies says this through the tunnel, whatever is asked, and then ends or stalls.
func replies(text string, stalls bool) mood {
	return func(_ *moodyNode, c net.Conn, in *bufio.Reader) {
		if !opened(c, in) {
			return
		}
		if _, err := head(in); err != nil {
			return
		}
		_, _ = io.WriteString(c, text)
		if stalls {
			_, _ = io.Copy(io.Discard, c)
		}
	}
}

// moods are all ways of being bad. "refuses connections" is not a mood of an open node, and has none.
var moods = []struct {
	name   string
	mood   mood
	delay  bool // who asks for its delay is told one
	nimble bool // it works, and a fallback stays with it
}{
	{name: "refuses connections"},
	{name: "resets", mood: func(_ *moodyNode, c net.Conn, _ *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) }},
	{name: "is mute", mood: func(_ *moodyNode, c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) }},
	{name: "opens no tunnel", mood: refuses("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")},
	{name: "wants a login", mood: refuses("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")},
	{name: "speaks another language", mood: refuses("SSH-2.0-OpenSSH_9.2\r\n")},
	{name: "stalls in the head of the tunnel", mood: func(_ *moodyNode, c net.Conn, in *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-")
		_, _ = io.Copy(io.Discard, in)
	}},
	{name: "stalls after the headers", mood: replies("", true)},
	{name: "stalls in the answer", mood: replies("HTTP/1.1 204 No Con", true)},
	{name: "stalls after a line", mood: replies("HTTP/1.1 204 No Content\r\nX-", true)},
	{name: "answers nothing", mood: replies("", false)},
	{name: "answers garbage", mood: replies("\x00\xff\x00\xff garbage \r\n\r\n", false)},
	{name: "answers without end", mood: func(_ *moodyNode, c net.Conn, in *bufio.Reader) {
		if opened(c, in) {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n")
			for line := "X-More: " + strings.Repeat("x", 1000) + "\r\n"; ; {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		}
	}},
	{name: "answers a wrong status", mood: replies("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false), delay: true},
	{name: "redirects", mood: replies("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false), delay: true},
	{name: "is too slow", mood: after(1200 * time.Millisecond)},
	{name: "is slower than another", mood: after(450 * time.Millisecond), delay: true, nimble: true},
}

// TestBadNodes has nodes turn bad in every way, all at once: groups leave them for one that works, say so, and come
// back when they are well again.
func TestBadNodes(t *testing.T) {
	steady := startMoodyNode(t, "steady")
	steady.set(after(150 * time.Millisecond))
	var nodes []*moodyNode
	var lines, groups, rules strings.Builder
	for i := range moods {
		name := fmt.Sprintf("n%d", i)
		n := startMoodyNode(t, name)
		nodes = append(nodes, n)
		lines.WriteString(httpNode(name, n.port()))
		for _, kind := range []string{"url-test", "fallback"} {
			fmt.Fprintf(&groups, "- {name: %s-%d, type: %[1]s, use: [list], filter: '^n%[2]d$`^steady$', url: 'http://well.test/', expected-status: 204, interval: 1, timeout: 1000, lazy: false}\n", kind, i)
			fmt.Fprintf(&rules, "DOMAIN,%s-%d.test,%[1]s-%[2]d\n", kind, i)
		}
	}
	list := strings.ReplaceAll(strings.Trim(lines.String()+httpNode("steady", steady.port()), "- \n"), "\n- ", ", ")
	d := testkit.Start(t, "mixed-port: MIXED\n"+nowhere+"proxy-groups:\n"+groups.String()+
		"proxy-providers: {list: {type: inline, payload: ["+list+"]}}\n"+ruleLines("rules", rules.String()+"MATCH,REJECT"))
	now := func(i int, kind, want, when string) {
		t.Helper()
		group := fmt.Sprintf("%s-%d", kind, i)
		until(t, fmt.Sprintf("%s takes %s %s: %s", group, want, when, moods[i].name), func() bool { return shownProxy(t, d, group).Now == want })
	}
	all := func(when string, bad bool) {
		t.Helper()
		for i, m := range moods {
			for _, kind := range []string{"url-test", "fallback"} {
				want := fmt.Sprintf("n%d", i)
				if bad && (!m.nimble || kind == "url-test") {
					want = "steady"
				}
				now(i, kind, want, when)
				becomes(t, d, fmt.Sprintf("%s-%d.test", kind, i), want)
			}
		}
	}
	for i := range moods {
		until(t, fmt.Sprintf("n%d has been tested", i), func() bool { return shownProxy(t, d, fmt.Sprintf("n%d", i)).Extra["http://well.test/"].Alive })
	}
	all("at first", false)
	for i, m := range moods {
		if nodes[i].set(m.mood); m.mood == nil {
			nodes[i].shut()
		}
	}
	all("when it is bad", true)
	for i, m := range moods {
		name := fmt.Sprintf("n%d", i)
		o := shownProxy(t, d, name)
		extra := o.Extra["http://well.test/"]
		if extra.Alive != m.nimble || len(extra.History) < 2 || (extra.History[len(extra.History)-1].Delay > 0) != m.nimble {
			t.Errorf("%s, which %s: %+v", name, m.name, o)
		}
		timeout := 200
		if m.delay {
			timeout = 2000
		}
		status, body := d.Do(t, "GET", fmt.Sprintf("/proxies/%s/delay?url=http://well.test/&timeout=%d&expected=204", name, timeout), "")
		if m.delay != (status == 200) || !m.delay && status != 503 && status != 504 {
			t.Errorf("%s, which %s: %d %s", name, m.name, status, body)
		}
	}
	for i, m := range moods {
		if nodes[i].set(nil); m.mood == nil {
			nodes[i].open(t)
		}
	}
	all("when it is well again", false)
}
