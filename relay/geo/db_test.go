package geo

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

func open(t testing.TB, data []byte) *DB {
	t.Helper()
	d, err := OpenDB(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// prefixes of a set, as text.
func prefixes(s *match.Prefixes) string {
	var all []string
	for p := range s.All() {
		all = append(all, p.String())
	}
	return strings.Join(all, " ")
}

func TestCountries(t *testing.T) {
	f := func(what string, o mmdbwriter.Options, networks ...network) {
		t.Helper()
		for _, size := range []int{24, 28, 32} {
			for _, bare := range []bool{false, true} {
				o.RecordSize, o.DisableIPv4Aliasing = size, bare
				data := dbOf(t, o, networks...)
				if err := Check(CountryDB, data); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				d := open(t, data)
				sets, err := d.Countries([]string{"cn", "de", "none", "cn"})
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				got := fmt.Sprint(len(sets), " ", prefixes(sets["cn"]), "; ", prefixes(sets["de"]), "; ", prefixes(sets["none"]))
				if want := "3 1.2.0.0/23 2001:db8::/32; 1.2.4.0/24 9.9.9.9/32; "; got != want {
					t.Errorf("%s, %d bits, bare %v: got %q, want %q", what, size, bare, got, want)
				}
				if got := strings.Join(d.Codes(netip.MustParseAddr("1.2.1.7")), " "); got != "cn" {
					t.Errorf("%s: Codes = %q, want cn", what, got)
				}
				if got := d.Codes(netip.MustParseAddr("::ffff:9.9.9.9")); !slices.Equal(got, []string{"de"}) {
					t.Errorf("%s: Codes = %q, want de", what, got)
				}
				for _, a := range []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2001:db9::"), {}} {
					if got := d.Codes(a); len(got) > 0 {
						t.Errorf("%s: Codes(%v) = %q, want none", what, a, got)
					}
				}
				if n, name := d.ASN(netip.MustParseAddr("1.2.1.7")); n != 0 || name != "" {
					t.Errorf("%s: ASN = %d, %q", what, n, name)
				}
				if _, err := d.ASNs([]uint32{1}); err == nil {
					t.Errorf("%s: ASNs: want an error", what)
				}
			}
		}
	}
	f("GeoLite2", mmdbwriter.Options{DatabaseType: "GeoLite2-Country"},
		network{"1.2.0.0/24", country("CN")}, network{"1.2.1.0/24", country("CN")}, network{"1.2.4.0/24", country("DE")},
		network{"9.9.9.9/32", country("DE")}, network{"2001:db8::/32", country("CN")},
		network{"3.0.0.0/8", mmdbtype.Map{"continent": mmdbtype.Map{"code": mmdbtype.String("cn")}}})
	f("sing", mmdbwriter.Options{DatabaseType: "sing-geoip"},
		network{"1.2.0.0/23", mmdbtype.String("cn")}, network{"1.2.4.0/24", mmdbtype.String("de")},
		network{"9.9.9.9/32", mmdbtype.String("de")}, network{"2001:db8::/32", mmdbtype.String("cn")},
		network{"3.0.0.0/8", mmdbtype.String("")})
	f("Meta", mmdbwriter.Options{DatabaseType: "Meta-geoip0"},
		network{"1.2.0.0/24", codes("cn")}, network{"1.2.1.0/24", mmdbtype.String("cn")}, network{"1.2.4.0/24", codes("de", "eu")},
		network{"9.9.9.9/32", codes("de")}, network{"2001:db8::/32", codes("cn")}, network{"3.0.0.0/8", mmdbtype.Slice{}})
	f("a code in place of the country", mmdbwriter.Options{DatabaseType: "ipinfo country.mmdb"},
		network{"1.2.0.0/23", mmdbtype.Map{"country": mmdbtype.String("CN")}}, network{"1.2.4.0/24", country("DE")},
		network{"9.9.9.9/32", country("DE")}, network{"2001:db8::/32", country("CN")})
}

func TestSeveralCodes(t *testing.T) {
	d := open(t, dbOf(t, mmdbwriter.Options{DatabaseType: "Meta-geoip0", IPVersion: 4},
		network{"1.0.0.0/8", codes("US", "google")}, network{"2.0.0.0/8", codes("us")}))
	sets, err := d.Countries([]string{"us", "google"})
	if err != nil {
		t.Fatal(err)
	}
	if got := prefixes(sets["us"]) + "; " + prefixes(sets["google"]); got != "1.0.0.0/8 2.0.0.0/8; 1.0.0.0/8" {
		t.Errorf("got %s", got)
	}
	if got := d.Codes(netip.MustParseAddr("1.1.1.1")); !slices.Equal(got, []string{"us", "google"}) {
		t.Errorf("Codes = %q", got)
	}
	if got := d.Codes(netip.MustParseAddr("2001:db8::1")); got != nil {
		t.Errorf("Codes of IPv6 in a file of IPv4 = %q", got)
	}
}

func TestASNs(t *testing.T) {
	f := func(kind string, networks ...network) {
		t.Helper()
		data := dbOf(t, mmdbwriter.Options{DatabaseType: kind}, networks...)
		if err := Check(ASNDB, data); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		d := open(t, data)
		sets, err := d.ASNs([]uint32{13335, 4200000000, 0})
		if err != nil {
			t.Fatal(err)
		}
		if got := prefixes(sets[13335]) + "; " + prefixes(sets[4200000000]) + prefixes(sets[0]); got != "1.1.1.0/24 2606:4700::/32; 2.0.0.0/8" {
			t.Errorf("%s: got %s", kind, got)
		}
		if n, name := d.ASN(netip.MustParseAddr("1.1.1.1")); n != 13335 || name != "Cloudflare" {
			t.Errorf("%s: ASN = %d, %q", kind, n, name)
		}
		if n, name := d.ASN(netip.MustParseAddr("3.1.1.1")); n != 0 || name != "" {
			t.Errorf("%s: ASN = %d, %q", kind, n, name)
		}
		if got := d.Codes(netip.MustParseAddr("1.1.1.1")); got != nil {
			t.Errorf("%s: Codes = %q", kind, got)
		}
		if _, err := d.Countries([]string{"cn"}); err == nil {
			t.Errorf("%s: Countries: want an error", kind)
		}
	}
	for _, kind := range []string{"GeoLite2-ASN", "DBIP-ASN-Lite (compat=GeoLite2-ASN)", "GeoIP2-ISP"} {
		f(kind, network{"1.1.1.0/24", system(13335, "Cloudflare")}, network{"2.0.0.0/8", system(4200000000, "Two")},
			network{"2606:4700::/32", system(13335, "Cloudflare")})
	}
	ipinfo := func(as, name string) mmdbtype.Map {
		return mmdbtype.Map{"asn": mmdbtype.String(as), "name": mmdbtype.String(name), "domain": mmdbtype.String("a.test")}
	}
	f("ipinfo generic_asn_free.mmdb", network{"1.1.1.0/24", ipinfo("AS13335", "Cloudflare")},
		network{"2.0.0.0/8", ipinfo("as4200000000", "Two")}, network{"2606:4700::/32", ipinfo("AS13335", "Cloudflare")},
		network{"3.0.0.0/8", ipinfo("AS99999999999", "")}, network{"4.0.0.0/8", ipinfo("", "")}, network{"5.0.0.0/8", ipinfo("none", "")})
}

// TestAllOfIPv4: a network that holds all of IPv4 is both, and hides none that has the same record.
func TestAllOfIPv4(t *testing.T) {
	f := func(bare bool, want string, networks ...network) {
		t.Helper()
		d := open(t, dbOf(t, mmdbwriter.Options{DatabaseType: "sing-geoip", DisableIPv4Aliasing: bare}, networks...))
		sets, err := d.Countries([]string{"a", "b"})
		if got := prefixes(sets["a"]) + "; " + prefixes(sets["b"]); err != nil || got != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	a, b := mmdbtype.String("a"), mmdbtype.String("b")
	f(true, "0.0.0.0/0 ::/0; ", network{"::/0", a})
	f(true, "0.0.0.0/0 ::/96; ", network{"0.0.0.0/0", a})
	f(true, "0.0.0.0/0 ::/96 3000::/4; 2400::/12", network{"0.0.0.0/0", a}, network{"3000::/4", a}, network{"2400::/12", b})
	// The writer splits what it makes aliases of.
	f(false, "0.0.0.0/0 ::/97 3000::/4; 2400::/12", network{"0.0.0.0/0", a}, network{"3000::/4", a}, network{"2400::/12", b})
	f(true, "; 1.2.3.0/24", network{"::ffff:1.2.3.0/120", b})
	// Without aliases those places are as any.
	f(true, "; 2001::/32 2002:102::/32", network{"2001::/32", b}, network{"2002:102::/32", b})
}

// TestLoopback: ::1 stands where 0.0.0.1 does, and is an address all the same.
func TestLoopback(t *testing.T) {
	f := func(prefix string) {
		t.Helper()
		d := open(t, dbOf(t, mmdbwriter.Options{DatabaseType: "sing-geoip"}, network{prefix, mmdbtype.String("private")}))
		sets, err := d.Countries([]string{"private"})
		loopback := netip.IPv6Loopback()
		if err != nil || !sets["private"].Has(loopback) || !slices.Equal(d.Codes(loopback), []string{"private"}) {
			t.Errorf("%s: %s, %v", prefix, prefixes(sets["private"]), err)
		}
	}
	f("0.0.0.0/8")
	f("0.0.0.1/32")
	f("::/127")
	f("::1/128")
}

// TestCountriesRandom compares the sets of random files with lookups, and with the networks that were
// written.
func TestCountriesRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	all := []string{"aa", "bb", "cc", "dd"}
	for range 40 {
		var networks []network
		for range random.IntN(200) {
			networks = append(networks, network{randomPrefix(random).String(), codes(all[random.IntN(4)], all[random.IntN(4)])})
		}
		d := open(t, dbOf(t, mmdbwriter.Options{DatabaseType: "Meta-geoip0", DisableIPv4Aliasing: random.IntN(2) == 0}, networks...))
		sets, err := d.Countries(all)
		if err != nil {
			t.Fatal(err)
		}
		for range 500 {
			a := randomAddr(random)
			var want mmdbtype.Slice
			for _, n := range networks {
				if netip.MustParsePrefix(n.prefix).Contains(a) {
					want = n.data.(mmdbtype.Slice) // the last one written
				}
			}
			found := d.Codes(a)
			if fmt.Sprint(found) != fmt.Sprint(want) {
				t.Fatalf("Codes(%v) = %v; want %v", a, found, want)
			}
			for _, code := range all {
				if sets[code].Has(a) != slices.Contains(found, code) {
					t.Fatalf("%s: Has(%v) = %v; the record has %v", code, a, sets[code].Has(a), found)
				}
			}
		}
	}
}

func TestOpenDBBad(t *testing.T) {
	good := dbOf(t, mmdbwriter.Options{DatabaseType: "sing-geoip"}, network{"1.0.0.0/8", mmdbtype.String("cn")})
	marker := bytes.LastIndex(good, []byte("\xab\xcd\xefMaxMind.com"))
	f := func(what string, data []byte) {
		t.Helper()
		if _, err := OpenDB(data); err == nil {
			t.Errorf("%s: want an error", what)
		}
	}
	f("nothing", nil)
	f("a page", []byte("<html></html>"))
	f("cut short", good[:len(good)-10])
	f("half", good[:len(good)/2])
	f("without its beginning", good[100:])
	f("only metadata", good[marker:])
	f("only the marker", good[marker:marker+14])
	f("a list file", []byte(testSites()))
	f("lower version", replace(t, good, "binary_format_major_version", 0xa1, 1))
	f("other addresses", replace(t, good, "ip_version", 0xa1, 5))
	f("other records", replace(t, good, "record_size", 0xa1, 23))
	f("many nodes", replace(t, good, "node_count", 0xc1, 255))
}

// replace sets the one byte of a number of the metadata.
func replace(t *testing.T, data []byte, key string, control, value byte) []byte {
	t.Helper()
	at := bytes.LastIndex(data, []byte(key)) + len(key)
	if data[at] != control {
		t.Fatalf("%s: control byte %x", key, data[at])
	}
	data = bytes.Clone(data)
	data[at+1] = value
	return data
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	d := open(t, dbOf(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country"}, network{"1.0.0.0/8", country("CN")}))
	s, err := OpenSites([]byte(testSites()))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			sets, err := d.Countries([]string{"cn"})
			a := netip.MustParseAddr("1.2.3.4")
			if err != nil || !sets["cn"].Has(a) || len(d.Codes(a)) != 1 {
				t.Errorf("%v: not in cn: %v", a, err)
			}
			if set, err := s.List("attr@ads"); err != nil || !set.Has(name("ads.test")) {
				t.Errorf("ads.test: not on the list: %v", err)
			}
		})
	}
	wg.Wait()
}

