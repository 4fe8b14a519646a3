package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/geo"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// geoContents are sets of one kind, out of one file. What the file has nothing for is not among them.
type geoContents struct {
	sets map[string]*rule.Content
	db   *geo.DB // of an .mmdb
}

// any says whether one of names is there.
func (c *geoContents) any(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return c.sets[name] != nil })
}

func (c *geoContents) addNames(name string, s geo.SiteSet) {
	c.sets[name] = &rule.Content{Domains: s.Domains, Not: s.Not, Count: s.Domains.Len()}
}

func (c *geoContents) addAddrs(name string, s geo.IPSet) {
	c.sets[name] = &rule.Content{Prefixes: s.Prefixes, Not: s.Not, Count: s.Prefixes.Len()}
}

// readSets reads sets of a kind.
func readSets(kind geo.Kind, names []string, data []byte) (*geoContents, error) {
	c := &geoContents{sets: make(map[string]*rule.Content, len(names))}
	switch kind {
	case geo.GeoSiteDat:
		sites, err := geo.OpenSites(data)
		if err != nil {
			return nil, err
		}
		return c, each(names, sites.List, c.addNames)
	case geo.GeoIPDat:
		ips, err := geo.OpenIPs(data)
		if err != nil {
			return nil, err
		}
		return c, each(names, ips.Prefixes, c.addAddrs)
	}
	return c, c.readDB(kind, names, data)
}

// each looks up every one of names, and passes on what is there.
func each[S any](names []string, find func(string) (S, error), found func(string, S)) error {
	for _, name := range names {
		s, err := find(name)
		switch {
		case errors.Is(err, geo.ErrNoList):
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		default:
			found(name, s)
		}
	}
	return nil
}

func (c *geoContents) readDB(kind geo.Kind, names []string, data []byte) (err error) {
	if c.db, err = geo.OpenDB(data); err != nil {
		return err
	}
	if kind == geo.CountryDB {
		codes, err := c.db.Countries(names)
		for code, p := range codes {
			c.addSome(code, p)
		}
		return err
	}
	numbers := make([]uint32, len(names))
	for i, name := range names {
		n, _ := strconv.ParseUint(name, 10, 32) // it was a number
		numbers[i] = uint32(n)
	}
	systems, err := c.db.ASNs(numbers)
	for n, p := range systems {
		c.addSome(strconv.FormatUint(uint64(n), 10), p)
	}
	return err
}

// addSome adds a set unless nothing is in it, which is what an .mmdb says of codes it does not know.
func (c *geoContents) addSome(name string, p *match.Prefixes) {
	if p.Len() > 0 {
		c.addAddrs(name, geo.IPSet{Prefixes: p})
	}
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
