package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/fetch"
	"github.com/switchyard-proxy/switchyard/relay/match"
	"github.com/switchyard-proxy/switchyard/relay/provider"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/ruleset"
)

// ruleProvider is a rule provider of the configuration: where its set comes from, and the set that
// rules refer to.
type ruleProvider struct {
	supply
	config   config.RuleProvider
	etag     bool // validators are sent
	behavior ruleset.Behavior
	format   ruleset.Format
	vehicle  provider.Kind
	set      *rule.Set
	source   *provider.Source[*readSet]
}

// largeSet is how many entries make a set large.
const largeSet = 100_000

// readSet is a set as its source holds it.
type readSet struct {
	content  *rule.Content
	warnings ruleset.Warnings
	geo      map[geoKey]bool // what its rules refer to
}

// ruleProviders makes the rule providers of the configuration. One whose settings stay is kept, with
// what it has loaded. What is on disk is read now, and nothing waits for a download.
func (b *builder) ruleProviders() {
	b.RuleProviders = make([]*ruleProvider, 0, len(b.Config.RuleProviders))
	b.ruleSets = make(map[string]*ruleProvider, len(b.Config.RuleProviders))
	b.refused = make(map[string]bool)
	var fresh []*ruleProvider
	for i := range b.Config.RuleProviders {
		c := &b.Config.RuleProviders[i]
		p := b.keptProvider(c)
		if p == nil {
			if p = b.newProvider(c); p == nil {
				b.refused[c.Name] = true
				continue
			}
			fresh = append(fresh, p)
		}
		if !b.alone(b.rulePlace(c), p.path) {
			b.refused[c.Name] = true
			continue
		}
		b.RuleProviders = append(b.RuleProviders, p)
		b.ruleSets[c.Name] = p
	}
	if b.relay.geo == nil {
		return // only judged
	}
	for _, p := range fresh {
		_ = p.source.Load() // it says itself what fails
	}
}

func (b *builder) keptProvider(c *config.RuleProvider) *ruleProvider {
	if b.prev == nil {
		return nil
	}
	old := b.prev.ruleSets[c.Name]
	if old == nil || old.etag != b.Config.ETagSupport {
		return nil
	}
	if !config.Same(&old.config, c) {
		return nil
	}
	path, err := b.file(b.rulePlace(c))
	if err != nil || path != old.path || path != "" && b.free(path) != nil {
		return nil // a link leads elsewhere now, or the file has come to be the daemon's own
	}
	// Countries come from another file now, and classical sets may name some.
	if old.behavior == ruleset.Classical && b.prev.Config.Geo.Mode != b.Config.Geo.Mode {
		return nil
	}
	return old
}

func (b *builder) newProvider(c *config.RuleProvider) *ruleProvider {
	p := &ruleProvider{config: *c, etag: b.Config.ETagSupport, set: new(rule.Set)}
	var err error
	if p.behavior, err = ruleset.ParseBehavior(c.Behavior); err != nil {
		return nil // which config has reported
	}
	if p.format, err = ruleset.ParseFormat(c.Format); err != nil {
		return nil
	}
	path, ok := b.claim(b.rulePlace(c))
	if !ok {
		return nil
	}
	p.supply = newSupply(path)
	r, mmdb := b.relay, !b.Config.Geo.Mode // the provider may outlive this configuration, and holds no more of it
	settings := provider.Config[*readSet]{
		Name: c.Name, Path: p.path, Interval: c.Interval, Log: r.log, Origin: c.URL,
		Parse: func(data []byte) (*readSet, error) { return r.readSet(p, data, mmdb) },
		Use: func(s *readSet) {
			p.set.Replace(s.content)
			r.setsChanged(func(now *Running) bool { return now.naming.sets[p.config.Name] && now.ruleSets[p.config.Name] == p })
			r.geo.wake()
			if s.content.Count > largeSet {
				debug.FreeOSMemory() // what reading it took is as much again
			}
		},
	}
	if r.store != nil {
		settings.Memory = r.store.Memory()
	}
	settings.Open, settings.Replace = b.Config.Paths.Open, replaceIn(b.Config.Paths)
	switch c.Type {
	case "http":
		settings.Kind = provider.HTTP
		settings.Get = func(ctx context.Context, have fetch.Validators) (*fetch.Response, error) {
			return r.download(ctx, p, have)
		}
	case "file":
		settings.Kind = provider.File
	default:
		settings.Kind = provider.Inline
		settings.Inline = []byte(strings.Join(c.Payload, "\n"))
		p.format = ruleset.Text
	}
	p.vehicle, p.source = settings.Kind, provider.New(settings)
	p.run = p.source.Run
	return p
}

// rulePlace says where rule provider c is.
func (b *builder) rulePlace(c *config.RuleProvider) *place {
	p := &place{kind: "rule", name: c.Name, how: c.Type, url: c.URL, path: c.Path, pos: c.Pos}
	for i := range b.Config.RuleProviders {
		other := &b.Config.RuleProviders[i]
		if other.Name == c.Name {
			break
		}
		p.second = p.second || other.Type == "http" && other.Path == "" && other.URL == c.URL
	}
	return p
}

// compiled is what follows the name of a rule set's file in that of its compiled form.
const compiled = ".compiled"

// downloadTimeout bounds one download of a rule set; one that stalls ends sooner.
const downloadTimeout = 5 * time.Minute

