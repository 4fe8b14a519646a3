// Package geo reads files of geo data into the sets of package match: host names by list, addresses by
// country and by autonomous system. It takes bytes, opens no connection and writes no file. What it
// opens may be asked by many goroutines at once.
package geo

import (
	"os"
	"path/filepath"
	"strings"
)

// Kind is a kind of geo data file.
type Kind uint8

// The kinds.
const (
	GeoIPDat   Kind = iota // addresses by country, for OpenIPs
	CountryDB              // .mmdb of countries, for OpenDB
	ASNDB                  // .mmdb of autonomous systems, for OpenDB
	GeoSiteDat             // host names by list, for OpenSites
)

// String returns the word that messages use.
func (k Kind) String() string {
	return [...]string{"GeoIP", "MMDB", "ASN", "GeoSite"}[k]
}

// File is the name under which a downloaded file is stored.
func (k Kind) File() string { return k.Files()[0] }

// Files are the names that a file of the kind can have, the best first.
func (k Kind) Files() []string {
	return [...][]string{
		{"GeoIP.dat"},
		{"geoip.metadb", "Country.mmdb", "geoip.db"},
		{"ASN.mmdb", "GeoLite2-ASN.mmdb"},
		{"GeoSite.dat"},
	}[k]
}

// Find returns the path of the file of a kind in dir, or "" for none. Case makes no difference to a
// name, but one that is spelled as above goes before others.
func Find(k Kind, dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "" // a directory that cannot be read has no files for us
	}
	for _, want := range k.Files() {
		found := ""
		for _, e := range entries {
			if e.IsDir() || !strings.EqualFold(e.Name(), want) || found == want {
				continue
			}
			if found == "" || e.Name() == want {
				found = e.Name()
			}
		}
		if found != "" {
			return filepath.Join(dir, found)
		}
	}
	return ""
}
