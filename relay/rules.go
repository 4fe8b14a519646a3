package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/outbound"
	"github.com/switchyard-proxy/switchyard/relay/rule"
)

// compile compiles the rules, or reports what is wrong with them.
func (b *builder) compile() (*rule.Program, *geoUse) {
	data := b.relay.geo
	if data == nil { // the rules are only judged
		data = newGeoData("", slog.New(slog.DiscardHandler))
	}
	use := data.use(b.Config)
	b.usedSets = make(map[string]bool)
	env := use.env(&rule.Env{
		RuleSet: func(name string) (*rule.Set, error) {
			if p := b.ruleSets[name]; p != nil {
				b.usedSets[name] = true
				return p.set, nil
			}
			if b.refused[name] {
				return new(rule.Set), nil // which has been reported
			}
			return nil, &rule.NotFound{What: "rule set", Name: name}
		},
		SubRules: make(map[string][]rule.Rule, len(b.Config.SubRules)), Off: b.off,
	})
	for i := range b.Config.SubRules {
		env.SubRules[b.Config.SubRules[i].Name] = plain(b.Config.SubRules[i].Rules)
	}
	program, errs := rule.Compile(plain(b.Config.Rules), env)
	for _, e := range errs {
		b.wrongRule(e)
	}
	return program, use
}

// plain are rules without their places.
func plain(list []config.Rule) []rule.Rule {
	rules := make([]rule.Rule, len(list))
	for i := range list {
		rules[i] = list[i].Rule
	}
	return rules
}

// wrongRule reports a rule that the compiler refused.
func (b *builder) wrongRule(e *rule.Error) {
	path, rules := fmt.Sprintf("rules[%d]", e.Index), b.Config.Rules
	for i := range b.Config.SubRules {
		if s := &b.Config.SubRules[i]; e.Sub != "" && s.Name == e.Sub {
			path, rules = fmt.Sprintf("sub-rules[%s][%d]", e.Sub, e.Index), s.Rules
		}
	}
	if e.Index >= len(rules) {
		b.report(config.Pos{}, path, e.Err.Error())
		return
	}
	r := &rules[e.Index]
	if r.Type == "" || errors.Is(e.Err, rule.ErrCircular) {
		return // config has said so
	}
	hint := ""
	var missing *rule.NotFound
	var unknown *rule.UnknownType
	if errors.As(e.Err, &unknown) { // inside a logic rule
		hint = config.DidYouMean(unknown.Type, rule.Types())
	}
	if errors.As(e.Err, &missing) && missing.What == "rule set" {
		names := make([]string, len(b.Config.RuleProviders))
		for i := range names {
			names[i] = b.Config.RuleProviders[i].Name
		}
		hint = config.DidYouMean(missing.Name, names)
	}
	b.problem = append(b.problem, config.Diagnostic{
		Severity: config.Error, File: b.Config.File, Line: r.Pos.Line, Column: r.Pos.Column, Path: path,
		Message: fmt.Sprintf("[%s]: %v", r.Text(), e.Err), Hint: hint,
	})
}

// judge says what building c would find wrong, of a configuration that is wrong already.
func judge(c *config.Config) config.Diagnostics {
	b := &builder{Running: &Running{Config: c}, maker: maker{relay: newJudge(Source{}), base: dialingOf(c)}, files: make(map[string]*place)}
	for i := range c.Proxies {
		if p := &c.Proxies[i]; (p.Type == "http" || p.Type == "socks5") && p.Server != "" {
			_, err := b.server(p)
			b.reportNode(i, err)
		}
	}
	b.proxyProviders()
	for i := range c.Groups {
		b.tests(new(builtGroup), &c.Groups[i], fmt.Sprintf("proxy-groups[%d]", i))
	}
	b.ruleProviders()
	b.names()
	b.compile()
	return b.problem
}

// rules compiles the rules and finds their targets.
func (b *builder) rules() {
	program, use := b.compile()
	if program == nil {
		return
	}
	if b.relay.geo != nil {
		b.relay.geo.fill(use.keys)
	}
	b.geo = use.keys
	if b.naming != nil {
		b.naming.refer(b.geo, b.usedSets)
	}
	b.Program, b.counters = program, b.counts()
	b.snapshot = b.newSnapshot(program)
}

