package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

// number and block are fields of a protobuf message.
func number(id, v uint64) string {
	return string(binary.AppendUvarint(binary.AppendUvarint(nil, id<<3), v))
}

func block(id uint64, fields ...string) string {
	body := strings.Join(fields, "")
	return string(binary.AppendUvarint(binary.AppendUvarint(nil, id<<3|2), uint64(len(body)))) + body
}

// The kinds of names in a GeoSite.dat.
const (
	suffixSite = 2
	fullSite   = 3
)

// site is an entry of a list of names, with its attributes.
func site(kind uint64, name string, attributes ...string) string {
	body := number(1, kind) + block(2, name)
	for _, a := range attributes {
		body += block(3, block(1, a), number(2, 1))
	}
	return block(2, body)
}

// cidr is an entry of a list of addresses.
func cidr(prefix string) string {
	p := netip.MustParsePrefix(prefix)
	return block(2, block(1, string(p.Addr().AsSlice())), number(2, uint64(p.Bits())))
}

// dat is a file with one list of either kind.
func dat(list string, entries ...string) string {
	return block(1, append([]string{block(1, list)}, entries...)...)
}

// mmdb is a database of one record for each of the prefixes.
func mmdb(t *testing.T, kind string, record mmdbtype.DataType, prefixes ...string) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes {
		_, network, err := net.ParseCIDR(p)
		if err == nil {
			err = w.Insert(network, record)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func countryDB(t *testing.T, code string, prefixes ...string) string {
	t.Helper()
	return mmdb(t, "GeoLite2-Country", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}}, prefixes...)
}

func systemDB(t *testing.T, n uint32, prefixes ...string) string {
	t.Helper()
	return mmdb(t, "GeoLite2-ASN", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(n)}, prefixes...)
}

// geoWeb serves geo data, and says so in a configuration.
func geoWeb(t *testing.T) (w *web, urls string) {
	t.Helper()
	w = newWeb(t, "")
	w.text("/geosite", dat("SHOP", site(suffixSite, "shop.test"), site(fullSite, "full.test"), site(suffixSite, "ads.test", "ads")))
	w.text("/country", countryDB(t, "CN", "203.0.113.0/24", "2001:db8:1::/48"))
	w.text("/asn", systemDB(t, 64500, "198.51.100.0/24"))
	w.text("/geoip", dat("CN", cidr("192.0.2.0/24"), cidr("2001:db8:2::/48")))
	return w, strings.ReplaceAll(`geox-url: {geoip: "URL/geoip", mmdb: "URL/country", asn: "URL/asn", geosite: "URL/geosite"}
`, "URL", w.URL)
}

// asked are the numbers of downloads of each file.
func asked(w *web) [4]int {
	return [4]int{len(w.requests("/geosite")), len(w.requests("/country")), len(w.requests("/asn")), len(w.requests("/geoip"))}
}

