package fakeip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func newPool(t testing.TB, r string) *Pool {
	t.Helper()
	p, err := New(Config{Range: netip.MustParsePrefix(r)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantLease leases an address to name and says whether it is the one that is wanted.
func wantLease(t *testing.T, p *Pool, name, want string) {
	t.Helper()
	if got := p.Lease([]byte(name)); got.String() != want {
		t.Fatalf("%s has %s, want %s", name, got, want)
	}
	if got, ok := p.Name(netip.MustParseAddr(want)); got != name || !ok {
		t.Fatalf("%s is of %q, want %s", want, got, name)
	}
}

func TestLease(t *testing.T) {
	p := newPool(t, "198.18.0.1/16")
	wantLease(t, p, "a.test", "198.18.0.4")
	wantLease(t, p, "b.test", "198.18.0.5")
	wantLease(t, p, "a.test", "198.18.0.4")
	if p.Range().String() != "198.18.0.0/16" || p.Len() != 2 {
		t.Errorf("%d leases of %s", p.Len(), p.Range())
	}
	for _, name := range []string{"", strings.Repeat("a", 256)} {
		if ip := p.Lease([]byte(name)); ip.IsValid() {
			t.Errorf("%q has %s", name, ip)
		}
	}
	if !p.Has([]byte("a.test")) || p.Has([]byte("c.test")) {
		t.Error("Has is wrong")
	}
	for ip, want := range map[string]bool{
		"198.18.0.0": true, "198.18.0.5": true, "198.18.255.255": true, "::ffff:198.18.0.4": true,
		"198.17.255.255": false, "198.19.0.0": false, "::198.18.0.4": false,
	} {
		if got := p.Contains(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Contains(%s) is %v", ip, got)
		}
	}
	for _, ip := range []string{"198.18.0.0", "198.18.0.3", "198.18.0.6", "198.18.255.255", "10.0.0.1", "fd00::4"} {
		if name, ok := p.Name(netip.MustParseAddr(ip)); ok {
			t.Errorf("%s is of %q", ip, name)
		}
	}
	if name, ok := p.Name(netip.Addr{}); ok || p.Contains(netip.Addr{}) {
		t.Errorf("no address is of %q", name)
	}
	if name, ok := p.Name(netip.MustParseAddr("::ffff:198.18.0.4")); !ok {
		t.Errorf("IPv4 inside IPv6 is of %q", name)
	}
}

func TestLeaseIPv6(t *testing.T) {
	for r, want := range map[string]string{
		"fc00::/18":                     "fc00::4",
		"fdfe:dcba:9876:1::1/64":        "fdfe:dcba:9876:1::4",
		"fd00::ffff:ffff:ffff:fff0/124": "fd00::ffff:ffff:ffff:fff4",
		"fd00::1:0:0:0/80":              "fd00::1:0:0:4",
	} {
		p := newPool(t, r)
		wantLease(t, p, "a.test", want)
		other := netip.MustParseAddr(want).As16()
		other[7] ^= 1
		if name, ok := p.Name(netip.AddrFrom16(other)); ok {
			t.Errorf("%s: another network is of %q", r, name)
		}
	}
	p := newPool(t, "fd00::/124")
	for i := range 12 {
		p.Lease([]byte(strconv.Itoa(i)))
	}
	if name, _ := p.Name(netip.MustParseAddr("fd00::f")); name != "11" {
		t.Errorf("the last address is of %q", name)
	}
}

func TestRanges(t *testing.T) {
	f := func(r, want string) {
		t.Helper()
		prefix, _ := netip.ParsePrefix(r)
		p, err := New(Config{Range: prefix})
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", r, err, want)
		case err == nil && p.size > maxLeases:
			t.Errorf("%s: lends %d", r, p.size)
		}
	}
	f("198.18.0.0/28", "")
	f("0.0.0.0/0", "")
	f("::/0", "")
	f("198.18.0.0/29", "fake addresses 198.18.0.0/29: the range is too small")
	f("198.18.0.9/32", "too small")
	f("fd00::/125", "too small")
	f("", "want a range")
	f("::ffff:198.18.0.0/112", "want a range")
}

// TestFull fills a small range: the lease that was used least recently makes room.
func TestFull(t *testing.T) {
	p := newPool(t, "10.0.0.0/28")
	for i := range 11 {
		wantLease(t, p, fmt.Sprint(i), fmt.Sprintf("10.0.0.%d", 4+i))
	}
	wantLease(t, p, "0", "10.0.0.4")
	p.Name(netip.MustParseAddr("10.0.0.5"))
	p.Has([]byte("2")) // no use
	wantLease(t, p, "new", "10.0.0.6")
	wantLease(t, p, "2", "10.0.0.7")
	// What is free is lent first, what has been free for longest before the rest.
	for _, name := range []string{"9", "5"} {
		if !p.Drop([]byte(name)) || p.Drop([]byte(name)) {
			t.Errorf("Drop(%s)", name)
		}
	}
	if name, ok := p.Name(netip.MustParseAddr("10.0.0.13")); ok || p.Len() != 9 {
		t.Errorf("a dropped address is of %q; %d leases", name, p.Len())
	}
	wantLease(t, p, "5", "10.0.0.13")
	wantLease(t, p, "9", "10.0.0.9")
	wantLease(t, p, "newer", "10.0.0.8")
	if err := p.Flush(); err != nil || p.Len() != 0 || p.Has([]byte("new")) {
		t.Errorf("%d leases, %v", p.Len(), err)
	}
	wantLease(t, p, "again", "10.0.0.4")
}

// model is a pool as its description has it.
type model struct {
	lent       int
	used, free []string // addresses; the first goes first
	names      map[string]string
}

func (m *model) find(name string) string {
	for ip, n := range m.names {
		if n == name {
			return ip
		}
	}
	return ""
}

func (m *model) use(ip string) {
	m.used = slices.DeleteFunc(m.used, func(s string) bool { return s == ip })
	m.used = append(m.used, ip)
}

func (m *model) lease(name string) string {
	ip := m.find(name)
	switch {
	case ip != "":
	case m.lent < 11:
		ip = fmt.Sprintf("10.0.0.%d", 4+m.lent)
		m.lent++
	case len(m.free) > 0:
		ip, m.free = m.free[0], m.free[1:]
	default:
		ip = m.used[0]
	}
	m.names[ip] = name
	m.use(ip)
	return ip
}

func (m *model) drop(name string) bool {
	ip := m.find(name)
	if ip == "" {
		return false
	}
	delete(m.names, ip)
	m.used = slices.DeleteFunc(m.used, func(s string) bool { return s == ip })
	m.free = append(m.free, ip)
	return true
}

func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		p, m := newPool(t, "10.0.0.0/28"), model{names: make(map[string]string)}
		for range 400 {
			name := strconv.Itoa(r.IntN(18))
			ip := fmt.Sprintf("10.0.0.%d", r.IntN(16))
			switch r.IntN(8) {
			case 0:
				if got, want := p.Drop([]byte(name)), m.drop(name); got != want {
					t.Fatalf("Drop(%s) is %v", name, got)
				}
			case 1, 2:
				got, ok := p.Name(netip.MustParseAddr(ip))
				want, lent := m.names[ip]
				if lent {
					m.use(ip)
				}
				if got != want || ok != lent {
					t.Fatalf("%s is of %q, want %q", ip, got, want)
				}
			default:
				if got, want := p.Lease([]byte(name)).String(), m.lease(name); got != want {
					t.Fatalf("%s has %s, want %s", name, got, want)
				}
			}
			if p.Len() != len(m.names) {
				t.Fatalf("%d leases, want %d", p.Len(), len(m.names))
			}
		}
	}
}

