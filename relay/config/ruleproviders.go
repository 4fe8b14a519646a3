package config

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/net/http/httpguts"
)

// RuleProvider is a source of rules.
type RuleProvider struct {
	Name      string
	Pos       Pos
	Type      string        `key:"type" one:"http file inline"`
	Behavior  string        `key:"behavior" one:"domain ipcidr classical"`
	Format    string        `key:"format" one:"yaml text mrs"` // yaml where the file says nothing
	URL       string        `key:"url" check:"url" secret:"yes"`
	Path      string        `key:"path"`
	InBundle  string        `key:"path-in-bundle"`
	Interval  time.Duration `key:"interval"`
	Proxy     string        `key:"proxy"`
	SizeLimit int           `key:"size-limit" range:"0-"` // bytes; 0 for the default
	Header    Header        `key:"header" secret:"yes"`
	Payload   []string      `key:"payload"`
}

// Header are fields of a request, each with its values.
type Header []Listing

func (h *Header) decode(v value) {
	*h = listings(v)
	for _, l := range *h {
		if !httpguts.ValidHeaderFieldName(l.Name) || !httpguts.ValidHeaderFieldValue(strings.Join(l.Values, "")) {
			v.fail("a field of a header has a name such as X-Token, and values of one line")
			return
		}
	}
}

// decode reads one rule provider and says what it lacks.
func (p *RuleProvider) decode(v value) {
	p.Pos = v.pos()
	if v.n.Kind != yaml.MappingNode {
		v.fail("want a map, got %s", v.got())
		return
	}
	before := len(v.d.diags)
	v.object(false, p)
	if p.Format == "" {
		p.Format = "yaml"
	}
	for _, d := range v.d.diags[before:] {
		if d.Severity == Error {
			return // what follows would say it again
		}
	}
	switch {
	case p.Type == "":
		v.fail("want a type: http, file or inline")
	case p.Behavior == "":
		v.fail("want a behavior: domain, ipcidr or classical")
	case p.Type == "http" && p.URL == "":
		v.fail("a rule provider of type http needs url")
	case p.Type == "file" && p.Path == "":
		v.fail("a rule provider of type file needs path")
	case p.Type != "inline" && p.Format == "mrs" && p.Behavior == "classical":
		v.fail("mrs holds no classical rules: want domain or ipcidr as the behavior, or another format")
	case p.Type == "inline" && len(p.Payload) == 0:
		v.d.report(Warning, p.Pos, v.path, "a rule provider of type inline without payload holds nothing", "")
	case p.InBundle != "":
		v.d.report(Warning, p.Pos, v.path+".path-in-bundle", "not supported yet, and left out", "")
	}
}

// checkRuleProviders checks that what they download through is there.
func (c *Config) checkRuleProviders(d *decoder, names []string) {
	known := set(names)
	for i := range c.RuleProviders {
		p := &c.RuleProviders[i]
		if p.Proxy != "" && !known[p.Proxy] {
			d.report(Error, p.Pos, "rule-providers."+p.Name+".proxy", fmt.Sprintf("no proxy or group is called %q", p.Proxy), d.nearest(p.Proxy, names))
		}
	}
}