// TestGeoDownloadsWhatRulesNeed starts without any geo data: what rules need comes, and nothing else.
func TestGeoDownloadsWhatRulesNeed(t *testing.T) {
	w, urls := geoWeb(t)
	names := w.pages["/geosite"]
	hold := make(chan struct{})
	w.page("/geosite", func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
			names(rw, r)
		case <-r.Context().Done():
		}
	})
	base := urls + answering(t, "a", "b", "c", "d")
	const rules = "GEOSITE,shop@ads,c\nGEOSITE,SHOP,a\nGEOIP,CN,b,no-resolve\nNOT,((GEOSITE,nobody)),a\nMATCH,d"
	d := testkit.Start(t, "mixed-port: MIXED\n"+base+ruleLines("rules", inner+rules))
	takes(t, d, "shop.test", "d") // nothing waits, and nothing matches
	d.WaitLog(t, "GeoSite.dat is not there")
	if list := get[api.RuleList](t, d, "/rules").Rules; list[2].Size != 0 {
		t.Errorf("%+v", list)
	}
	close(hold)
	becomes(t, d, "www.shop.test", "a")
	becomes(t, d, "203.0.113.77", "b")
	takes(t, d, "full.test", "a")
	takes(t, d, "www.full.test", "d")
	takes(t, d, "x.ads.test", "c")
	takes(t, d, "[2001:db8:1::7]", "b")
	takes(t, d, "203.0.114.77", "d")
	d.WaitLog(t, "has nothing for nobody")
	for i, want := range map[int]int{1: 1, 2: 3, 3: 2, 4: -1} {
		if r := get[api.RuleList](t, d, "/rules").Rules[i]; r.Size != want {
			t.Errorf("%+v; want size %d", r, want)
		}
	}
	if got := asked(w); got != [4]int{1, 1, 0, 0} {
		t.Errorf("downloads: %v", got)
	}
	// Another rule needs another file: it comes after the reload.
	load(t, d, base+ruleLines("rules", inner+"SUB-RULE,(NETWORK,tcp),s\n"+rules)+"sub-rules: {s: ['IP-ASN,64500,c,no-resolve']}\n")
	becomes(t, d, "198.51.100.1", "c")
	takes(t, d, "www.shop.test", "a")
	w.Close()
	if got := asked(w); got != [4]int{1, 1, 1, 0} {
		t.Errorf("downloads: %v", got)
	}
	for _, file := range []string{"GeoSite.dat", "geoip.metadb", "ASN.mmdb"} {
		if st, err := os.Stat(filepath.Join(d.Home, file)); err != nil || st.Size() == 0 {
			t.Errorf("%v, %v", st, err)
		}
	}
	d = d.Restart(t) // what is there is used at once
	takes(t, d, "www.shop.test", "a")
	takes(t, d, "203.0.113.77", "b")
}

