package impl

import (
	"runtime"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-proxy/switchyard/gen/rt"
	"github.com/switchyard-proxy/switchyard/gen/server"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/sysnet"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// GetMetrics implements server.Handler.
func (c *Controller) GetMetrics(_ *fasthttp.RequestCtx, w server.GetMetricsW) rt.Reply {
	v := c.o.Relay.Vitals()
	return w.Text200(func(b []byte) []byte {
		x := &metricsText{b: b}
		c.processMetrics(x)
		c.flowMetrics(x, &v.Flows)
		dnsMetrics(x, &v.Names)
		testMetrics(x, v)
		configMetrics(x, &v.Reloads)
		providerMetrics(x, v.Providers)
		x.family("panics_total", counter, "Bugs that ended a flow, a question, a test, a request or a change.")
		for _, p := range v.Panics {
			x.sample(float64(p.Count), "where", p.Where)
		}
		x.sample(float64(c.panics.Load()), "where", "api")
		return x.b
	})
}

func (c *Controller) processMetrics(x *metricsText) {
	x.family("build_info", gauge, "The build, as labels; the value is always 1.")
	x.sample(1, "version", label(c.o.Version), "go_version", runtime.Version(), "os", runtime.GOOS, "arch", runtime.GOARCH)
	x.one("start_time_seconds", gauge, "When the process began, in Unix time.", seconds(c.began))
	x.one("uptime_seconds", gauge, "How long the process has run.", float64(time.Since(c.began).Milliseconds())/1000)
	x.one("goroutines", gauge, "Goroutines.", float64(runtime.NumGoroutine()))
	x.one("memory_bytes", gauge, "Memory in use.", float64(c.memory.inUse()))
	if n, ok := sysnet.OpenFiles(); ok {
		x.one("open_fds", gauge, "Open file descriptors.", float64(n))
	}
	x.one("api_streams", gauge, "Streams of the API that are open.", float64(c.streams.Open()))
	x.one("api_snapshots_total", counter, "Lists of connections that were made for streams, which share them.", float64(c.snapshot.encoded.Load()))
}

func (c *Controller) flowMetrics(x *metricsText, n *engine.Counts) {
	classes, ends := c.o.Relay.Table().Counts()
	word := func(s string) string {
		if s == "" || s == flow.Network(0).String() {
			return "other"
		}
		return s
	}
	x.family("flows_live", gauge, "Flows that are open, by network and kind of inbound.")
	for _, k := range classes {
		x.sample(float64(k.Live), "network", word(k.Network.String()), "inbound", word(k.Kind.String()))
	}
	x.family("flows_opened_total", counter, "Flows that were opened, by network and kind of inbound.")
	for _, k := range classes {
		x.sample(float64(k.Opened), "network", word(k.Network.String()), "inbound", word(k.Kind.String()))
	}
	x.family("flows_closed_total", counter, "Flows that have ended, by why.")
	for _, e := range ends {
		x.sample(float64(e.Count), "reason", e.Word)
	}
	x.one("flows_rejected_total", counter, "Flows that a rule refused.", float64(n.Rejected))
	up, down := c.o.Relay.Table().Totals()
	x.family("flow_bytes_total", counter, "Bytes of flows, from clients (up) and to them (down).")
	x.sample(float64(up), "direction", "up")
	x.sample(float64(down), "direction", "down")
	x.family("dial_failures_total", counter, "Flows that could not be opened, by the type of the node; none is that there was no node for it.")
	for _, f := range n.Failures {
		x.sample(float64(f.Count), "type", label(f.Word))
	}
	x.family("rule_matches_total", counter, "Flows by the type of the rule that decided; none is that no rule did.")
	for _, m := range n.Matches {
		x.sample(float64(m.Count), "type", m.Word)
	}
}

func dnsMetrics(x *metricsText, n *dns.Counts) {
	list := func(name, key, help string, counts []dns.Count) {
		x.family(name, counter, help)
		for _, k := range counts {
			x.sample(float64(k.Count), key, k.Word)
		}
	}
	list("dns_questions_total", "answer", "Questions of clients, by where the answer is from.", n.Questions)
	x.one("dns_cache_hits_total", counter, "Answers that were at hand, also for the daemon itself.", float64(n.Hits))
	x.one("dns_cache_misses_total", counter, "Answers that were not.", float64(n.Misses))
	list("dns_upstream_questions_total", "scheme", "Questions to name servers, by how they are spoken to.", n.Asked)
	list("dns_upstream_failures_total", "scheme", "Questions to name servers that they did not answer, or could not.", n.Failures)
}

func testMetrics(x *metricsText, v *vitals.Vitals) {
	t := &v.Tests
	x.family("health_tests_total", counter, "Health checks of nodes, by result.")
	x.sample(float64(t.Passed), "result", "ok")
	x.sample(float64(t.Unexpected), "result", "unexpected_status")
	x.sample(float64(t.Failed), "result", "failed")
	x.one("health_tests_in_flight", gauge, "Health checks that run.", float64(t.InFlight))
	x.one("health_tests_queued", gauge, "Health checks that wait for their turn.", float64(t.Queued))
}

func configMetrics(x *metricsText, r *vitals.Reloads) {
	x.family("config_reloads_total", counter, "Configurations that were read, the first one included, by result.")
	x.sample(float64(r.Worked), "result", "ok")
	x.sample(float64(r.Failed), "result", "failed")
	x.one("config_last_reload_successful", gauge, "Whether the last of them worked.", truth(r.Err == nil))
	x.one("config_last_success_timestamp_seconds", gauge, "When the configuration that runs was applied, in Unix time.", seconds(r.AppliedAt))
}

// maxProviders bounds the providers of each kind that have samples of their own.
const maxProviders = 100

func providerMetrics(x *metricsText, all []vitals.Provider) {
	type key struct{ kind, name string }
	var shown []vitals.Provider
	known, total := make(map[key]bool), map[string]int{"proxy": 0, "rule": 0}
	each := map[string]int{}
	for _, p := range all {
		total[p.Kind]++
		p.Name = label(p.Name)
		if k := (key{p.Kind, p.Name}); !known[k] && each[p.Kind] < maxProviders { // what is cut may be the same
			known[k] = true
			each[p.Kind]++
			shown = append(shown, p)
		}
	}
	x.family("providers", gauge, "Providers of the configuration, by kind.")
	x.sample(float64(total["proxy"]), "kind", "proxy")
	x.sample(float64(total["rule"]), "kind", "rule")
	list := func(name, help string, value func(*vitals.Provider) float64) {
		x.family(name, gauge, help)
		for i := range shown {
			x.sample(value(&shown[i]), "kind", shown[i].Kind, "name", shown[i].Name)
		}
	}
	list("provider_entries", "Nodes or rules of a provider.", func(p *vitals.Provider) float64 { return float64(p.Count) })
	list("provider_error", "Whether the last attempt to load a provider failed.", func(p *vitals.Provider) float64 { return truth(p.Err != nil) })
	list("provider_last_success_timestamp_seconds", "When what a provider has was last known to be the newest, in Unix time; 0 for never.",
		func(p *vitals.Provider) float64 { return seconds(p.UpdatedAt) })
}
