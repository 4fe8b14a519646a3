package hosts

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/flow"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	skip := func(name string) bool { return name == "mine.test" }
	c, whole := parse("# a comment\r\n"+
		"127.0.0.1\tlocalhost Localhost.\r\n"+
		"  ::1 localhost ip6-localhost # and more\n"+
		"10.0.0.1 a.test#b.test\n"+
		"10.0.0.2 mine.test A.TEST c/d e.test\n"+
		"10.0.0.1 a.test\n"+
		"fe80::1%eth0 zone.test\n"+
		"10.0.0.256 bad.test\n"+
		"bad.test 10.0.0.3\n"+
		"::ffff:10.0.0.4 six.test 10.0.0.5\n"+
		"10.0.0.6\n\n"+
		"10.0.0.7 日本.test last.test", skip)
	if !whole {
		t.Error("not whole")
	}
	want := map[string]string{
		"localhost": "127.0.0.1 ::1", "ip6-localhost": "::1", "a.test": "10.0.0.1 10.0.0.2", "e.test": "10.0.0.2",
		"six.test": "10.0.0.4", "xn--wgv71a.test": "10.0.0.7", "last.test": "10.0.0.7",
	}
	for name, addrs := range want {
		if got := text(Entry{Addrs: c.addrs[name]}, true); got != addrs {
			t.Errorf("%s is %q, want %q", name, got, addrs)
		}
	}
	if len(c.addrs) != len(want) {
		t.Errorf("got %v", c.addrs)
	}
	for ip, name := range map[string]string{"10.0.0.1": "a.test", "10.0.0.2": "a.test", "::1": "localhost", "10.0.0.4": "six.test"} {
		if got := c.names[netip.MustParseAddr(ip)]; got != name {
			t.Errorf("%s is called %q", ip, got)
		}
	}
}

func TestParseBounds(t *testing.T) {
	skip := func(string) bool { return false }
	c, whole := parse(strings.Repeat("::1 a b\n", maxNames/2)+"::1 c\n", skip)
	if whole || len(c.addrs) != 2 {
		t.Errorf("more names than are read: %v, %d", whole, len(c.addrs))
	}
	c, whole = parse("::1 a\n"+strings.Repeat("#", maxFile-len("::1 a\n::1 b"))+"\n::1 bc", skip)
	if whole || len(c.addrs) != 1 {
		t.Errorf("a last line that is cut: %v, %v", whole, c.addrs)
	}
	c, whole = parse(strings.Repeat("a", maxFile+1), skip)
	if whole || len(c.addrs) != 0 {
		t.Errorf("one line: %v, %v", whole, c.addrs)
	}
	var many strings.Builder
	for i := range 2 * maxAddrs {
		fmt.Fprintf(&many, "10.0.0.%d a\n10.0.0.%d b%d\n", i, i, i)
	}
	c, whole = parse(many.String(), skip)
	if !whole || len(c.addrs["a"]) != maxAddrs || len(c.addrs["b7"]) != 1 {
		t.Errorf("a name with many addresses: %v, %d", whole, len(c.addrs["a"]))
	}
}

func TestSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "10.0.0.1 a.test b.test\n10.0.0.2 mine.test\n10.0.0.3 localhost\n")
	c := Config{Entries: entries("mine.test 10.1.0.1\n*.test 10.1.0.2\nalias.example file.example"), System: true, File: path}
	table := newTable(t, c)
	wantFind(t, table, "mine.test", "10.1.0.1")
	wantFind(t, table, "a.test", "10.1.0.2")
	wantName(t, table, "10.0.0.2", "")
	wantFind(t, table, "localhost", "10.0.0.3")
	wantName(t, table, "127.0.0.1", "localhost")

	write(t, path, "10.0.0.4 file.example\n")
	table = newTable(t, c)
	wantFind(t, table, "localhost", "127.0.0.1 ::1")
	if got := text(table.Resolve("alias.example")); got != "10.0.0.4" {
		t.Errorf("got %s", got)
	}
	wantName(t, table, "10.0.0.4", "file.example")
	c.System = false
	wantFind(t, newTable(t, c), "file.example", "-")
}

