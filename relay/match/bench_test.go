package match

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
)

const million = 1_000_000

func domain(i int) string { return fmt.Sprintf("site%d.example%d.test", i, i%977) }

func addMillion(b *testing.B) *DomainsBuilder {
	b.Helper()
	builder := new(DomainsBuilder)
	builder.Grow(million, million*len(domain(million)))
	for i := range million {
		if err := builder.Suffix(domain(i)); err != nil {
			b.Fatal(err)
		}
	}
	return builder
}

func build(b *testing.B, builder *DomainsBuilder) *Domains {
	b.Helper()
	d, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func BenchmarkDomains(b *testing.B) {
	d := build(b, addMillion(b))
	// Names are taken in turn, so that the memory of one is not warm for the next.
	hits, misses := make([]string, 4096), make([]string, 4096)
	for i := range hits {
		hits[i] = "www." + domain(i*7919%million)
		misses[i] = "www." + domain(i*7919%million+million)
	}
	for _, q := range []struct {
		name  string
		hosts []string
		want  bool
	}{{"hit", hits, true}, {"miss", misses, false}} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			var n Name
			for i := 0; b.Loop(); i++ {
				n.Set(q.hosts[i%4096])
				if d.Has(&n) != q.want {
					b.Fatal(n.String())
				}
			}
		})
	}
}

func BenchmarkDomainsAdd(b *testing.B) {
	names := make([][]byte, million)
	for i := range names {
		names[i] = []byte("+." + domain(i))
	}
	for b.Loop() {
		var builder DomainsBuilder
		builder.Grow(million, million*len(domain(million)))
		for _, name := range names {
			if err := builder.AddBytes(name); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkDomainsBuild(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		builder := addMillion(b)
		b.StartTimer()
		build(b, builder)
	}
}

func BenchmarkReadBinary(b *testing.B) {
	var data bytes.Buffer
	if err := build(b, addMillion(b)).WriteBinary(&data); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(data.Len()))
	for b.Loop() {
		if _, err := ReadBinary(bytes.NewReader(data.Bytes()), int64(data.Len())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrefixes(b *testing.B) {
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}) }
	v6 := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
	}
	for _, q := range []struct {
		name string
		addr func(i int) netip.Addr
	}{{"v4", v4}, {"v6", v6}} {
		var builder PrefixesBuilder
		for i := range million { // each a range of its own
			builder.AddRange(q.addr(i), q.addr(i))
		}
		p := builder.Build()
		hits, misses := make([]netip.Addr, 4096), make([]netip.Addr, 4096)
		for i := range hits {
			hits[i] = q.addr(i * 7919 % million)
			misses[i] = hits[i].Next()
		}
		for name, addrs := range map[string][]netip.Addr{"hit": hits, "miss": misses} {
			b.Run(q.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if p.Has(addrs[i%4096]) != (name == "hit") {
						b.Fatal(addrs[i%4096])
					}
				}
			})
		}
	}
}
