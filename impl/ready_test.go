package impl

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/health"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// stepped is an error of a step.
type stepped struct{ error }

// TestReadiness breaks one component after the other.
func TestReadiness(t *testing.T) {
	o := &observed{}
	c, url := serve(t, o, config.Controller{})
	f := func(v vitals.Vitals, name, message string, check func(api.Component) bool) {
		t.Helper()
		v.Phase = vitals.Serving
		o.vitals = v
		res, text := get(t, url+"/readyz", "")
		var r api.Readiness
		if err := json.Unmarshal([]byte(text), &r); err != nil || res.StatusCode != 200 {
			t.Fatalf("%d %s: %v", res.StatusCode, text, err)
		}
		want := api.ReadinessStatusOk
		if message != "" {
			want = api.ReadinessStatusDegraded
		}
		for other, part := range r.Components {
			if other != name && part.Status != api.ReadinessStatusOk {
				t.Errorf("%s is %+v", other, part)
			}
		}
		part, got := r.Components[name], ""
		if part.Message != nil {
			got = *part.Message
		}
		if r.Status != want || part.Status != want || got != message || check != nil && !check(part) {
			t.Errorf("%s; want %s: %s %q", text, name, want, message)
		}
	}
	f(vitals.Vitals{}, "store", "", nil)
	served := vitals.Listener{Network: "tcp", Addr: "127.0.0.1:1", Serving: true}
	f(vitals.Vitals{Inbounds: []vitals.Listener{served}}, "listeners", "", nil)
	f(vitals.Vitals{Inbounds: []vitals.Listener{served, {Network: "udp", Addr: "127.0.0.1:1"}}}, "listeners",
		"127.0.0.1:1 (udp) is not served any more", nil)
	for _, l := range c.live {
		l.down.Store(true)
		f(vitals.Vitals{}, "listeners", "127.0.0.1:0 (tcp) is not served any more", nil)
		l.down.Store(false)
	}
	f(vitals.Vitals{DNS: vitals.DNS{Enabled: true}}, "dns", "", nil) // it listens nowhere, as it should
	f(vitals.Vitals{DNS: vitals.DNS{Enabled: true, Listen: ":53", Serving: true}}, "dns", "", nil)
	f(vitals.Vitals{DNS: vitals.DNS{Enabled: true, Listen: ":53"}}, "dns", ":53 is not listened on", nil)

	at := time.Unix(1_700_000_000, 0).UTC()
	step := func(want string) func(api.Component) bool {
		return func(p api.Component) bool {
			return p.Step != nil && *p.Step == want && p.Since != nil && p.Since.Equal(at)
		}
	}
	const failed = "the last reload failed, what ran before goes on: "
	f(vitals.Vitals{Reloads: vitals.Reloads{Failed: 1}}, "config", "", func(p api.Component) bool { return p.Step == nil })
	f(vitals.Vitals{Reloads: vitals.Reloads{Err: errors.New("open c.yaml: no such file"), FailedAt: at}}, "config",
		failed+"open c.yaml: no such file", step("read"))
	f(vitals.Vitals{Reloads: vitals.Reloads{Err: stepped{errors.New("inbounds: in use")}, Step: "inbounds", FailedAt: at}}, "config",
		failed+"inbounds: in use", step("inbounds"))
	invalid := &config.Invalid{Diagnostics: config.Diagnostics{
		{Severity: config.Error, File: "c", Line: 1, Column: 1, Path: "mode", Message: "first"},
		{Severity: config.Error, File: "c", Line: 2, Column: 1, Path: "port", Message: "second"},
	}}
	line, _, _ := strings.Cut(invalid.Error(), "\n")
	f(vitals.Vitals{Reloads: vitals.Reloads{Err: invalid, FailedAt: at}}, "config", failed+line+" (and 1 more)", step("validate"))

	counts := func(total, bad int) func(api.Component) bool {
		return func(p api.Component) bool { return *p.Total == total && *p.Failed == bad }
	}
	good, stale := vitals.Provider{Kind: "proxy", Name: "a", Loaded: true}, vitals.Provider{Kind: "proxy", Name: "b", Loaded: true, Err: errors.New("x")}
	empty := vitals.Provider{Kind: "proxy", Name: "c", Err: errors.New("x")}
	f(vitals.Vitals{}, "proxy-providers", "", counts(0, 0))
	f(vitals.Vitals{Providers: []vitals.Provider{good, stale}}, "proxy-providers", "", counts(2, 1))
	f(vitals.Vitals{Providers: []vitals.Provider{good, stale, empty}}, "proxy-providers", `nothing is known yet of "c"`, counts(3, 2))
	empty.Kind = "rule"
	f(vitals.Vitals{Providers: []vitals.Provider{good, empty, empty, empty, empty, empty, empty}}, "rule-providers",
		`nothing is known yet of "c", "c", "c", "c", "c" and 1 more`, counts(6, 6))
	f(vitals.Vitals{Geo: []vitals.Geo{{Name: "GeoSite.dat", Loaded: true}}}, "geo", "", nil)
	f(vitals.Vitals{Geo: []vitals.Geo{{Name: "GeoSite.dat", Loaded: true}, {Name: "ASN.mmdb"}}}, "geo",
		"rules that need it do not match: ASN.mmdb cannot be read yet", nil)
	queued := func(p api.Component) bool { return *p.Queued == 7 }
	f(vitals.Vitals{Tests: health.Counts{Queued: 7}}, "planner", "", queued)
	f(vitals.Vitals{Tests: health.Counts{Queued: 7, Busy: true}}, "planner", "so many health checks wait that more are refused", queued)
}

// TestPhases asks who begins and who ends; who does not know the secret is told that and nothing else.
func TestPhases(t *testing.T) {
	o := &observed{}
	_, url := serve(t, o, config.Controller{Secret: "s"})
	f := func(phase vitals.Phase, authorization string, status int, want string) {
		t.Helper()
		o.vitals.Phase = phase
		if res, text := get(t, url+"/readyz", authorization); res.StatusCode != status || !strings.HasPrefix(text, want) {
			t.Errorf("%d %s; want %d %s", res.StatusCode, text, status, want)
		}
		if res, text := get(t, url+"/livez", authorization); res.StatusCode != 200 || text != "ok" {
			t.Errorf("/livez: %d %q", res.StatusCode, text)
		}
	}
	o.vitals.Reloads.Err = errors.New("secret.yaml: not there")
	f(vitals.Starting, "", 503, `{"status":"starting"}`+"\n")
	f(vitals.Serving, "", 200, `{"status":"degraded"}`+"\n")
	f(vitals.Serving, "Bearer wrong", 200, `{"status":"degraded"}`+"\n")
	f(vitals.Stopping, "", 503, `{"status":"stopping"}`+"\n")
	f(vitals.Starting, "Bearer s", 503, `{"components":{`)
	f(vitals.Serving, "Bearer s", 200, `{"components":{`)
	f(vitals.Stopping, "Bearer s", 503, `{"components":{`)
}
