package config

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// Group is one group of nodes.
type Group struct {
	Pos                 Pos
	Places              Places
	Name                string    `key:"name"`
	Type                string    `key:"type"`
	Proxies             []Ref     `key:"proxies"`
	Use                 []Ref     `key:"use"`
	IncludeAll          bool      `key:"include-all"`
	IncludeAllProxies   bool      `key:"include-all-proxies"`
	IncludeAllProviders bool      `key:"include-all-providers"`
	Filter              Patterns  `key:"filter"`
	ExcludeFilter       Patterns  `key:"exclude-filter"`
	ExcludeType         string    `key:"exclude-type"`
	URL                 string    `key:"url"`
	Interval            int       `key:"interval" range:"0-2147483"` // seconds; 0 is the type's own
	Timeout             int       `key:"timeout" range:"0-2147483"`
	Lazy                bool      `key:"lazy"` // true where the file says nothing
	ExpectedStatus      string    `key:"expected-status"`
	MaxFailedTimes      int       `key:"max-failed-times" range:"0-"`
	DisableUDP          bool      `key:"disable-udp"`
	Hidden              bool      `key:"hidden"`
	Icon                string    `key:"icon"`
	InterfaceName       string    `key:"interface-name"`
	RoutingMark         int       `key:"routing-mark" range:"0-4294967295"`
	Tolerance           int       `key:"tolerance" range:"0-65535"`
	Strategy            string    `key:"strategy" one:"consistent-hashing round-robin sticky-sessions"`
	DefaultSelected     string    `key:"default-selected"`
	EmptyFallback       string    `key:"empty-fallback"`
	Interrupt           Interrupt `key:"interrupt-exist-connections"`
}

// decode reads one group. Tests are lazy where the file says nothing.
func (g *Group) decode(v value) {
	if v.n.Kind != yaml.MappingNode {
		v.fail("want a map, got %s", v.got())
		return
	}
	g.Lazy = true
	v.object(false, g)
}

// groupTypes are the types of the family; those that are built are true.
var groupTypes = map[string]bool{
	"select": true, "url-test": true, "fallback": true, "load-balance": true, "relay": true,
}

// checkGroups checks types and members, and that no group contains itself.
func (c *Config) checkGroups(d *decoder, names []string) {
	known, providers := set(names), c.providerNames()
	provides := set(providers)
	for i := range c.Groups {
		g := &c.Groups[i]
		path := fmt.Sprintf("proxy-groups[%d]", i)
		if g.Name == "" {
			d.report(Error, g.Pos, path, "want a name", "")
		}
		g.checkType(d, path)
		g.checkInterrupt(d, path)
		if len(g.Proxies) == 0 && len(g.Use) == 0 && !g.IncludeAll && !g.IncludeAllProxies && !g.IncludeAllProviders {
			d.report(Error, g.Pos, path, "want members: proxies or use", "")
		}
		for j, m := range g.Proxies {
			if !known[m.Name] {
				d.report(Error, m.Pos, fmt.Sprintf("%s.proxies[%d]", path, j),
					fmt.Sprintf("no proxy or group is called %q", m.Name), d.nearest(m.Name, names))
			}
		}
		g.checkNames(d, path)
		for j, m := range g.Use {
			if !provides[m.Name] {
				d.report(Error, m.Pos, fmt.Sprintf("%s.use[%d]", path, j),
					fmt.Sprintf("no proxy provider is called %q", m.Name), d.nearest(m.Name, providers))
			}
		}
		if len(g.Proxies) > 0 && provides[g.Name] { // the nodes it names are a provider of its name
			d.report(Error, g.Pos, path+".name", fmt.Sprintf("the name %q is that of a proxy provider", g.Name), "")
		}
		if g.EmptyFallback != "" && !known[g.EmptyFallback] {
			d.report(Error, g.Places.At("empty-fallback", g.Pos), path+".empty-fallback", fmt.Sprintf("no proxy or group is called %q", g.EmptyFallback), d.nearest(g.EmptyFallback, names))
		}
	}
	c.checkLoops(d, c.members())
}

// checkNames warns of members that are there twice, and of a default-selected that is none.
func (g *Group) checkNames(d *decoder, path string) {
	var names []string
	seen := make(map[string]bool, len(g.Proxies))
	for j, m := range g.Proxies {
		if seen[m.Name] {
			d.report(Warning, m.Pos, fmt.Sprintf("%s.proxies[%d]", path, j), fmt.Sprintf("%q is there already", m.Name), "")
		}
		seen[m.Name] = true
		names = append(names, m.Name)
	}
	all := len(g.Use) == 0 && !g.IncludeAll && !g.IncludeAllProxies && !g.IncludeAllProviders
	if all && g.DefaultSelected != "" && !seen[g.DefaultSelected] {
		d.report(Warning, g.Places.At("default-selected", g.Pos), path+".default-selected",
			fmt.Sprintf("no member is called %q", g.DefaultSelected), d.nearest(g.DefaultSelected, names))
	}
}

// members are the names in each group. Where the file has no GLOBAL it is made of everything.
func (c *Config) members() map[string][]string {
	next := make(map[string][]string, len(c.Groups)+1)
	var global []string
	own := false
	for i := range c.Proxies {
		global = append(global, c.Proxies[i].Name)
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		own = own || g.Name == "GLOBAL"
		global = append(global, g.Name)
		for _, m := range g.Proxies {
			next[g.Name] = append(next[g.Name], m.Name)
		}
		if g.EmptyFallback != "" {
			next[g.Name] = append(next[g.Name], g.EmptyFallback)
		}
	}
	if !own {
		next["GLOBAL"] = global
	}
	return next
}

func (g *Group) checkType(d *decoder, path string) {
	built, ok := groupTypes[g.Type]
	switch {
	case g.Type == "":
		d.report(Error, g.Pos, path, "want a type", "")
	case !ok:
		d.report(Error, g.Pos, path+".type", fmt.Sprintf("unknown type %q", g.Type),
			d.nearest(g.Type, []string{"select", "url-test", "fallback", "load-balance", "relay"}))
	case !built:
		d.report(Error, g.Pos, path+".type", g.Type+": not supported yet", "")
	case g.Type == "relay":
		d.report(Warning, g.Pos, path+".type", "relay is deprecated by the family: dialer-proxy of a node does the same", "")
	}
}

// checkLoops reports loops, each at its first group.
func (c *Config) checkLoops(d *decoder, next map[string][]string) {
	index, names := make(map[string]int), make([]string, len(c.Groups))
	for i := range c.Groups {
		names[i] = c.Groups[i].Name
		index[names[i]] = i
	}
	for _, loop := range circles(names, next) {
		first := len(c.Groups) // GLOBAL may be one of them, and need not be in the file
		for _, name := range loop {
			if i, ok := index[name]; ok {
				first = min(first, i)
			}
		}
		if first < len(c.Groups) {
			d.report(Error, c.Groups[first].Pos, fmt.Sprintf("proxy-groups[%d]", first),
				"groups contain themselves: "+wayFrom(names[first], loop, " -> "), "")
		}
	}
}
