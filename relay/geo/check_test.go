package geo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

func TestCheck(t *testing.T) {
	countries := dbOf(t, mmdbwriter.Options{DatabaseType: "sing-geoip"}, network{"1.0.0.0/8", mmdbtype.String("cn")})
	systems := dbOf(t, mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"}, network{"1.0.0.0/8", system(1, "x")})
	files := map[Kind][]byte{
		GeoSiteDat: []byte(testSites()),
		GeoIPDat:   []byte(list("AA", cidr("10.0.0.0/8"))),
		CountryDB:  countries,
		ASNDB:      systems,
	}
	for k := range Kind(4) {
		for of, data := range files {
			err := Check(k, data)
			if (err == nil) != (k == of) {
				t.Errorf("Check(%v) of a file of kind %v: %v", k, of, err)
			}
		}
		if err := Check(k, files[k][:len(files[k])-1]); err == nil && k < CountryDB {
			t.Errorf("Check(%v) of a file cut short: want an error", k)
		}
		if err := Check(k, files[k][:len(files[k])*2/3]); err == nil {
			t.Errorf("Check(%v) of a file cut short: want an error", k)
		}
	}
	f := func(data, want string) {
		t.Helper()
		for k := range Kind(4) {
			err := Check(k, []byte(data))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), k.String()) {
				t.Errorf("Check(%v, %q) = %v; want %q", k, data, err, want)
			}
		}
	}
	f("<!DOCTYPE html>\n<html>", "it is a web page")
	f("\n <HTML><body>404</body>", "it is a web page")
	f("", "")
	f("Not Found", "")
	f(strings.Repeat("\x00", 1000), "")
	f(list("EMPTY"), "")
}

func TestCheckNothing(t *testing.T) {
	f := func(k Kind, data []byte) {
		t.Helper()
		if err := Check(k, data); err == nil || !strings.Contains(err.Error(), "it holds nothing") {
			t.Errorf("Check(%v) = %v", k, err)
		}
	}
	f(GeoSiteDat, []byte(list("X", str(2))))
	f(GeoIPDat, []byte(list("X")))
	f(CountryDB, dbOf(t, mmdbwriter.Options{DatabaseType: "sing-geoip"}))
	f(CountryDB, dbOf(t, mmdbwriter.Options{DatabaseType: "GeoLite2-Country"}, network{"1.0.0.0/8", mmdbtype.Map{}}))
	f(ASNDB, dbOf(t, mmdbwriter.Options{DatabaseType: "GeoLite2-ASN"}, network{"1.0.0.0/8", system(0, "x")}))
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	f := func(k Kind, want string) {
		t.Helper()
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got := Find(k, dir); got != want {
			t.Errorf("Find(%v) = %q; want %q", k, got, want)
		}
	}
	add := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f(CountryDB, "")
	if err := os.Mkdir(filepath.Join(dir, "GEOSITE.DAT"), 0o700); err != nil {
		t.Fatal(err)
	}
	f(GeoSiteDat, "") // a directory is no file
	add("country.MMDB")
	f(CountryDB, "country.MMDB")
	add("GEOIP.metadb") // goes before others of its kind
	f(CountryDB, "GEOIP.metadb")
	add("geoip.dat")
	f(GeoIPDat, "geoip.dat")
	add("geolite2-asn.mmdb")
	f(ASNDB, "geolite2-asn.mmdb")
	add("ASN.mmdb")
	f(ASNDB, "ASN.mmdb")
	if Find(ASNDB, filepath.Join(dir, "none")) != "" {
		t.Error("Find in a directory that is not there: want nothing")
	}
	if CountryDB.File() != "geoip.metadb" || GeoSiteDat.File() != "GeoSite.dat" || ASNDB.File() != "ASN.mmdb" || GeoIPDat.File() != "GeoIP.dat" {
		t.Error("File: not the name a download is stored under")
	}
}
