package relay

import (
	"errors"
	"log/slog"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/health"
)

// newJudge makes a relay that only says what is wrong with configurations: what it builds serves nobody. It has
// no store, no engine and no geo data, by which builders know it.
func newJudge(source Source) *Relay {
	log := slog.New(slog.DiscardHandler)
	return &Relay{log: log, source: source, dns: newDNSService(log), book: health.NewBook()}
}

// quiet is c without what was chosen before, which is stored.
func quiet(c *config.Config) *config.Config {
	c = c.Clone()
	c.Profile.StoreSelected = false
	return c
}

// Check says what is wrong with c beyond what its parser sees: what only building it shows. It
// opens nothing and changes nothing.
func Check(c *config.Config) error { return newJudge(Source{}).verdict(c) }

func (r *Relay) verdict(c *config.Config) error {
	n, err := r.build(quiet(c), nil, nil)
	r.discard(n, nil)
	return err
}

// discard ends what was built of n and is not prev's.
func (r *Relay) discard(n, prev *Running) {
	r.dns.end()
	r.dns.life.Close()
	if n == nil {
		return
	}
	kept := make(map[*supply]bool)
	for _, s := range prev.supplies() {
		kept[s] = true
	}
	for _, s := range n.supplies() {
		if !kept[s] {
			s.end()
		}
	}
	for name, u := range n.naming.upstreams {
		if prev == nil || prev.naming.upstreams[name] != u {
			_ = u.Upstream.Close() // nobody has asked it
		}
	}
}

// Judge says all there is to say of the configuration in payload, else in the file path, else in the source, and
// returns it where it can be read. Nothing is opened or written, and what runs does not notice. With an error
// there was nothing to judge.
func (r *Relay) Judge(path, payload string) (*config.Config, config.Diagnostics, error) {
	c, diags, err := r.parse(path, payload)
	switch {
	case err != nil && diags.Err() == nil:
		return nil, nil, err
	case err != nil:
		return c, diags, nil
	}
	err = newJudge(r.source).verdict(c)
	if invalid, ok := errors.AsType[*config.Invalid](err); ok {
		diags = diags.Merge(invalid.Diagnostics)
		err = nil
	}
	return c, diags, err
}
