package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// nameServer is a name server on loopback that remembers what it was asked.
type nameServer struct {
	addr    string // of UDP and TCP
	mu      sync.Mutex
	records map[string][]dns.RR // by name and type
	names   map[string]bool
	asked   []string // "a.test A"
	silent  bool
	stop    func() // may be called twice
}

// newNameServer has the records of a zone file's lines; the name * is all those that have none.
func newNameServer(t *testing.T, lines ...string) *nameServer {
	t.Helper()
	s := new(nameServer)
	s.set(t, lines...)
	var udp net.PacketConn
	var tcp net.Listener
	for tries := 0; tcp == nil; tries++ { // until a port is free for both
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		s.addr = udp.LocalAddr().String()
		if tcp, err = net.Listen("tcp", s.addr); err != nil {
			_ = udp.Close()
			if tries == 20 {
				t.Fatal(err)
			}
		}
	}
	var running sync.WaitGroup
	for _, x := range []*dns.Server{{PacketConn: udp, Handler: s}, {Listener: tcp, Handler: s}} {
		running.Go(func() { _ = x.ActivateAndServe() })
	}
	s.stop = func() {
		_, _ = udp.Close(), tcp.Close()
		running.Wait()
	}
	t.Cleanup(s.stop)
	return s
}

// set replaces the records.
func (s *nameServer) set(t *testing.T, lines ...string) {
	t.Helper()
	records, names := make(map[string][]dns.RR), make(map[string]bool)
	for _, line := range lines {
		r, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(r.Header().Name)
		names[name] = true
		key := name + dns.Type(r.Header().Rrtype).String()
		records[key] = append(records[key], r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.names = records, names
}

// ServeDNS implements dns.Handler.
func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name, kind := strings.ToLower(q.Question[0].Name), dns.Type(q.Question[0].Qtype).String()
	s.mu.Lock()
	s.asked = append(s.asked, strings.TrimSuffix(name, ".")+" "+kind)
	silent, known := s.silent, name
	if !s.names[name] {
		known = "*."
	}
	for _, r := range s.records[known+kind] {
		r = dns.Copy(r)
		r.Header().Name = q.Question[0].Name
		m.Answer = append(m.Answer, r)
	}
	if !s.names[known] {
		m.Rcode = dns.RcodeNameError
	}
	s.mu.Unlock()
	if silent {
		return
	}
	if len(m.Answer) == 0 {
		soa, _ := dns.NewRR("test. 60 IN SOA ns.test. admin.test. 1 2 3 4 60")
		m.Ns = append(m.Ns, soa)
	}
	size := dns.MaxMsgSize
	if e := q.IsEdns0(); e != nil {
		m.SetEdns0(1232, false)
		size = int(e.UDPSize())
	} else if w.RemoteAddr().Network() == "udp" {
		size = dns.MinMsgSize
	}
	if w.RemoteAddr().Network() == "udp" {
		m.Truncate(size)
	}
	m.Compress = true
	_ = w.WriteMsg(m)
}

// questions are those so far that hold word.
func (s *nameServer) questions(word string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, q := range s.asked {
		if strings.Contains(q, word) {
			found = append(found, q)
		}
	}
	return found
}

// mute makes s answer nothing, or again.
func (s *nameServer) mute(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = yes
}

// dnsSection is the section dns of a configuration: a listener on a free port, and the lines of more.
func dnsSection(more string) string {
	return "dns:\n  enable: true\n  listen: 127.0.0.1:0\n  use-system-hosts: false\n" +
		strings.ReplaceAll("  "+strings.TrimSpace(more), "\n", "\n  ") + "\n"
}

// startDNS runs a daemon and returns the address of its DNS server.
func startDNS(t *testing.T, yaml string) (d *testkit.Daemon, addr string) {
	t.Helper()
	d = testkit.Start(t, yaml)
	return d, d.WaitLog(t, "DNS server listening at ")
}

// query asks the name server at addr over UDP.
func query(t *testing.T, addr, name string, kind uint16) *dns.Msg {
	t.Helper()
	m, err := tryQuery(addr, name, kind)
	if err != nil {
		t.Fatalf("%s %s: %v", name, dns.Type(kind), err)
	}
	return m
}

func tryQuery(addr, name string, kind uint16) (*dns.Msg, error) {
	c := dns.Client{Timeout: 8 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), addr)
	return m, err
}

// data are the records of an answer, without names and times.
func data(m *dns.Msg) []string {
	var list []string
	for _, r := range m.Answer {
		list = append(list, strings.TrimPrefix(r.String(), r.Header().String()))
	}
	slices.Sort(list)
	return list
}

// address asks for the only IPv4 address of a name.
func address(t *testing.T, addr, name string) string {
	t.Helper()
	m := query(t, addr, name, dns.TypeA)
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		t.Fatalf("%s: %v", name, m)
	}
	return data(m)[0]
}

// answers fails the test unless addr answers about a name with an address, or a response code.
func answers(t *testing.T, addr, name, want string) {
	t.Helper()
	if got := said(query(t, addr, name, dns.TypeA)); got != want {
		t.Errorf("%s is %s; want %s", name, got, want)
	}
}

// said is what an answer says: its data, or its response code.
func said(m *dns.Msg) string {
	if m.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[m.Rcode]
	}
	return strings.Join(data(m), " ")
}

// program is the path of a Debian program, or skips where there is none.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no " + name)
		}
		t.Skip("no " + name)
	}
	return path
}

// printed is what dig or kdig has printed of an answer.
type printed struct {
	text, status, flags, question string
	size                          string   // bytes of the message
	answers                       []string // name, type and data, in order
}

var (
	printedStatus   = regexp.MustCompile(`status: (\w+)`)
	printedFlags    = regexp.MustCompile(`(?i);; flags: ([^;]*);`)
	printedQuestion = regexp.MustCompile(`QUESTION SECTION:\n;+\s*(\S+)`)
	printedSize     = regexp.MustCompile(`(?:rcvd: |Received )(\d+)`)
	printedAnswers  = regexp.MustCompile(`ANSWER SECTION:\n((?:[^\n]+\n)*)`)
)

// dig asks addr with dig or kdig.
func dig(t *testing.T, tool, addr string, args ...string) (p printed) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	args = append([]string{"@" + host, "-p", port}, args...)
	out, err := exec.CommandContext(ctx, program(t, tool), args...).CombinedOutput()
	p.text = string(out)
	if err != nil {
		p.text += err.Error()
	}
	for to, from := range map[*string]*regexp.Regexp{
		&p.status: printedStatus, &p.flags: printedFlags, &p.question: printedQuestion, &p.size: printedSize,
	} {
		if m := from.FindStringSubmatch(p.text); m != nil {
			*to = m[1]
		}
	}
	if m := printedAnswers.FindStringSubmatch(p.text); m != nil {
		for line := range strings.Lines(m[1]) {
			if f := strings.Fields(line); len(f) > 4 {
				p.answers = append(p.answers, fmt.Sprintf("%s %s %s", f[0], f[3], strings.Join(f[4:], " ")))
			}
		}
	}
	slices.Sort(p.answers)
	return p
}

// do asks the API for something that has no answer but that it is done.
func do(t *testing.T, d *testkit.Daemon, method, path, body string) {
	t.Helper()
	if status, text := d.Do(t, method, path, body); status != 204 {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
}