// counts are the counters of the rules, which go on while the rules stay.
func (b *builder) counts() *rule.Counters {
	if b.prev != nil && b.prev.counters != nil && reflect.DeepEqual(plain(b.prev.Config.Rules), plain(b.Config.Rules)) {
		return b.prev.counters
	}
	return rule.NewCounters(len(b.Config.Rules))
}

// switchCounters tells the counters which rules are switched off or on now.
func (n *Running) switchCounters(prev *Running) {
	was := map[int]bool{}
	if prev != nil && prev.counters == n.counters {
		was = prev.off
	}
	for i := range was {
		if !n.off[i] {
			n.counters.Switch(i, false)
		}
	}
	for i := range n.off {
		if !was[i] {
			n.counters.Switch(i, true)
		}
	}
}

func (b *builder) newSnapshot(program *rule.Program) *engine.Snapshot {
	s := &engine.Snapshot{
		Rules: program, Counters: b.counters, Direct: b.Outbounds["DIRECT"], Global: b.Outbounds["GLOBAL"],
		Mode: modes[b.Config.Mode],
	}
	if n := b.naming; n != nil {
		s.Restore = n.restore
		s.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) { return n.lookup(ctx, host, forRule) }
	}
	s.Targets = make([]outbound.Outbound, len(program.Targets()))
	for i, name := range program.Targets() {
		s.Targets[i] = b.Outbounds[name] // nil for the name of sub-rules, which is no target
	}
	if mode := b.Config.FindProcessMode; mode != "off" {
		s.Process, s.AlwaysProcess = b.relay.findProcess, mode == "always"
	}
	return s
}

// processTimeout bounds the search for the process of a flow.
const processTimeout = time.Second

// findProcess says who opened f, as far as that can be found out.
func (r *Relay) findProcess(ctx context.Context, f *flow.Flow) flow.Process {
	ctx, cancel := context.WithTimeout(ctx, processTimeout)
	defer cancel()
	who, err := r.finder.Find(ctx, f.Network, f.Source, f.Local)
	if err != nil {
		return flow.Process{LookedUp: true}
	}
	return flow.FoundProcess(who.UID, who.Path)
}

// geoInUse is the geo data that the rules of what runs refer to, those in rule sets included.
func (r *Relay) geoInUse() (map[geoKey]bool, config.Geo) {
	now := r.current.Load()
	used := maps.Clone(now.geo)
	for name := range now.usedSets {
		if s, ok := now.ruleSets[name].source.Value(); ok {
			maps.Copy(used, s.geo)
		}
	}
	return used, now.Config.Geo
}

// SwitchRules switches rules off, or on again, until the configuration is read again: all of them, or
// none when one is not there.
func (r *Relay) SwitchRules(off map[int]bool) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	now := r.current.Load()
	next := maps.Clone(now.off)
	if next == nil {
		next = make(map[int]bool, len(off))
	}
	for i, is := range off {
		if i < 0 || i >= now.Program.Len() {
			return fmt.Errorf("%d: %w", i, rule.ErrNoRule)
		}
		if is {
			next[i] = true
		} else {
			delete(next, i)
		}
	}
	running := *now
	running.off = next
	b := &builder{Running: &running, maker: maker{relay: r, base: dialingOf(now.Config)}, prev: now}
	b.rules()
	if err := b.problem.Err(); err != nil {
		return err
	}
	r.engine.Use(running.snapshot)
	r.current.Store(&running)
	running.switchCounters(now)
	return nil
}

// geoHeld is the geo data that what runs holds on to, those of rule sets included that no rule names.
func (r *Relay) geoHeld() map[geoKey]bool {
	now := r.current.Load()
	held := maps.Clone(now.geo)
	for _, p := range now.RuleProviders {
		if s, ok := p.source.Value(); ok {
			maps.Copy(held, s.geo)
		}
	}
	return held
}

// Explain says where f, which who would open, would go, and why, by the program that carries traffic.
func (r *Relay) Explain(ctx context.Context, f *flow.Flow, who flow.Process, trace bool) (*engine.Explanation, error) {
	return r.engine.Explain(ctx, f, who, trace)
}

// Place says where an address is, as far as the geo data that rules need tells.
func (r *Relay) Place(ip netip.Addr) flow.Place { return r.geo.place(ip) }