func TestEvict(t *testing.T) {
	p := newPool(t, "198.18.0.0/16")
	for i := range 1000 {
		p.Lease([]byte(strconv.Itoa(i)))
	}
	n := p.Evict(func(name string) bool {
		if name == "7" { // while it is judged, its address goes to another name
			p.Drop([]byte("7"))
		}
		return strings.HasSuffix(name, "7")
	})
	if n != 99 || p.Len() != 900 || p.Has([]byte("7")) || p.Has([]byte("997")) || !p.Has([]byte("998")) {
		t.Errorf("%d have ended, %d are left", n, p.Len())
	}
	wantLease(t, p, "new", "198.18.3.236")
	if n := p.Evict(func(string) bool { return p.Flush() == nil }); n != 0 || p.Len() != 0 {
		t.Errorf("%d have ended, %d are left", n, p.Len())
	}
}

// TestConcurrent has many use a small pool. An address that a name has just been given is its own, or
// has gone to another one meanwhile.
func TestConcurrent(t *testing.T) {
	p := newPool(t, "10.0.0.0/28")
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for range 2000 {
				name := strconv.Itoa(r.IntN(20))
				ip := p.Lease([]byte(name))
				if !p.Contains(ip) || !ip.IsValid() {
					t.Errorf("%s has %s", name, ip)
				}
				p.Name(ip)
				switch r.IntN(50) {
				case 0:
					p.Drop([]byte(name))
				case 1:
					p.Evict(func(name string) bool { return name < "12" })
				case 2:
					_ = p.Flush()
				}
			}
		})
	}
	all.Wait()
	seen := make(map[netip.Addr]bool)
	for i := range 20 {
		name := strconv.Itoa(i)
		if !p.Has([]byte(name)) {
			continue
		}
		ip := p.Lease([]byte(name))
		if got, _ := p.Name(ip); got != name || seen[ip] {
			t.Errorf("%s has %s, which is of %q", name, ip, got)
		}
		seen[ip] = true
	}
	if p.Len() != len(seen) {
		t.Errorf("%d leases, %d addresses", p.Len(), len(seen))
	}
}

func BenchmarkLease(b *testing.B) {
	p := newPool(b, "198.18.0.0/15")
	names := make([][]byte, 100_000)
	for i := range names {
		names[i] = fmt.Appendf(nil, "host-%d.example.test", i)
		p.Lease(names[i])
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	f := func(name string, names [][]byte) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i++; i == len(names) {
					i = 0
				}
				p.Lease(names[i])
			}
		})
	}
	f("busy", names[:100])
	f("all", names)
}
