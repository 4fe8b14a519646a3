package geo

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// DB is an .mmdb file of countries or of autonomous systems.
type DB struct {
	r     *maxminddb.Reader
	typed *geoip2.Reader // nil where the file has a layout of its own
	t     *tree
	kind  Kind
}

// OpenDB opens data, which the DB keeps: nobody may change it afterwards.
func OpenDB(data []byte) (*DB, error) {
	r, err := maxminddb.OpenBytes(data, maxminddb.DisableStringCache())
	if err != nil {
		return nil, err
	}
	m := &r.Metadata
	if m.BinaryFormatMajorVersion != 2 {
		return nil, fmt.Errorf("version %d of the format", m.BinaryFormatMajorVersion)
	}
	t, err := openTree(data, m.NodeCount, m.RecordSize, m.IPVersion)
	if err != nil {
		return nil, err
	}
	kind, name := CountryDB, strings.ToLower(m.DatabaseType)
	if strings.Contains(name, "asn") || strings.Contains(name, "isp") {
		kind = ASNDB
	}
	d := &DB{r: r, t: t, kind: kind}
	if isTyped(m.DatabaseType) {
		if d.typed, err = geoip2.OpenBytes(data); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// isTyped says whether the records of a file are those of MaxMind's own, in which more than one name
// of a country may stand.
func isTyped(databaseType string) bool {
	switch databaseType {
	case "GeoIP2-Country", "GeoLite2-Country", "DBIP-Country", "DBIP-Country-Lite", "GeoLite2-ASN", "DBIP-ASN-Lite (compat=GeoLite2-ASN)":
		return true
	}
	return false
}

// Kind is CountryDB or ASNDB, as the type in the file says.
func (d *DB) Kind() Kind { return d.kind }

// Countries returns the addresses of each of codes, which are in lower case, after one walk over the
// file. A code that no network has gets an empty set. Where the file leads from addresses of IPv6 to
// IPv4, as from 2002::/16, Codes follows, but they are in no set.
func (d *DB) Countries(codes []string) (map[string]*match.Prefixes, error) {
	if d.kind != CountryDB {
		return nil, fmt.Errorf("%q has no countries", d.r.Metadata.DatabaseType)
	}
	return collect(d, codes, func(r *record) []string { return r.codes })
}

// ASNs returns the addresses of each of the autonomous systems, as Countries does.
func (d *DB) ASNs(numbers []uint32) (map[uint32]*match.Prefixes, error) {
	if d.kind != ASNDB {
		return nil, fmt.Errorf("%q has no autonomous systems", d.r.Metadata.DatabaseType)
	}
	return collect(d, numbers, (*record).numbers)
}

// collect builds a set for each of keys from the networks whose record has it.
func collect[K comparable](d *DB, keys []K, of func(*record) []K) (map[K]*match.Prefixes, error) {
	builders := make(map[K]*match.PrefixesBuilder, len(keys))
	for _, k := range keys {
		builders[k] = new(match.PrefixesBuilder)
	}
	takers := make(map[uint][]*match.PrefixesBuilder) // by record, which many networks share
	work := maxWork
	err := d.t.walk(func(p netip.Prefix, at uint) error {
		to, known := takers[at]
		if !known {
			r, err := d.read(at, &work)
			if err != nil {
				return err
			}
			for _, k := range of(r) {
				if b := builders[k]; b != nil {
					to = append(to, b)
				}
			}
			takers[at] = to
		}
		for _, b := range to {
			b.Add(p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sets := make(map[K]*match.Prefixes, len(builders))
	for k, b := range builders {
		sets[k] = b.Build()
	}
	return sets, nil
}

// Codes returns the codes of an address in lower case: of its country, and in some files of other
// lists. It has none for an address that the file does not know.
func (d *DB) Codes(ip netip.Addr) []string {
	if d.kind != CountryDB {
		return nil
	}
	if d.typed != nil {
		if c, err := d.typed.Country(ip.Unmap()); err == nil && c.Country.ISOCode != "" {
			return []string{strings.ToLower(c.Country.ISOCode)}
		}
	}
	return d.lookup(ip).codes // also of records that are a little different
}

// ASN returns the autonomous system of an address, or 0.
func (d *DB) ASN(ip netip.Addr) (number uint32, name string) {
	if d.kind != ASNDB {
		return 0, ""
	}
	if d.typed != nil {
		if a, err := d.typed.ASN(ip.Unmap()); err == nil && a.AutonomousSystemNumber != 0 {
			return uint32(a.AutonomousSystemNumber), a.AutonomousSystemOrganization
		}
	}
	r := d.lookup(ip)
	return r.number, r.name
}

// lookup returns an empty record for an address that is not in the file, or whose record is broken.
func (d *DB) lookup(ip netip.Addr) record {
	work := maxRecord
	r := record{work: &work}
	if err := d.r.Lookup(ip.Unmap()).Decode(&r); err != nil {
		return record{}
	}
	return r
}

// read decodes a record; what it took goes off work.
func (d *DB) read(at uint, work *int) (*record, error) {
	one := min(maxRecord, *work)
	r := record{work: &one}
	before := one
	if err := d.r.LookupOffset(uintptr(at)).Decode(&r); err != nil {
		return nil, err
	}
	*work -= before - one
	return &r, nil
}