// TestRealDB compares what the three files, which come from the same lists, say of addresses.
func TestRealDB(t *testing.T) {
	g, err := OpenIPs(real(t, "geoip-lite.dat"))
	if err != nil {
		t.Fatal(err)
	}
	dat := make(map[string]*match.Prefixes)
	for code := range g.lists {
		set, err := g.Prefixes(code)
		if err != nil || set.Not {
			t.Fatalf("%s: %v, %v", code, set.Not, err)
		}
		dat[code] = set.Prefixes
	}
	random := rand.New(rand.NewPCG(7, 8))
	for _, file := range []string{"country-lite.mmdb", "geoip-lite.metadb"} {
		data := real(t, file)
		if err := Check(CountryDB, data); err != nil {
			t.Fatal(err)
		}
		d := open(t, data)
		sets, err := d.Countries(slices.Collect(maps.Keys(dat)))
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range slices.Sorted(maps.Keys(sets)) { // sorted, so that each run has the same addresses
			set := sets[code]
			t.Logf("%s: %s: %d networks, %d in the .dat", file, code, set.Len(), dat[code].Len())
			addrs := []netip.Addr{netip.IPv6Loopback()}
			for first, last := range dat[code].Ranges() {
				addrs = append(addrs, first.Prev(), first, last, last.Next())
			}
			for range 10_000 {
				addrs = append(addrs, anyAddr(random))
			}
			for _, a := range addrs {
				found := d.Codes(a)
				if inTunnel(a) { // the record is that of an IPv4 address, which the set has as itself
					if set.Has(a) {
						t.Fatalf("%s: %s: the set holds %v", file, code, a)
					}
					continue
				}
				if set.Has(a) != slices.Contains(found, code) {
					t.Fatalf("%s: %s: the set and the record of %v differ", file, code, a)
				}
				if a.Is6() && !a.IsLoopback() && netip.MustParsePrefix("::/96").Contains(a) {
					continue // which are IPv4 in the .mmdb, and nothing in practice
				}
				// The .mmdb has one code for an address of which the .dat may have several, such as cn
				// and google; so one that it has not must be on the list of the code that it has.
				other := file == "country-lite.mmdb" && len(found) == 1 && dat[found[0]].Has(a)
				if set.Has(a) != dat[code].Has(a) && !(dat[code].Has(a) && other) {
					t.Fatalf("%s: %s: %v has %v, and the .dat says %v", file, code, a, found, dat[code].Has(a))
				}
			}
		}
	}
}

