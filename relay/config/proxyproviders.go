package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/switchyard-proxy/switchyard/relay/filter"
)

// ProxyProvider is a source of nodes.
type ProxyProvider struct {
	Name          string
	Pos           Pos
	Places        Places
	Type          string        `key:"type" one:"http file inline"`
	URL           string        `key:"url" check:"url" secret:"yes"`
	Path          string        `key:"path"`
	Interval      time.Duration `key:"interval"`
	Proxy         string        `key:"proxy"`
	SizeLimit     int           `key:"size-limit" range:"0-"` // bytes; 0 for the default
	Header        Header        `key:"header" secret:"yes"`
	Filter        Patterns      `key:"filter"`
	ExcludeFilter Patterns      `key:"exclude-filter"`
	ExcludeType   string        `key:"exclude-type"`
	DialerProxy   string        `key:"dialer-proxy"`
	Override      Override      `key:"override"`
	HealthCheck   HealthCheck   `key:"health-check"`
	AgeKey        string        `key:"age-secret-key" secret:"yes"`
	// Payload are the nodes that the configuration itself has: all of an inline provider, and what others
	// have until they have loaded something. It is nil where there are none.
	Payload *NodeList
}

// HealthCheck are the tests that a provider wants of its nodes.
type HealthCheck struct {
	Places         Places
	Enable         bool   `key:"enable"`
	URL            string `key:"url"`
	Interval       int    `key:"interval" range:"0-2147483"` // seconds; 0 is the default
	Timeout        int    `key:"timeout" range:"0-2147483"`  // milliseconds; 0 is the default
	Lazy           bool   `key:"lazy"`                       // true where the file says nothing
	ExpectedStatus string `key:"expected-status"`
}

func (h *HealthCheck) decode(v value) {
	h.Lazy = true
	v.object(false, h)
}

// Patterns are regular expressions separated by back-ticks.
type Patterns string

func (p *Patterns) decode(v value) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	if _, err := filter.New(s, "", ""); err != nil {
		v.fail("%v", errors.Unwrap(err))
		return
	}
	*p = Patterns(s)
}

// Override changes nodes before they are read.
type Override struct {
	Places         Places
	Set            []Setting // keys of nodes, and the values that they get
	Prefix, Suffix string    // of names
	Rename         []Rename  // of names that have their prefix and suffix, in order
}

// Setting is a key of a node and its value.
type Setting struct{ Key, Tag, Value string }

// Rename writes what a regular expression finds in a name anew.
type Rename struct {
	Pattern string `key:"pattern"`
	Target  string `key:"target"`
}

func (r *Rename) decode(v value) {
	v.object(false, r)
	if _, err := filter.NewRename(r.Pattern, r.Target); err != nil {
		v.fail("%v", err)
	}
}

// overrides are the keys that override has in common with nodes; they are judged here, where they stand.
type overrides struct {
	TFO            bool   `key:"tfo"`
	MPTCP          bool   `key:"mptcp"`
	UDP            bool   `key:"udp"`
	UDPOverTCP     bool   `key:"udp-over-tcp"`
	SkipCertVerify bool   `key:"skip-cert-verify"`
	Up             string `key:"up"`
	Down           string `key:"down"`
	DialerProxy    string `key:"dialer-proxy"`
	InterfaceName  string `key:"interface-name"`
	RoutingMark    int    `key:"routing-mark" range:"0-4294967295"`
	IPVersion      string `key:"ip-version" one:"dual ipv4 ipv6 ipv4-prefer ipv6-prefer"`
}

// overrideNames are the keys of override that are about names, and those that are not built.
type overrideNames struct {
	Prefix   string   `key:"additional-prefix"`
	Suffix   string   `key:"additional-suffix"`
	Rename   []Rename `key:"proxy-name"`
	Expr     later    `key:"override-expr"`
	CertName later    `key:"name-cert-verify"`
}

func (o *Override) decode(v value) {
	v.weak = true
	var names overrideNames
	v.object(false, &overrides{}, &names, o)
	o.Prefix, o.Suffix, o.Rename = names.Prefix, names.Suffix, names.Rename
	for _, e := range v.entries() {
		switch e.key.Value {
		case "additional-prefix", "additional-suffix", "proxy-name":
		case "override-expr", "name-cert-verify":
			v.d.report(Warning, Pos{e.key.Line, e.key.Column}, e.val.path, "not supported yet, and left out", "")
		default:
			if e.val.resolve() && e.val.n.Kind == yaml.ScalarNode && !e.val.isNull() {
				o.Set = append(o.Set, Setting{e.key.Value, e.val.n.Tag, e.val.n.Value})
			}
		}
	}
}

// at is where the value of a key stands; one of override has that before it.
func (p *ProxyProvider) at(key string) Pos {
	if inner, ok := strings.CutPrefix(key, "override."); ok {
		return p.Override.Places.At(inner, p.Pos)
	}
	return p.Places.At(key, p.Pos)
}

// dialerProxy is what all nodes dial through, "" where that is theirs to say.
func (p *ProxyProvider) dialerProxy() (name, key string) {
	name, key = p.DialerProxy, "dialer-proxy"
	for _, s := range p.Override.Set {
		if s.Key == "dialer-proxy" {
			name, key = s.Value, "override.dialer-proxy"
		}
	}
	return name, key
}

