package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// entries reads lines of a pattern and its values.
func entries(text string) (all []Listed) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			all = append(all, Listed{words[0], words[1:]})
		}
	}
	return all
}

func newTable(t *testing.T, c Config) *Table {
	t.Helper()
	table, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// text is an entry in words.
func text(e Entry, ok bool) string {
	if !ok {
		return "-"
	}
	words := []string{}
	for _, ip := range e.Addrs {
		words = append(words, ip.String())
	}
	if e.Alias != "" {
		words = append(words, e.Alias)
	}
	return strings.Join(words, " ")
}

func wantFind(t *testing.T, table *Table, name, want string) {
	t.Helper()
	if got := text(table.Find([]byte(name))); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func wantName(t *testing.T, table *Table, ip, want string) {
	t.Helper()
	if got, ok := table.Name(netip.MustParseAddr(ip)); got != want || ok != (want != "") {
		t.Errorf("%s is called %q, want %q", ip, got, want)
	}
}

func TestFind(t *testing.T) {
	table := newTable(t, Config{Entries: entries(`
		router.test 10.0.0.1
		both.test 10.0.0.2 fd00::2 10.0.0.2 ::ffff:10.0.0.3
		Upper.TEST. 10.0.0.4
		+.example.org 10.0.0.5
		*.example.org 10.0.0.6
		.deep.org 10.0.0.7
		* 10.0.0.8
		*.日本.test 10.0.0.9
		www.test Other.Example.
	`)})
	f := func(name, want string) { t.Helper(); wantFind(t, table, name, want) }
	f("router.test", "10.0.0.1")
	f("both.test", "10.0.0.2 fd00::2 10.0.0.3")
	f("upper.test", "10.0.0.4")
	f("example.org", "10.0.0.5")
	f("a.example.org", "10.0.0.6")
	f("b.a.example.org", "10.0.0.5")
	f("deep.org", "-")
	f("a.deep.org", "10.0.0.7")
	f("printer", "10.0.0.8")
	f("localhost", "10.0.0.8")
	f("a.xn--wgv71a.test", "10.0.0.9")
	f("www.test", "other.example")
	f("none.test", "-")
	f("", "-")
	f(strings.Repeat("a", 300), "-")
}

func TestName(t *testing.T) {
	table := newTable(t, Config{Entries: entries(`
		*.star.test 10.0.0.1
		+.plus.test 10.0.0.2
		a.test 10.0.0.1 10.0.0.3
		b.test 10.0.0.3 10.0.0.4
		c.test a.test
	`)})
	f := func(ip, want string) { t.Helper(); wantName(t, table, ip, want) }
	f("10.0.0.1", "a.test")
	f("10.0.0.2", "")
	f("10.0.0.3", "a.test")
	f("::ffff:10.0.0.4", "b.test")
	f("127.0.0.1", "localhost")
	f("::1", "localhost")
	f("10.0.0.9", "")
	if name, ok := table.Name(netip.Addr{}); ok {
		t.Errorf("no address is called %q", name)
	}
}

func TestLocalhost(t *testing.T) {
	wantFind(t, newTable(t, Config{}), "localhost", "127.0.0.1 ::1")
	table := newTable(t, Config{Entries: entries("localhost 10.0.0.1")})
	wantFind(t, table, "localhost", "10.0.0.1")
	wantName(t, table, "10.0.0.1", "localhost")
	wantName(t, table, "127.0.0.1", "")
}

func TestResolve(t *testing.T) {
	var chain strings.Builder
	for i := range 20 {
		fmt.Fprintf(&chain, "n%d.test n%d.test\n", i, i+1)
	}
	table := newTable(t, Config{Entries: entries(chain.String() + `
		n20.test 10.0.0.20
		a.test b.c.test
		*.c.test d.test
		d.test 10.0.0.4
		out.test x.out.test
		x.out.test elsewhere.example
		home.test localhost
	`)})
	f := func(name, want string) {
		t.Helper()
		if got := text(table.Resolve(name)); got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
	f("a.test", "10.0.0.4")
	f("d.test", "10.0.0.4")
	f("out.test", "elsewhere.example")
	f("home.test", "127.0.0.1 ::1")
	f("none.test", "-")
	f("n4.test", "10.0.0.20")
	f("n3.test", "n20.test")
	f("n0.test", "n17.test")
}

func TestCheck(t *testing.T) {
	f := func(entry, want string) {
		t.Helper()
		e := entries(entry)[0]
		err := Check(e.Pattern, e.Values)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
		if _, newErr := New(Config{Entries: []Listed{e}}); (err == nil) != (newErr == nil) {
			t.Errorf("%s: Check says %v, New %v", entry, err, newErr)
		}
	}
	f("a.test 10.0.0.1 fd00::1", "")
	f("a.test b.test", "")
	f("a.test lan", "")
	f("*.a.test 10.0.0.1", "")
	// Lists of names, and of names and addresses.
	f("a.test b.test c.test", `want addresses, or one name; got ["b.test" "c.test"]`)
	f("a.test 10.0.0.1 b.test", "want addresses, or one name")
	f("a.test lan lan", "want addresses, or one name")
	f("a.test lan 10.0.0.1", "want addresses, or one name")
	f("a.test", "want addresses, or one name")
	// What is neither.
	f("a.test 10.0.0.256", "want addresses, or one name")
	f("a.test 10.0.0.0/8", "want addresses, or one name")
	f("a.test *.b.test", "want addresses, or one name")
	f("a.test +.b.test", "want addresses, or one name")
	f("a.test b..test", "want addresses, or one name")
	f("a.test "+strings.Repeat("b", 64)+".test", "want addresses, or one name")
	f("a.test fe80::1%eth0", "want addresses, or one name")
	// What is no pattern.
	f("a..test 10.0.0.1", match.ErrPattern.Error())
	f("a*.test 10.0.0.1", match.ErrPattern.Error())
	f("10.0.0.1 10.0.0.1", match.ErrPattern.Error())
	if err := Check("", []string{"10.0.0.1"}); !errors.Is(err, match.ErrPattern) {
		t.Error(err)
	}
}

func TestCycle(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		all := entries(text)
		if got := strings.Join(Cycle(all), " → "); got != want {
			t.Errorf("%s: the circle is %q, want %q", text, got, want)
		}
		if _, err := New(Config{Entries: all}); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	f("", "")
	f("a.test b.test\nb.test c.test\nc.test 10.0.0.1", "")
	f("a.test b.test\nb.test a.test", "a.test → b.test → a.test")
	f("a.test a.test", "a.test → a.test")
	f("c.test a.test\na.test b.test\nb.test a.test", "a.test → b.test → a.test")
	f("A.test b.test\nb.test a.test", "A.test → b.test → A.test")
	// A name may come back by a pattern.
	f("*.test x.test", "*.test → *.test")
	f("+.a.test b.test\nb.test x.a.test", "+.a.test → b.test → +.a.test")
	f("+.a.test a.test\na.test 10.0.0.1", "")
	// Two ways to one end are no circle.
	f("a.test c.test\nb.test c.test\nc.test d.test", "")
	// Entries that are refused lead nowhere.
	if way := Cycle(entries("a..test b.test\na.test b.test c.test\nb.test a.test")); way != nil {
		t.Errorf("%q", way)
	}
}

func TestTwice(t *testing.T) {
	var log bytes.Buffer
	table := newTable(t, Config{
		Entries: entries("a.test 10.0.0.1\nA.test 10.0.0.2"),
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	wantFind(t, table, "a.test", "10.0.0.1")
	wantName(t, table, "10.0.0.2", "")
	if !strings.Contains(log.String(), "host=A.test") {
		t.Errorf("said %q", log.String())
	}
}

// network is a machine whose addresses change.
type network struct {
	mu    sync.Mutex
	addrs []string
	err   error
	reads int
}

func (n *network) read() (all []net.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads++
	for _, s := range n.addrs {
		ip, prefix, err := net.ParseCIDR(s)
		if err != nil {
			return nil, err
		}
		all = append(all, &net.IPNet{IP: ip, Mask: prefix.Mask})
	}
	return all, n.err
}

func TestLan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(t, Config{Entries: entries("*.lan.test lan\nbox.test lan\nother.test 10.0.0.3")})
		n := &network{addrs: []string{
			"127.0.0.1/8", "::1/128", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.2/32", "fe80::1/64", "fd00::2/64", "ff02::1/16",
		}}
		table.lan.read = n.read
		for range 100 {
			wantFind(t, table, "a.lan.test", "10.0.0.2 10.0.0.3 fd00::2")
		}
		wantName(t, table, "fd00::2", "box.test")
		wantName(t, table, "10.0.0.3", "other.test")
		if n.reads != 1 {
			t.Errorf("asked %d times", n.reads)
		}
		n.addrs = nil
		time.Sleep(lanTime - 1)
		wantName(t, table, "10.0.0.2", "box.test")
		time.Sleep(time.Nanosecond)
		wantFind(t, table, "box.test", "")
		wantName(t, table, "10.0.0.2", "")
		// A machine that does not tell has what it had.
		n.addrs = []string{"10.0.0.4/24"}
		time.Sleep(lanTime)
		wantFind(t, table, "box.test", "10.0.0.4")
		n.err = errors.New("no")
		time.Sleep(lanTime)
		wantFind(t, table, "box.test", "10.0.0.4")
	})
}

// TestThisMachine compares with what the machine is reachable at.
func TestThisMachine(t *testing.T) {
	e, ok := newTable(t, Config{Entries: entries("box.test lan")}).Find([]byte("box.test"))
	if !ok {
		t.Fatal("not found")
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		ip := netip.MustParsePrefix(a.String()).Addr().WithZone("")
		want := !ip.IsLoopback() && !ip.IsMulticast() && (ip.Is4() || !ip.IsLinkLocalUnicast())
		if got := slices.Contains(e.Addrs, ip); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
}