// inTunnel says whether an address is one of 6to4 or Teredo, which carry IPv4 addresses.
func inTunnel(a netip.Addr) bool {
	return netip.MustParsePrefix("2002::/16").Contains(a) || netip.MustParsePrefix("2001::/32").Contains(a)
}

func FuzzDB(f *testing.F) {
	// Small ones: the fuzzer spends its time on making large ones smaller.
	f.Add(raw([][2]int{{data(0), 1}, {data(3), noData}}, "\x42cn\xe1\x47country\xe1\x48iso_code\x42de"))
	f.Add(raw([][2]int{{1, 0}, {noData, data(0)}}, "\x02\x04\x42cn\x20\x02"))
	system := raw([][2]int{{data(0), data(0)}}, "\xe2\x43asn\x47AS13335\x44name\x41x")
	f.Add(bytes.Replace(system, []byte("Meta-geoip0"), []byte("GeoLite-ASN"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		checked := [2]error{Check(CountryDB, data), Check(ASNDB, data)}
		d, err := OpenDB(data)
		if err == nil && d.Kind() == CountryDB {
			_, err = d.Countries([]string{"cn", "de"})
		} else if err == nil {
			_, err = d.ASNs([]uint32{13335})
		}
		if err != nil && (checked[0] == nil || checked[1] == nil) {
			t.Fatalf("Check took what cannot be walked: %v", err)
		}
		if d != nil {
			for _, a := range []string{"1.2.3.4", "0.0.0.0", "2001:db8::1", "::", "ffff::"} {
				d.Codes(netip.MustParseAddr(a))
				d.ASN(netip.MustParseAddr(a))
			}
		}
	})
}

func BenchmarkCountries(b *testing.B) {
	for _, file := range []string{"country-lite.mmdb", "geoip-lite.metadb"} {
		data := real(b, file)
		b.Run(file, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d, err := OpenDB(data)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := d.Countries([]string{"cn", "private"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLargeDB walks a file the size of the real ones of the whole world.
func BenchmarkLargeDB(b *testing.B) {
	random := rand.New(rand.NewPCG(9, 10))
	var networks []network
	for i := range 500_000 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24)
		networks = append(networks, network{prefix.String(), system(uint32(1+random.IntN(70_000)), "An organization")})
	}
	data := dbOf(b, mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"}, networks...)
	for b.Loop() {
		d, err := OpenDB(data)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.ASNs([]uint32{13335, 15169, 4134}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(data))/1e6, "MB")
}

func BenchmarkCodes(b *testing.B) {
	d := open(b, real(b, "geoip-lite.metadb"))
	a := netip.MustParseAddr("1.0.1.1")
	b.ReportAllocs()
	for b.Loop() {
		d.Codes(a)
	}
}