// TestGeoNothingNeeded has no rule that needs geo data: none is downloaded, even by request.
func TestGeoNothingNeeded(t *testing.T) {
	w, urls := geoWeb(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+urls+"geo-auto-update: true\ngeo-update-interval: 1\n"+answering(t, "a", "b")+ruleLines("rules", inner+"GEOIP,LAN,a\nMATCH,b"))
	takes(t, d, "192.168.1.1", "a")
	takes(t, d, "203.0.113.77", "b")
	for _, path := range []string{"/configs/geo", "/upgrade/geo"} {
		if status, body := d.Do(t, "POST", path, ""); status != 204 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if got := asked(w); got != [4]int{} {
		t.Errorf("downloads: %v", got)
	}
	// A classical set needs some: the rules that refer to it do.
	load(t, d, urls+answering(t, "a", "b")+ruleLines("rules", inner+"RULE-SET,lines,a\nMATCH,b")+
		"rule-providers: {lines: {type: inline, behavior: classical, payload: ['GEOSITE,shop', 'DOMAIN,x.test']}}\n")
	takes(t, d, "x.test", "a")
	becomes(t, d, "shop.test", "a")
	if got := asked(w); got != [4]int{1, 0, 0, 0} {
		t.Errorf("downloads: %v", got)
	}
}

// TestGeoUpdates replaces data that is in use, by the API: by good data, and not by bad.
func TestGeoUpdates(t *testing.T) {
	w, urls := geoWeb(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+urls+answering(t, "a", "b", "c")+ruleLines("rules", inner+"GEOSITE,shop,a\nGEOIP,cn,b,no-resolve\nMATCH,c"))
	becomes(t, d, "shop.test", "a")
	becomes(t, d, "203.0.113.77", "b")
	file := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(d.Home, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	post := func(path string, status int, says string) {
		t.Helper()
		until(t, "no download of the daemon's own is under way", func() bool {
			got, body := d.Do(t, "POST", path, `{"path":"","payload":""}`)
			if strings.Contains(body, "running already") {
				return false
			}
			if got != status || !strings.Contains(body, says) {
				t.Errorf("%s: %d %s; want %d, %s", path, got, body, status, says)
			}
			return true
		})
	}
	post("/configs/geo", 204, "")
	sites, countries := file("GeoSite.dat"), file("geoip.metadb")
	live := connect(t, d.Mixed, "shop.test:80")
	bad := func(page, says string, h http.HandlerFunc) {
		t.Helper()
		before := w.pages[page]
		w.page(page, h)
		post("/configs/geo", 500, says)
		post("/upgrade/geo", 500, `"code":"update_failed"`)
		w.page(page, before)
		if file("GeoSite.dat") != sites || file("geoip.metadb") != countries {
			t.Errorf("%s, %s: the files have changed", page, says)
		}
		takes(t, d, "shop.test", "a")
		takes(t, d, "203.0.113.77", "b")
	}
	body := func(s string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, s) }
	}
	const html = "<!DOCTYPE html><html><body>Sign in to this network</body></html>"
	for page, kind := range map[string]string{"/geosite": "GeoSite", "/country": "MMDB"} {
		bad(page, "invalid "+kind+" database file: no usable "+kind+" file: it is a web page", body(html))
		bad(page, "invalid "+kind+" database file", body(""))
		bad(page, "can't download "+kind+" database file: 404 Not Found", http.NotFound)
	}
	bad("/geosite", "invalid GeoSite", body(sites[:len(sites)-3]))
	bad("/geosite", "invalid GeoSite", body(dat("CN", cidr("192.0.2.0/24"))))
	bad("/country", "invalid MMDB", body(countries[:len(countries)/2]))
	bad("/country", "it is of the kind ASN", body(systemDB(t, 1, "203.0.113.0/24")))

	w.text("/geosite", dat("shop", site(suffixSite, "mall.test")))
	w.text("/country", countryDB(t, "CN", "198.51.100.0/24"))
	post("/upgrade/geo", 204, "")
	takes(t, d, "mall.test", "a")
	takes(t, d, "shop.test", "c")
	takes(t, d, "198.51.100.77", "b")
	takes(t, d, "203.0.113.77", "c")
	if r := get[api.RuleList](t, d, "/rules").Rules; r[1].Size != 1 || r[2].Size != 1 {
		t.Errorf("%+v", r)
	}
	if is := shown(t, d, live); is.Rule != "GeoSite" || is.Chains[0] != "a" {
		t.Errorf("the tunnel that was open: %+v", is)
	}
	_, _ = io.WriteString(live, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	if got, err := io.ReadAll(live); err != nil || !strings.HasSuffix(string(got), "\r\n\r\na") {
		t.Errorf("the tunnel that was open: %q, %v", got, err)
	}
	if got := asked(w); got[2] != 0 || got[3] != 0 {
		t.Errorf("downloads of what no rule needs: %v", got)
	}
	w.Close()
	post("/configs/geo", 500, "connection refused")
	takes(t, d, "mall.test", "a")
}

// TestGeoAutoUpdate has data that is older than the configuration likes.
func TestGeoAutoUpdate(t *testing.T) {
	w, urls := geoWeb(t)
	nodes := answering(t, "a", "b")
	d := testkit.Start(t, "mixed-port: MIXED\n"+urls+nodes+ruleLines("rules", inner+"GEOSITE,shop,a\nMATCH,b"))
	becomes(t, d, "shop.test", "a")
	w.text("/geosite", dat("shop", site(suffixSite, "mall.test")))
	old := time.Now().Add(-61 * time.Minute)
	if err := os.Chtimes(filepath.Join(d.Home, "GeoSite.dat"), old, old); err != nil {
		t.Fatal(err)
	}
	// Rounds of downloads come one after the other: when the second has brought something, the first
	// is over.
	with := func(hours int, rules string) {
		t.Helper()
		load(t, d, fmt.Sprintf("geo-auto-update: true\ngeo-update-interval: %d\n", hours)+urls+nodes+ruleLines("rules", inner+rules+"GEOSITE,shop,a\nMATCH,b"))
	}
	with(2, "IP-ASN,64500,a,no-resolve\n")
	becomes(t, d, "198.51.100.1", "a")
	with(2, "IP-ASN,64500,a,no-resolve\nGEOIP,CN,a,no-resolve\n")
	becomes(t, d, "203.0.113.77", "a")
	if got := asked(w); got != [4]int{1, 1, 1, 0} {
		t.Errorf("downloads: %v", got)
	}
	with(1, "")
	becomes(t, d, "mall.test", "a")
	if got := asked(w); got != [4]int{2, 1, 1, 0} {
		t.Errorf("downloads: %v", got)
	}
}

// TestGeodataMode takes countries from the one file or from the other.
func TestGeodataMode(t *testing.T) {
	w, urls := geoWeb(t)
	base := urls + answering(t, "a", "b", "c") + ruleLines("rules", inner+"AND,((DST-PORT,81),(RULE-SET,lines)),c\nGEOIP,cn,a,no-resolve\nMATCH,b") +
		"rule-providers: {lines: {type: inline, behavior: classical, payload: ['GEOIP,cn,no-resolve']}}\n"
	d := testkit.Start(t, "mixed-port: MIXED\ngeodata-mode: true\n"+base)
	becomes(t, d, "192.0.2.77", "a")
	takes(t, d, "[2001:db8:2::7]", "a")
	takes(t, d, "192.0.2.77:81", "c")
	takes(t, d, "203.0.113.77", "b")
	if got := asked(w); got != [4]int{0, 0, 0, 1} {
		t.Errorf("downloads: %v", got)
	}
	if _, err := os.Stat(filepath.Join(d.Home, "GeoIP.dat")); err != nil {
		t.Error(err)
	}
	load(t, d, base)
	becomes(t, d, "203.0.113.77", "a")
	takes(t, d, "192.0.2.77", "b")
	takes(t, d, "203.0.113.77:81", "c") // sets refer to the other file, too
	takes(t, d, "192.0.2.77:81", "b")
	if got := asked(w); got != [4]int{0, 1, 0, 1} {
		t.Errorf("downloads: %v", got)
	}
	load(t, d, "geodata-mode: true\n"+base)
	takes(t, d, "192.0.2.77", "a")
	takes(t, d, "203.0.113.77", "b")
}

// TestGeoBrokenFile meets a file that is none: the daemon runs, says so, and fetches a good one.
func TestGeoBrokenFile(t *testing.T) {
	_, urls := geoWeb(t)
	d := testkit.Start(t, "mixed-port: MIXED\n"+urls+answering(t, "a", "b")+ruleLines("rules", inner+"MATCH,b"))
	if err := os.WriteFile(filepath.Join(d.Home, "GeoSite.dat"), []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	load(t, d, urls+answering(t, "a", "b")+ruleLines("rules", inner+"GEOSITE,shop,a\nMATCH,b"))
	d.WaitLog(t, "GeoSite.dat: the rules that need it do not match: ")
	becomes(t, d, "shop.test", "a")
}

// TestGeoDownloadsEnd stops while a server is silent.
func TestGeoDownloadsEnd(t *testing.T) {
	w, urls := geoWeb(t)
	began := make(chan struct{}, 1)
	w.page("/geosite", func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	})
	d := testkit.Start(t, "mixed-port: MIXED\n"+urls+ruleLines("rules", inner+"GEOSITE,shop,DIRECT"))
	select {
	case <-began:
	case <-time.After(10 * time.Second):
		t.Fatal("no download")
	}
	if status, body := d.Do(t, "POST", "/configs/geo", ""); status != 500 || !strings.Contains(body, "running already") {
		t.Errorf("%d %s", status, body)
	}
	started := time.Now()
	d.Signal(t, syscall.SIGTERM)
	if code, took := d.Wait(t), time.Since(started); code != 0 || took > 2*time.Second {
		t.Errorf("exit code %d after %v\n%s", code, took, d.Log())
	}
}
