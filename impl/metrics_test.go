package impl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/dns"
	"github.com/switchyard-proxy/switchyard/relay/engine"
	"github.com/switchyard-proxy/switchyard/relay/flow"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/track"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
	"github.com/switchyard-proxy/switchyard/tests/exposition"
)

// scrape reads /metrics as a scraper does.
func scrape(t *testing.T, url, authorization string) exposition.Metrics {
	t.Helper()
	res, text := get(t, url+"/metrics", authorization)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != exposition.ContentType {
		t.Fatalf("%s, %q: %.100s", res.Status, res.Header.Get("Content-Type"), text)
	}
	m, err := exposition.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMetrics(t *testing.T) {
	o := &observed{vitals: vitals.Vitals{
		Phase:   vitals.Serving,
		Reloads: vitals.Reloads{Worked: 3, Failed: 2, Err: errors.New("x"), AppliedAt: time.UnixMilli(1_700_000_000_500)},
		Providers: []vitals.Provider{
			{Kind: "proxy", Name: "sub", Count: 5, UpdatedAt: time.Unix(1_700_000_000, 0)},
			{Kind: "rule", Name: "sub", Count: 7, Err: errors.New("404")},
		},
		Flows: engine.Counts{
			Matches:  []engine.Count{{Word: "Domain", Count: 4}, {Word: "none"}},
			Failures: []engine.Count{{Word: "Socks5", Count: 6}}, Rejected: 8,
		},
		Names: dns.Counts{
			Questions: []dns.Count{{Word: "cache", Count: 9}}, Hits: 10, Misses: 11,
			Asked: []dns.Count{{Word: "udp", Count: 12}}, Failures: []dns.Count{{Word: "udp", Count: 13}},
		},
		Tests:  health.Counts{Passed: 14, Unexpected: 15, Failed: 16, InFlight: 17, Queued: 18},
		Panics: []vitals.Panics{{Where: "flows", Count: 19}},
	}}
	c, url := serve(t, o, config.Controller{})
	e := &track.Entry{Flow: &flow.Flow{Network: flow.TCP, Kind: flow.HTTPS}}
	o.table.Open(e, func() {})
	e.Up.Add(20)
	moved := &track.Entry{Flow: &flow.Flow{Network: flow.UDP, Kind: flow.SOCKS5}}
	o.table.Open(moved, func() {})
	o.table.Remove(moved, track.Moved("a group", "x", "y"))
	c.panics.Add(21)

	m := scrape(t, url, "")
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		if got := m.Value("switchyard_"+name, labels...); got != want {
			t.Errorf("%s%q: %v; want %v", name, labels, got, want)
		}
	}
	f(1, "build_info", "version", "v1.2.3")
	f(3, "config_reloads_total", "result", "ok")
	f(2, "config_reloads_total", "result", "failed")
	f(0, "config_last_reload_successful")
	f(1_700_000_000.5, "config_last_success_timestamp_seconds")
	f(1, "providers", "kind", "rule")
	f(5, "provider_entries", "kind", "proxy", "name", "sub")
	f(7, "provider_entries", "kind", "rule", "name", "sub")
	f(1, "provider_error", "kind", "rule", "name", "sub")
	f(0, "provider_error", "kind", "proxy", "name", "sub")
	f(1_700_000_000, "provider_last_success_timestamp_seconds", "kind", "proxy")
	f(0, "provider_last_success_timestamp_seconds", "kind", "rule")
	f(4, "rule_matches_total", "type", "Domain")
	f(6, "dial_failures_total", "type", "Socks5")
	f(8, "flows_rejected_total")
	f(9, "dns_questions_total", "answer", "cache")
	f(10, "dns_cache_hits_total")
	f(11, "dns_cache_misses_total")
	f(12, "dns_upstream_questions_total", "scheme", "udp")
	f(13, "dns_upstream_failures_total", "scheme", "udp")
	f(14, "health_tests_total", "result", "ok")
	f(15, "health_tests_total", "result", "unexpected_status")
	f(16, "health_tests_total", "result", "failed")
	f(17, "health_tests_in_flight")
	f(18, "health_tests_queued")
	f(19, "panics_total", "where", "flows")
	f(21, "panics_total", "where", "api")
	f(1, "flows_live", "network", "tcp", "inbound", "HTTPS")
	f(0, "flows_live", "network", "udp", "inbound", "Socks5")
	f(1, "flows_opened_total", "network", "udp", "inbound", "Socks5")
	f(1, "flows_closed_total", "reason", "group_changed")
	f(1, "flows_closed_total")
	f(20, "flow_bytes_total", "direction", "up")
	for _, name := range []string{"goroutines", "memory_bytes", "start_time_seconds"} {
		if m.Value("switchyard_"+name) <= 0 {
			t.Errorf("%s: %v", name, m.Value("switchyard_"+name))
		}
	}
}