// payload are nodes of the configuration itself, before they are read.
type payload struct {
	v     value
	there bool
}

func (p *payload) decode(v value) { p.v, p.there = v, true }

// decode reads one proxy provider and says what it lacks.
func (p *ProxyProvider) decode(v value) {
	p.Pos = v.pos()
	if v.n.Kind != yaml.MappingNode {
		v.fail("want a map, got %s", v.got())
		return
	}
	var own struct {
		Nodes payload `key:"payload"`
	}
	before := len(v.d.diags)
	v.object(false, p, &own)
	for _, d := range v.d.diags[before:] {
		if d.Severity == Error {
			return // what follows would say it again
		}
	}
	switch {
	case p.Type == "":
		v.fail("want a type: http, file or inline")
	case p.Type == "http" && p.URL == "":
		v.fail("a proxy provider of type http needs url")
	case p.Type == "file" && p.Path == "":
		v.fail("a proxy provider of type file needs path")
	case p.Type == "inline" && !own.Nodes.there:
		v.fail("a proxy provider of type inline needs payload")
	}
	if p.AgeKey != "" {
		v.d.report(Warning, p.Pos, v.path+".age-secret-key", "not supported yet, and left out: a list that is encrypted cannot be read", "")
	}
	if own.Nodes.there {
		p.readPayload(own.Nodes.v)
	}
}

// readPayload reads the nodes of the configuration itself. One that cannot be used is left out with a
// warning, as it is elsewhere; that there is none is an error, since nothing will change that.
func (p *ProxyProvider) readPayload(v value) {
	if v.n.Kind != yaml.SequenceNode {
		v.fail("want a list of nodes, got %s", v.got())
		return
	}
	list, err := p.read(v.n.Content)
	if list != nil {
		list.finish()
		for _, b := range list.Problems {
			v.d.report(Warning, Pos{b.Line, b.Column}, v.path+"["+strconv.Itoa(b.Index)+"]", b.Text, "")
		}
	}
	if err != nil {
		v.fail("%v", err)
		return
	}
	p.Payload = list
}

// checkProxyProviders checks names, and that what they dial through is there.
func (c *Config) checkProxyProviders(d *decoder, names []string) {
	known := set(names)
	for i := range c.ProxyProviders {
		p := &c.ProxyProviders[i]
		path := "proxy-providers." + p.Name
		switch p.Name {
		case "":
			d.report(Error, p.Pos, path, "want a name", "")
		case "default":
			d.report(Error, p.Pos, path, `no provider can be called "default": that name stands for the nodes of the file`, "")
		}
		via, key := p.dialerProxy()
		if way := c.leadsTo(via, p.Name); way != nil {
			d.report(Warning, p.at(key), path+"."+key, "its nodes are dialed through themselves: "+strings.Join(append([]string{p.Name}, way...), " -> ")+" -> "+p.Name, "")
		}
		c.checkPayload(d, p, path, names)
		for _, ref := range []struct{ key, name string }{{"proxy", p.Proxy}, {key, via}} {
			if ref.name != "" && !known[ref.name] {
				d.report(Error, p.at(ref.key), path+"."+ref.key, fmt.Sprintf("no proxy or group is called %q", ref.name), d.nearest(ref.name, names))
			}
		}
	}
}

// providerNames are the names of the proxy providers, in the order of the file.
func (c *Config) providerNames() []string {
	names := make([]string, len(c.ProxyProviders))
	for i := range c.ProxyProviders {
		names[i] = c.ProxyProviders[i].Name
	}
	return names
}

// checkPayload checks what the nodes that the file itself has are dialed through.
func (c *Config) checkPayload(d *decoder, p *ProxyProvider, path string, names []string) {
	if via, _ := p.dialerProxy(); via != "" || p.Payload == nil {
		return // it is that of all
	}
	for i := range p.Payload.Nodes {
		n := &p.Payload.Nodes[i]
		switch {
		case n.DialerProxy == "":
		case !slices.Contains(names, n.DialerProxy):
			d.report(Warning, n.Pos, path+".payload", fmt.Sprintf("node %q: dialer-proxy: no proxy or group is called %q", n.Name, n.DialerProxy), d.nearest(n.DialerProxy, names))
		default:
			if way := c.leadsTo(n.DialerProxy, p.Name); way != nil {
				d.report(Warning, n.Pos, path+".payload", "may be dialed through itself: "+strings.Join(append([]string{n.Name}, way...), " -> ")+" -> "+p.Name, "")
			}
		}
	}
}

// leadsTo is the way from a group to one that uses the provider called name; nil is none.
func (c *Config) leadsTo(group, name string) []string {
	members := c.members()
	for i := range c.Proxies {
		if p := &c.Proxies[i]; p.DialerProxy != "" {
			members[p.Name] = []string{p.DialerProxy}
		}
	}
	seen := make(map[string]bool)
	var walk func(at string) []string
	walk = func(at string) []string {
		if seen[at] {
			return nil
		}
		seen[at] = true
		for i := range c.Groups {
			g := &c.Groups[i]
			if g.Name == at && (g.IncludeAll || g.IncludeAllProviders || slices.ContainsFunc(g.Use, func(r Ref) bool { return r.Name == name })) {
				return []string{at}
			}
		}
		for _, m := range members[at] {
			if way := walk(m); way != nil {
				return append([]string{at}, way...)
			}
		}
		return nil
	}
	return walk(group)
}
