//go:build !race

package hosts

import (
	"net/netip"
	"path/filepath"
	"testing"
)

func TestFindAllocatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "10.0.0.1 file.example\n")
	table := newTable(t, Config{
		Entries: entries("a.test 10.0.0.1\n+.b.test a.test\nlan.test lan"), System: true, File: path,
	})
	for _, s := range []string{"a.test", "x.b.test", "lan.test", "file.example", "localhost"} {
		name := []byte(s)
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := table.Find(name); !ok {
				t.Errorf("%s is not found", name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	name, ip := []byte("www.example.org"), netip.MustParseAddr("10.0.0.1")
	if n := testing.AllocsPerRun(100, func() { table.Find(name); table.Name(ip) }); n != 0 {
		t.Errorf("a miss: %v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	table, err := New(Config{Entries: entries("a.test 10.0.0.1\n+.b.test a.test"), System: true})
	if err != nil {
		b.Fatal(err)
	}
	name := []byte("www.example.org")
	b.ReportAllocs()
	for b.Loop() {
		table.Find(name)
	}
}
