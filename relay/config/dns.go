package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/dns/hosts"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/match"
)

// Names are what a key of nameserver-policy, or a line of fake-ip-filter, stands for.
type Names struct {
	Patterns []string // normalized
	GeoSites []string
	RuleSets []string
}

// ParseNames reads a list with commas between: domain patterns, or behind "geosite:" or "rule-set:" the
// names of lists. With an error, which is the first one, the Names are what else is in the list.
func ParseNames(text string) (Names, error) {
	n, errs := parseNames(text)
	if len(errs) > 0 {
		return n, errs[0]
	}
	return n, nil
}

func parseNames(text string) (n Names, errs []error) {
	list := &n.Patterns
	for _, l := range []struct {
		prefix string
		to     *[]string
	}{{"geosite:", &n.GeoSites}, {"rule-set:", &n.RuleSets}} {
		if len(text) >= len(l.prefix) && strings.EqualFold(text[:len(l.prefix)], l.prefix) {
			text, list = text[len(l.prefix):], l.to
		}
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		var err error
		switch {
		case list == &n.Patterns:
			item, err = ParsePattern(item)
		case item == "":
			err = errors.New("want a name behind each colon and comma")
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		*list = append(*list, item)
	}
	return n, errs
}

// ParsePattern normalizes a domain pattern: lower case, punycode, no dot at its end. Its error is a
// match.ErrPattern.
func ParsePattern(text string) (string, error) {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(text), "."), ".")
	for i, l := range labels {
		if l == "" || l == "*" || l == "+" {
			continue
		}
		name, _, err := flow.ParseHost(l)
		if err == nil && name != "" { // digits alone are read as an address, or are none
			labels[i] = name
		}
	}
	pattern := strings.Join(labels, ".")
	var p match.Patterns[bool]
	if err := p.Add(pattern, true); err != nil {
		return "", fmt.Errorf("%q: %w", text, err)
	}
	return pattern, nil
}

// Place is where a key of the top level or of dns stands, such as "dns.fake-ip-range", or an entry such as
// "dns.fallback-filter.geosite[0]"; else it is unknown.
func (c *Config) Place(path string) Pos { return c.places[path] }

// Same says whether two sections say the same, wherever it stands.
func (d *DNS) Same(other *DNS) bool {
	a, b := d.unplaced(), other.unplaced()
	return reflect.DeepEqual(&a, &b)
}

func (d *DNS) unplaced() DNS {
	c := *d
	for _, list := range []*[]Ref{&c.FakeIPFilter, &c.DefaultNameserver, &c.Nameserver, &c.Fallback, &c.ProxyServerNameserver, &c.DirectNameserver} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].Pos = Pos{}
		}
	}
	for _, list := range []*NameserverPolicy{&c.Policy, &c.ProxyServerPolicy} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].Pos = Pos{}
		}
	}
	return c
}

// checkHosts judges what names stand for.
func (c *Config) checkHosts(d *decoder) {
	for _, l := range c.Hosts {
		pattern, err := ParsePattern(l.Name)
		if err == nil {
			err = hosts.Check(pattern, l.Values)
		}
		if err != nil {
			d.report(Error, l.Pos, join("hosts", l.Name), err.Error(), "")
		}
	}
	if loop := hosts.Cycle(c.Hosts.Listed()); len(loop) > 0 {
		d.report(Error, d.places["hosts"], "hosts", "the names lead to each other: "+strings.Join(loop, " → "), "")
	}
}

// Listed are the hosts with their patterns normalized.
func (h Hosts) Listed() []hosts.Listed {
	list := make([]hosts.Listed, 0, len(h))
	for _, l := range h {
		if pattern, err := ParsePattern(l.Name); err == nil {
			list = append(list, hosts.Listed{Pattern: pattern, Values: l.Values})
		}
	}
	return list
}

// RealNames are the names that get real addresses when nobody says which: what a system asks to find
// out whether it has a network.
func RealNames() []Ref {
	return refs("dns.msftnsci.com", "www.msftnsci.com", "www.msftconnecttest.com")
}

// FakeIP and RealIP are the targets of fake-ip-filter in the mode rule.
const (
	FakeIP = "fake-ip"
	RealIP = "real-ip"
)