// download gets the content of p, through its proxy or by the rules.
func (r *Relay) download(ctx context.Context, p *ruleProvider, have fetch.Validators) (*fetch.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req := r.listRequest(p.config.URL, p.config.Proxy, p.config.Header, p.config.SizeLimit)
	if p.etag {
		req.Have = have
	}
	return fetch.Get(ctx, req)
}

// errWord is about answers such as "Forbidden", which come with a status of success at times.
var errWord = errors.New("this is a word, not a rule set")

var errPEM = errors.New("this is a certificate or a key, not a rule set")

// readSet reads the body of a rule set.
func (r *Relay) readSet(p *ruleProvider, data []byte, mmdb bool) (s *readSet, err error) {
	if bytes.Contains(data[:min(len(data), 4096)], []byte("-----BEGIN ")) {
		return nil, errPEM // and nothing of it is quoted
	}
	if p.behavior == ruleset.Classical {
		return r.readRules(p, data, mmdb)
	}
	s = &readSet{content: &rule.Content{}}
	if p.behavior == ruleset.IPCIDR {
		s.content.Prefixes, s.warnings, err = ruleset.ReadPrefixes(data, p.format)
		s.content.Count = s.content.Prefixes.Len()
	} else {
		s.content.Domains, s.warnings, err = r.readDomains(p, data)
		s.content.Count = s.content.Domains.Len()
		if err == nil && p.config.Type == "http" && p.format != ruleset.MRS && s.content.Count == 1 && !bytes.ContainsRune(data, '.') {
			err = errWord
		}
	}
	return s, err
}

// readDomains reads a set of names, out of the compiled file beside it where that fits.
func (r *Relay) readDomains(p *ruleProvider, data []byte) (*match.Domains, ruleset.Warnings, error) {
	if p.path == "" {
		return ruleset.ReadDomains(data, p.format)
	}
	return ruleset.ReadDomainsCached(data, p.format, p.path+compiled, func(err error) {
		r.log.Info(fmt.Sprintf("rule provider %q: the compiled set cannot be kept: %v", p.config.Name, err))
	})
}

// leftOut is a line that is no rule at all.
type leftOut struct {
	rule int
	err  error
}

// maxGeoNames bounds the lists, countries and systems that one rule set names.
const maxGeoNames = 10_000

// maxRules bounds the rules of a classical set.
const maxRules = 1 << 21

var errManyRules = fmt.Errorf("more than %d rules", maxRules)

// readRules reads a classical set.
func (r *Relay) readRules(p *ruleProvider, data []byte, mmdb bool) (*readSet, error) {
	s := &readSet{}
	var rules []rule.Rule
	var lines []int
	var left []leftOut // in order
	err := ruleset.Lines(data, p.format, func(n int, text []byte) error {
		if len(rules) == maxRules {
			return errManyRules
		}
		one, err := rule.ParseCondition(string(text))
		if err != nil {
			one = rule.Rule{Payload: string(text)} // which the compiler refuses in its turn
			left = append(left, leftOut{len(rules), err})
		}
		rules, lines = append(rules, one), append(lines, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	use := &geoUse{data: r.geo, mmdb: mmdb, keys: make(map[geoKey]bool), most: maxGeoNames}
	program := rule.CompileSet(rules, use.env(&rule.Env{}), func(i int, err error) {
		if len(left) > 0 && left[0].rule == i {
			err, left = left[0].err, left[1:]
		}
		one := &rules[i]
		s.warnings.Add(lines[i], []byte(strings.TrimPrefix(one.Type+","+one.Payload, ",")), err)
	})
	if program == nil {
		return nil, s.warnings.Err()
	}
	s.geo = use.keys
	s.content = &rule.Content{Rules: program, Count: program.Len()}
	r.geo.fill(use.keys)
	return s, nil
}

// info is what the API shows of p.
func (p *ruleProvider) info() ruleset.Info {
	st := p.source.State()
	i := ruleset.Info{
		Name: p.config.Name, Behavior: p.behavior, Format: p.format, Vehicle: p.vehicle.String(), Count: p.set.Len(),
		UpdatedAt: st.UpdatedAt, TriedAt: st.TriedAt, NextAt: st.NextAt, Err: st.Err, Payload: p.config.Payload,
	}
	if s, ok := p.source.Value(); ok {
		i.Warnings = s.warnings
	}
	return i
}

// RuleProviders describes the rule providers, in the order of the file.
func (r *Relay) RuleProviders() []ruleset.Info {
	all := r.current.Load().RuleProviders
	list := make([]ruleset.Info, len(all))
	for i, p := range all {
		list[i] = p.info()
	}
	return list
}

// RuleProvider describes the rule provider called name.
func (r *Relay) RuleProvider(name string) (ruleset.Info, bool) {
	p := r.current.Load().ruleSets[name]
	if p == nil {
		return ruleset.Info{}, false
	}
	return p.info(), true
}

// UpdateRuleProvider loads the rule provider called name anew. When that fails, what it had stays.
// known is false when there is none of that name.
func (r *Relay) UpdateRuleProvider(ctx context.Context, name string) (known bool, err error) {
	p := r.current.Load().ruleSets[name]
	if p == nil {
		return false, nil
	}
	return true, p.while(ctx, p.source.Refresh)
}