// TestEtcHosts reads the file of this machine.
func TestEtcHosts(t *testing.T) {
	data, err := os.ReadFile("/etc/hosts")
	if err != nil || !strings.Contains(string(data), "localhost") {
		t.Skip("no /etc/hosts with localhost in it")
	}
	e, ok := newTable(t, Config{System: true}).Find([]byte("localhost"))
	if !ok || len(e.Addrs) == 0 || !e.Addrs[0].IsLoopback() {
		t.Errorf("localhost is %v", e)
	}
}

func TestFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "hosts")
		var log bytes.Buffer
		table := newTable(t, Config{System: true, File: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
		wantFind(t, table, "a.test", "-")
		// It is not looked at more often than every few seconds.
		write(t, path, "10.0.0.1 a.test\n")
		time.Sleep(fileTime - 1)
		wantFind(t, table, "a.test", "-")
		time.Sleep(time.Nanosecond)
		wantFind(t, table, "a.test", "10.0.0.1")
		// One that is the same is not read again.
		before := table.file.look()
		time.Sleep(fileTime)
		if after := table.file.look(); after == before || fmt.Sprintf("%p", after.addrs) != fmt.Sprintf("%p", before.addrs) {
			t.Error("read again")
		}
		// One of the same size and time may be another file.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path+".new", "10.0.0.2 a.test\n")
		if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(fileTime)
		wantFind(t, table, "a.test", "10.0.0.2")
		if log.Len() > 0 {
			t.Errorf("said %s", log.String())
		}
		// One that is none any more keeps what was read, and is told once.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(fileTime)
			wantFind(t, table, "a.test", "10.0.0.2")
		}
		if n := strings.Count(log.String(), "no regular file"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		// One that is gone has no names.
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(fileTime)
		wantFind(t, table, "a.test", "-")
		// One that is too long is read as far as it goes.
		write(t, path, "10.0.0.5 a.test\n"+strings.Repeat("#\n", maxFile/2))
		time.Sleep(fileTime)
		wantFind(t, table, "a.test", "10.0.0.5")
		if !strings.Contains(log.String(), "not read beyond 1048576 bytes") {
			t.Errorf("said:\n%s", log.String())
		}
	})
}

// TestNobodyWaits finds names while another reads the file.
func TestNobodyWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "10.0.0.1 a.test\n")
	table := newTable(t, Config{System: true, File: path})
	old := *table.file.now.Load()
	old.until = time.Time{}
	table.file.now.Store(&old)
	table.file.turn.Lock()
	defer table.file.turn.Unlock()
	wantFind(t, table, "a.test", "10.0.0.1")
	wantName(t, table, "10.0.0.1", "a.test")
}

func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "10.0.0.1 a.test\n10.0.0.1 b.test\n")
	table := newTable(t, Config{Entries: entries("box.test lan\n+.x.test a.test"), System: true, File: path})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 200 {
				if i%10 == 0 { // as if time had passed
					old := *table.file.now.Load()
					old.until, old.info = time.Time{}, nil
					table.file.now.Store(&old)
				}
				wantFind(t, table, "a.test", "10.0.0.1")
				wantName(t, table, "10.0.0.1", "a.test")
				table.Find([]byte("box.test"))
				if got := text(table.Resolve("y.x.test")); got != "10.0.0.1" {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	all.Wait()
}

func FuzzParse(f *testing.F) {
	f.Add("127.0.0.1 localhost\n::1 localhost # loop\n")
	f.Add("10.0.0.1\ta.test\r\nfe80::1%a b\n1.2.3.4 1.2.3.4 A.b. c#d")
	f.Fuzz(func(t *testing.T, data string) {
		c, whole := parse(data, func(name string) bool { return strings.HasPrefix(name, "a") })
		if whole != (len(data) <= maxFile) && strings.Count(data, " ") < maxNames {
			t.Errorf("whole is %v", whole)
		}
		for name, addrs := range c.addrs {
			if got, _, err := flow.ParseHost(name); got != name || err != nil || strings.HasPrefix(name, "a") {
				t.Errorf("%q is no name, or one to be passed over", name)
			}
			seen := make(map[netip.Addr]bool)
			for _, ip := range addrs {
				if !ip.IsValid() || ip.Is4In6() || seen[ip] || c.names[ip] == "" {
					t.Errorf("%q has %v", name, addrs)
				}
				seen[ip] = true
			}
		}
		for ip, name := range c.names {
			if len(c.addrs[name]) == 0 {
				t.Errorf("%s is called %q, which has no address", ip, name)
			}
		}
	})
}