// TestMetricsAreBounded names providers as nobody should, and more of them than are shown.
func TestMetricsAreBounded(t *testing.T) {
	o := &observed{}
	bad := []string{"\"\\\n", "a\x00b\xff", strings.Repeat("é", 1000), strings.Repeat("é", 1001), "", "日本 🇯🇵 01"}
	for i := range 300 {
		name := fmt.Sprint("p", i)
		if i < len(bad) {
			name = bad[i]
		}
		o.vitals.Providers = append(o.vitals.Providers, vitals.Provider{Kind: []string{"proxy", "rule"}[i%2], Name: name, Count: 1})
	}
	_, url := serve(t, o, config.Controller{})
	m := scrape(t, url, "")
	if n := len(m["switchyard_provider_entries"].Samples); n != 2*maxProviders {
		t.Errorf("%d providers are shown", n)
	}
	if n := m.Value("switchyard_providers"); n != 300 {
		t.Errorf("%v providers", n)
	}
	for _, s := range m["switchyard_provider_error"].Samples {
		if name := s.Labels[1].Value; len([]rune(name)) > maxLabel || strings.ContainsAny(name, "\n\x00") {
			t.Errorf("%q", name)
		}
	}
	f := func(name string) {
		t.Helper()
		if m.Value("switchyard_provider_entries", "name", name) != 1 {
			t.Errorf("%q is not shown", name)
		}
	}
	f("\"\\_")
	f("a_b_")
	f("日本 🇯🇵 01")
}

// TestMetricsToken tries words in every place where one may stand.
func TestMetricsToken(t *testing.T) {
	basic := func(word string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+word)) }
	f := func(url, path, authorization string, want int) {
		t.Helper()
		if res, text := get(t, url+path, authorization); res.StatusCode != want {
			t.Errorf("%s with %q: %d %.60s; want %d", path, authorization, res.StatusCode, text, want)
		}
	}
	_, both := serve(t, &observed{}, config.Controller{Secret: "s", MetricsToken: "m"})
	f(both, "/metrics", "", 401)
	f(both, "/metrics", "Bearer s", 200)
	f(both, "/metrics", "Bearer m", 200)
	f(both, "/metrics", basic("m"), 200)
	f(both, "/metrics", basic("s"), 401) // Basic is for the debug pages, and for the token
	f(both, "/metrics", "Bearer ", 401)
	f(both, "/metrics", basic(""), 401)
	f(both, "/metrics", "Bearer mm", 401)
	f(both, "/metrics", "m", 401)
	f(both, "/metrics?token=m", "", 401)
	f(both, "/version", "Bearer m", 401)
	f(both, "/version", basic("m"), 401)
	f(both, "/connections", "Bearer m", 401)
	_, secret := serve(t, &observed{}, config.Controller{Secret: "s"})
	f(secret, "/metrics", "", 401)
	f(secret, "/metrics", "Bearer s", 200)
	f(secret, "/metrics", "Bearer ", 401)
	f(secret, "/metrics", basic(""), 401)
	_, open := serve(t, &observed{}, config.Controller{MetricsToken: "m"})
	f(open, "/metrics", "", 200) // as all else
	f(open, "/metrics", "Bearer m", 200)
}
