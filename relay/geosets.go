package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// readSets reads sets of a kind; one that the file has nothing for is not among them.
func (g *geoData) readSets(kind geo.Kind, names []string, data []byte) (map[string]*rule.Content, error) {
	switch kind {
	case geo.GeoSiteDat:
		return readSites(names, data)
	case geo.GeoIPDat:
		return readIPs(names, data)
	}
	return g.readDB(kind, names, data)
}

func readSites(names []string, data []byte) (map[string]*rule.Content, error) {
	sites, err := geo.OpenSites(data)
	if err != nil {
		return nil, err
	}
	sets := make(map[string]*rule.Content, len(names))
	for _, name := range names {
		s, err := sites.List(name)
		switch {
		case errors.Is(err, geo.ErrNoList):
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		default:
			sets[name] = &rule.Content{Domains: s.Domains, Not: s.Not, Count: s.Domains.Len()}
		}
	}
	return sets, nil
}

func readIPs(names []string, data []byte) (map[string]*rule.Content, error) {
	ips, err := geo.OpenIPs(data)
	if err != nil {
		return nil, err
	}
	sets := make(map[string]*rule.Content, len(names))
	for _, name := range names {
		s, err := ips.Prefixes(name)
		switch {
		case errors.Is(err, geo.ErrNoList):
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		default:
			sets[name] = &rule.Content{Prefixes: s.Prefixes, Not: s.Not, Count: s.Prefixes.Len()}
		}
	}
	return sets, nil
}

func (g *geoData) readDB(kind geo.Kind, names []string, data []byte) (map[string]*rule.Content, error) {
	db, err := geo.OpenDB(data)
	if err != nil {
		return nil, err
	}
	sets := make(map[string]*rule.Content, len(names))
	if kind == geo.CountryDB {
		codes := make([]string, len(names))
		for i, name := range names {
			codes[i] = strings.ToLower(name)
		}
		found, err := db.Countries(codes)
		for code, p := range found {
			if p.Len() > 0 {
				sets[code] = &rule.Content{Prefixes: p, Count: p.Len()}
			}
		}
		if err == nil {
			g.countries.Store(db)
		}
		return sets, err
	}
	numbers := make([]uint32, len(names))
	for i, name := range names {
		n, _ := strconv.ParseUint(name, 10, 32) // it was a number
		numbers[i] = uint32(n)
	}
	found, err := db.ASNs(numbers)
	for n, p := range found {
		if p.Len() > 0 {
			sets[strconv.FormatUint(uint64(n), 10)] = &rule.Content{Prefixes: p, Count: p.Len()}
		}
	}
	if err == nil {
		g.systems.Store(db)
	}
	return sets, err
}

// place says where an address is, as far as the data that rules need tells.
func (g *geoData) place(ip netip.Addr) (p flow.Place) {
	if !ip.IsValid() {
		return p
	}
	if db := g.countries.Load(); db != nil {
		p.Countries = append([]string{}, db.Codes(ip)...)
	}
	if db := g.systems.Load(); db != nil {
		if n, name := db.ASN(ip); n != 0 {
			p.System = strings.TrimSpace(strconv.FormatUint(uint64(n), 10) + " " + name)
		}
	}
	return p
}
