package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/tests/leak"
)

// playing lets servers of the test stand for addresses of real ones. Others take questions and do not answer.
func playing(t testing.TB, roles map[string]netip.AddrPort) Config {
	silent := packets(t, func([]byte) [][]byte { return nil })
	return Config{Dial: func(ctx context.Context, network string, to flow.Addr) (net.Conn, error) {
		role, ok := roles[to.String()]
		if !ok {
			role = silent
		}
		return new(net.Dialer).DialContext(ctx, network, role.String())
	}}
}

func withCode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(m, code)) }
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSystemAsksInTheOrderOfTheFile(t *testing.T) {
	leak.Check(t)
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	c := playing(t, map[string]netip.AddrPort{
		"192.0.2.1:53":     serveDNS(t, addrOf(t, "10.0.0.1")),
		"[2001:db8::2]:53": serveDNS(t, addrOf(t, "10.0.0.2")),
		"192.0.2.3:53":     nobody.LocalAddr().(*net.UDPAddr).AddrPort(),
		"192.0.2.4:53":     serveDNS(t, withCode(dns.RcodeServerFailure)),
		"192.0.2.5:53":     serveDNS(t, withCode(dns.RcodeNameError)),
		"192.0.2.6:53":     serveDNS(t, withCode(dns.RcodeRefused)),
	})
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := func(text string, code int, want string) {
		t.Helper()
		writeFile(t, path, text)
		s := newSystem(c)
		s.path = path
		defer s.Close()
		m := mustAsk(t, s, "a.example", dns.TypeA)
		if m.Rcode != code {
			t.Errorf("%q: %s", text, dns.RcodeToString[m.Rcode])
		} else if want != "" && firstA(t, m) != want {
			t.Errorf("%q: %s; want %s", text, firstA(t, m), want)
		}
	}
	f("nameserver 192.0.2.1\nnameserver 2001:db8::2\n", 0, "10.0.0.1")
	f("nameserver 2001:db8::2\nnameserver 192.0.2.1\n", 0, "10.0.0.2")
	f("nameserver 192.0.2.3\nnameserver 192.0.2.1\n", 0, "10.0.0.1")
	f("nameserver 192.0.2.4\nnameserver 192.0.2.6\nnameserver 192.0.2.1\n", 0, "10.0.0.1")
	// One that has nothing to say is as good as silent, but better than no answer.
	f("nameserver 192.0.2.3\nnameserver 192.0.2.4\n", dns.RcodeServerFailure, "")
	f("nameserver 192.0.2.4\nnameserver 192.0.2.3\n", dns.RcodeServerFailure, "")
	// That there is no such name is an answer.
	f("nameserver 192.0.2.5\nnameserver 192.0.2.1\n", dns.RcodeNameError, "")
}

func TestReadResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := func(text string, want ...string) {
		t.Helper()
		writeFile(t, path, text)
		addrs, err := readResolvConf(path)
		var got []string
		for _, ip := range addrs {
			got = append(got, ip.String())
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	f("")
	f("# nameserver 192.0.2.1\n; nameserver 192.0.2.1\nsearch nameserver\noptions edns0\n")
	f("  nameserver\t192.0.2.1 # a comment\r\nnameserver 2001:db8::1", "192.0.2.1", "2001:db8::1")
	f("nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver ::ffff:192.0.2.1\n", "192.0.2.1")
	f("nameserver\nnameserver dns.example\nnameserver fe80::1%eth0\nnameserver 1.2.3\nnameserver 192.0.2.9\n", "192.0.2.9")
}

func TestSystemReadsTheFileAgain(t *testing.T) {
	leak.Check(t)
	c := playing(t, map[string]netip.AddrPort{
		"192.0.2.1:53":  serveDNS(t, addrOf(t, "10.0.0.1")),
		"192.0.2.22:53": serveDNS(t, addrOf(t, "10.0.0.2")),
	})
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Now()
	s := newSystem(c)
	s.path, s.now = path, func() time.Time { return now }
	defer s.Close()
	f := func(after time.Duration, want string) {
		t.Helper()
		now = now.Add(after)
		if got := firstA(t, mustAsk(t, s, "a.example", dns.TypeA)); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
	writeFile(t, path, "nameserver 192.0.2.1")
	f(0, "10.0.0.1")
	writeFile(t, path, "nameserver 192.0.2.22")
	f(lookTime-1, "10.0.0.1")
	f(1, "10.0.0.2")
	// What has the same size and time is not read.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "nameserver 192.0.2.1 ")
	os.Chtimes(path, info.ModTime(), info.ModTime())
	f(lookTime, "10.0.0.2")
	os.Chtimes(path, now, now.Add(time.Hour))
	f(lookTime, "10.0.0.1")

	// A file without servers is an error until it has some.
	g := func(want string) {
		t.Helper()
		now = now.Add(lookTime)
		failsWith(t, s, want)
		failsWith(t, s, want)
	}
	writeFile(t, path, "search example")
	g("resolv.conf names no name server: want a line such as nameserver 192.0.2.53")
	os.Remove(path)
	g("because there is no " + path + ": name a server instead of system")
	writeFile(t, path, "nameserver 192.0.2.22")
	f(lookTime, "10.0.0.2")
	s.Close()
	failsWith(t, s, ErrClosed.Error())
}

// A server that is silent keeps the next one waiting for its turn alone.
func TestSeveralGoOnAfterATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Dial: func(_ context.Context, _ string, to flow.Addr) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				b := make([]byte, 512)
				for {
					n, err := there.Read(b)
					if err != nil {
						return
					}
					if to.String() == "192.0.2.3:53" {
						there.Write(answerTo(t, b[:n], nil))
					}
				}
			}()
			return here, nil
		}}
		v := several{config: c}
		defer v.Close()
		v.set([]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")})
		begun := time.Now()
		mustAsk(t, &v, "a.example", dns.TypeA)
		if took := time.Since(begun); took != 2*turnTime {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Exchange(ctx, question(t, "a.example", dns.TypeA)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Exchange: %v", err)
		}
	})
}

// A question that is under way when the list changes is asked again.
func TestSeveralAskTheNewList(t *testing.T) {
	leak.Check(t)
	asked := make(chan struct{}, 3)
	silent := packets(t, func([]byte) [][]byte {
		asked <- struct{}{}
		return nil
	})
	v := several{config: playing(t, map[string]netip.AddrPort{
		"192.0.2.1:53": silent,
		"192.0.2.2:53": serveDNS(t, addrOf(t, "10.0.0.2")),
	})}
	defer v.Close()
	v.set([]netip.Addr{netip.MustParseAddr("192.0.2.1")})
	answer := begin(t, &v, "a.example")
	<-asked
	kept := v.servers[0]
	v.set([]netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")})
	if v.servers[1] != kept {
		t.Error("a server that stays is made anew")
	}
	v.set([]netip.Addr{netip.MustParseAddr("192.0.2.2")})
	if got := firstA(t, answer()); got != "10.0.0.2" {
		t.Errorf("got %s", got)
	}
	var many []netip.Addr
	for i := range byte(2 * maxServers) {
		many = append(many, netip.AddrFrom4([4]byte{192, 0, 2, i}))
	}
	v.set(many)
	if len(v.servers) != maxServers {
		t.Errorf("%d servers", len(v.servers))
	}
}

func FuzzReadResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nnameserver fe80::1%eth0\n")
	f.Add(strings.Repeat("n", 70000))
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		writeFile(t, path, text)
		addrs, err := readResolvConf(path)
		if err == nil && len(addrs) > strings.Count(text, "nameserver") {
			t.Errorf("%d servers", len(addrs))
		}
	})
}
