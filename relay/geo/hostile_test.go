package geo

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// noData and data(at) are records that are no nodes.
const noData = -1

func data(at int) int { return -2 - at }

// raw is a file whose tree and data are what a test says, with nodes of two records of 24 bits.
func raw(nodes [][2]int, section string) []byte {
	var b []byte
	for _, n := range nodes {
		for _, r := range n {
			switch {
			case r == noData:
				r = len(nodes)
			case r < 0:
				r = len(nodes) + gap - 2 - r
			}
			b = append(b, byte(r>>16), byte(r>>8), byte(r))
		}
	}
	b = append(b, make([]byte, gap)...)
	b = append(b, section...)
	text := func(s string) string { return string([]byte{0x40 | byte(len(s))}) + s }
	n := len(nodes)
	return append(b, "\xab\xcd\xefMaxMind.com\xe5"+
		text("binary_format_major_version")+"\xa1\x02"+
		text("database_type")+text("Meta-geoip0")+
		text("ip_version")+"\xa1\x06"+
		text("record_size")+"\xa1\x18"+
		text("node_count")+string([]byte{0xc3, byte(n >> 16), byte(n >> 8), byte(n)})...)
}

// lattice is n nodes, each of which hangs twice in the one before it, and the last of which has leaf.
func lattice(n, leaf int) [][2]int {
	nodes := make([][2]int, n)
	for i := range nodes {
		nodes[i] = [2]int{i + 1, i + 1}
	}
	nodes[n-1] = [2]int{leaf, leaf}
	return nodes
}

func TestHostile(t *testing.T) {
	f := func(what string, file []byte) {
		t.Helper()
		d, err := OpenDB(file)
		if err == nil {
			_, err = d.Countries([]string{"cn"})
			d.Codes(netip.MustParseAddr("1.2.3.4"))
			d.Codes(netip.MustParseAddr("2001:db8::1"))
		}
		if err == nil {
			t.Errorf("%s: want an error", what)
		}
		if Check(CountryDB, file) == nil {
			t.Errorf("%s: Check: want an error", what)
		}
	}
	const cn = "\x42cn"
	if err := Check(CountryDB, raw([][2]int{{data(0), noData}}, cn)); err != nil {
		t.Fatalf("a file that is right: %v", err)
	}
	f("a node that is its own child", raw([][2]int{{0, 0}}, cn))
	f("on the right", raw([][2]int{{noData, 0}}, cn))
	f("two in a circle", raw([][2]int{{noData, 1}, {0, noData}}, cn))
	f("2^100 networks", raw(lattice(100, data(0)), cn))
	f("2^100 times nothing", raw(lattice(100, noData), cn))
	f("a tree deeper than addresses are long", raw(lattice(129, data(0)), cn))

	nodes := lattice(200, noData) // 100 nodes that lead to those of ::/96 in 2^94 ways
	for i := 100; i < 195; i++ {
		nodes[i] = [2]int{i + 1, noData}
	}
	nodes[0], nodes[195] = [2]int{101, 1}, [2]int{data(0), noData}
	nodes[99] = [2]int{196, 196}
	nodes[195] = [2]int{196, noData}
	nodes[196] = [2]int{data(0), noData}
	f("2^98 times IPv4", raw(nodes, cn))

	f("a record between tree and data", raw([][2]int{{1 + gap/2, noData}}, cn))
	f("a record beyond the data", raw([][2]int{{data(3), noData}}, cn))

	record := func(what, section string) {
		t.Helper()
		f(what, raw([][2]int{{data(0), data(0)}}, section))
	}
	record("a pointer to itself", "\x20\x00")
	record("a pointer to a pointer", "\x20\x02\x20\x04"+cn)
	record("a pointer beyond the end", "\x27\xff")
	record("a list that holds itself", "\x01\x04\x20\x00")
	record("a list that holds itself many times", "\x04\x04"+strings.Repeat("\x20\x00", 4))
	record("a map that holds itself many times", "\xe4"+strings.Repeat("\x41a\x20\x00", 4))
	record("a huge list", "\x1f\x04\xff\xff\xff")
	record("a huge map", "\xff\xff\xff\xff")
	record("a huge string", "\x5f\xff\xff\xff"+cn)
	record("a long code", "\x5e\x20\x00"+strings.Repeat("x", 0x2000+285))
	record("a long list", "\x1e\x04\x10\x00"+strings.Repeat("\x41x", 0x1000+285))
	record("an unknown kind", "\x01\xff")
	record("a key that is no string", "\xe1\xa1\x01"+cn)
	record("a country cut short", "\xe1\x47country\xe1\x48iso_code")
}

// TestHeavyRecords: many records that each mean much work together mean no more than a file may.
func TestHeavyRecords(t *testing.T) {
	section := "\x1d\x04\xd3" + strings.Repeat("\x40", 240) // 240 empty strings
	inner := len(section)
	section += "\x1d\x04\x17" + strings.Repeat("\x20\x00", 52) // and 52 times that list
	pointer := string([]byte{0x20 | byte(inner>>8), byte(inner)})
	var places []int
	for range 1 << 14 {
		places = append(places, len(section))
		section += "\xe2\x41x" + pointer + "\x47country\xe1\x48iso_code\x42cn"
	}
	// A tree of 14 levels below ::/96 with all of them as its leaves.
	var nodes [][2]int
	for i := range 96 {
		nodes = append(nodes, [2]int{i + 1, noData})
	}
	for i := 1; i < 1<<14; i++ {
		l, r := 96+2*i-1, 96+2*i
		if i >= 1<<13 {
			l, r = data(places[2*i-1<<14]), data(places[2*i+1-1<<14])
		}
		nodes = append(nodes, [2]int{l, r})
	}
	d := open(t, raw(nodes, section))
	if _, err := d.Countries([]string{"cn"}); err == nil || !strings.Contains(err.Error(), errRecord.Error()) {
		t.Errorf("got %v; want %v", err, errRecord)
	}
	if got := d.Codes(netip.MustParseAddr("1.0.7.1")); !slices.Equal(got, []string{"cn"}) {
		t.Errorf("Codes = %q: one record alone is no great work", got)
	}
}
