package engine

import (
	"log/slog"

	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/rule"
	"github.com/switchyard-proxy/switchyard/relay/track"
)

// carried is a flow of the table as the structured log tells of it: see logs.Detail. Nothing is made of it where
// nobody reads that.
type carried track.Entry

// LogValue and Detail implement logs.Detail.
func (c *carried) LogValue() slog.Value { return slog.GroupValue(entryFacts((*track.Entry)(c))...) }
func (c *carried) Detail()              {}

// ended is one that has ended, likewise.
type ended track.Entry

// LogValue and Detail implement logs.Detail.
func (c *ended) LogValue() slog.Value {
	e := (*track.Entry)(c)
	return slog.GroupValue(append(entryFacts(e), slog.String("reason", string(e.Reason())))...)
}
func (c *ended) Detail() {}

// entryFacts are those of an entry that stay the same.
func entryFacts(e *track.Entry) []slog.Attr {
	facts := append(make([]slog.Attr, 0, 16), slog.String("id", e.ID.String()))
	facts = flowFacts(facts, e.Flow)
	facts = wayFacts(facts, e.Rule, e.RulePayload, e.Chain)
	return append(facts, slog.String("remote", e.Remote))
}

// refused is a flow that came to nothing, likewise.
type refused struct {
	flow  flow.Flow // a copy: whoever opened it may try again
	rule  rule.Info
	chain []string
	err   error // nil: a rule said no
}

func refusal(f *flow.Flow, r *route, err error) *refused {
	return &refused{flow: *f, rule: r.info, chain: r.chain, err: err}
}

// LogValue and Detail implement logs.Detail.
func (r *refused) LogValue() slog.Value {
	facts := flowFacts(make([]slog.Attr, 0, 16), &r.flow)
	facts = wayFacts(facts, r.rule.Type, r.rule.Payload, r.chain)
	if r.err != nil {
		facts = append(facts, slog.String("error", r.err.Error()))
	}
	return slog.GroupValue(facts...)
}
func (r *refused) Detail() {}

// flowFacts adds what a flow is.
func flowFacts(facts []slog.Attr, f *flow.Flow) []slog.Attr {
	source := ""
	if f.Source.IsValid() {
		source = f.Source.String()
	}
	return append(facts,
		slog.String("network", f.Network.String()), slog.String("type", f.Kind.String()),
		slog.String("inbound", f.Inbound), slog.String("user", f.User),
		slog.String("source", source), slog.String("process", f.Process.Path),
		slog.String("target", f.To.String()),
	)
}

// wayFacts adds why and where it goes. The chain comes as one fact for each element, the node first.
func wayFacts(facts []slog.Attr, rule, payload string, chain []string) []slog.Attr {
	facts = append(facts, slog.String("rule", rule), slog.String("payload", payload))
	for _, name := range chain {
		facts = append(facts, slog.String("chain", name))
	}
	return facts
}
