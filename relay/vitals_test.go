package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
	"github.com/switchyard-proxy/switchyard/tests/leak"
	"github.com/switchyard-proxy/switchyard/tests/port"
)

// TestVitals looks at a relay that has something of everything, some of which cannot be had.
func TestVitals(t *testing.T) {
	mixed := port.Free(t)
	r := startRelay(t, fmt.Sprintf("mixed-port: %d\n", mixed)+`
dns: {enable: true, listen: '127.0.0.1:0', nameserver: ['rcode://success']}
geo-auto-update: false
geox-url: {mmdb: 'http://127.0.0.1:1/x', asn: 'http://127.0.0.1:1/x', geosite: 'http://127.0.0.1:1/x', geoip: 'http://127.0.0.1:1/x'}
proxy-providers:
  here: {type: inline, payload: [{name: a, type: direct}, {name: b, type: direct}]}
  gone: {type: http, url: 'http://127.0.0.1:1/x', path: gone.yaml}
rule-providers:
  sites: {type: inline, behavior: domain, payload: [a.test, b.test, c.test]}
rules: ['GEOIP,cn,DIRECT', 'RULE-SET,sites,DIRECT', 'MATCH,DIRECT']
`)
	v := r.Vitals()
	if v.Phase != vitals.Serving || v.Reloads.AppliedAt.IsZero() || v.Reloads.Err != nil {
		t.Errorf("%+v", v)
	}
	want := fmt.Sprintf("[{tcp 127.0.0.1:%d true} {udp 127.0.0.1:%d true}]", mixed, mixed)
	if got := fmt.Sprint(v.Inbounds); got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if v.DNS != (vitals.DNS{Enabled: true, Listen: "127.0.0.1:0", Serving: true}) {
		t.Errorf("%+v", v.DNS)
	}
	if got := fmt.Sprint(v.Geo); got != "[{geoip.metadb false}]" {
		t.Error(got)
	}
	for i, p := range []vitals.Provider{
		{Kind: "proxy", Name: "here", Count: 2, Loaded: true}, {Kind: "proxy", Name: "gone"}, {Kind: "rule", Name: "sites", Count: 3, Loaded: true},
	} {
		got := v.Providers[i]
		if got.Kind != p.Kind || got.Name != p.Name || got.Count != p.Count || got.Loaded != p.Loaded || got.UpdatedAt.IsZero() == p.Loaded {
			t.Errorf("%+v; want %+v", got, p)
		}
	}
	r.mustApply(t, "mode: direct\n")
	if v := r.Vitals(); v.Inbounds != nil || v.DNS.Enabled || v.DNS.Serving || v.Geo != nil || v.Providers != nil {
		t.Errorf("%+v", v)
	}
}

// TestReloadsAreTold counts files and payloads, and keeps what the last one failed at.
func TestReloadsAreTold(t *testing.T) {
	r := startRelay(t, "mode: rule\n")
	r.source.File = filepath.Join(r.source.Paths.Home, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(r.source.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := func(worked, failed uint64, step string, well bool) {
		t.Helper()
		v := r.Vitals().Reloads
		if v.Worked != worked || v.Failed != failed || v.Step != step || (v.Err == nil) != well || !well && v.FailedAt.IsZero() {
			t.Errorf("%+v; want %d and %d, step %q", v, worked, failed, step)
		}
	}
	f(0, 0, "", true)
	_ = r.Reload() // there is no file
	f(0, 1, "", false)
	write("mode: direct\n")
	applied := r.Vitals().Reloads.AppliedAt
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	f(1, 1, "", true)
	if at := r.Vitals().Reloads.AppliedAt; !at.After(applied) {
		t.Errorf("applied at %v, before at %v", at, applied)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_ = r.Load("", fmt.Sprintf("mixed-port: %d\n", taken.Addr().(*net.TCPAddr).Port), true, nil)
	f(1, 2, "inbounds", false)
	write("mode: nonsense\n")
	_ = r.Reload()
	f(1, 3, "", false)
	// Neither what was not tried nor a single setting makes up for it.
	if err := r.Load("", "mode: rule\n", false, func(string) bool { return false }); !errors.Is(err, config.ErrStale) {
		t.Error(err)
	}
	if err := r.Patch(nil, func(c *config.Config) error { c.Mode = config.ModeGlobal; return nil }); err != nil {
		t.Error(err)
	}
	f(1, 3, "", false)
	_ = r.Load("", "mode: rule\n", false, nil)
	f(2, 3, "", true)
}

// TestPhases: a relay begins, serves and ends; one that has yielded ends too.
func TestPhases(t *testing.T) {
	leak.Check(t)
	r := newTestRelay(t)
	var phases []vitals.Phase
	look := func() { phases = append(phases, r.Vitals().Phase) }
	look()
	ctx, cancel := context.WithCancel(t.Context())
	r.Add(stopper{look})
	err := r.Run(ctx, func() error {
		defer cancel()
		err := r.applyText("mode: direct\n")
		look()
		return err
	})
	if err != nil || !slices.Equal(phases, []vitals.Phase{vitals.Starting, vitals.Serving, vitals.Stopping}) {
		t.Errorf("%v, %v", phases, err)
	}

	r = startRelay(t, "mode: direct\n")
	if err := r.Yield(func() error { return errors.New("no") }); err == nil || r.Vitals().Phase != vitals.Serving {
		t.Errorf("%v, phase %v", err, r.Vitals().Phase)
	}
	if err := r.Yield(func() error { return nil }); err != nil || r.Vitals().Phase != vitals.Stopping {
		t.Errorf("%v, phase %v", err, r.Vitals().Phase)
	}
}

// stopper is a part that is told when it is to end.
type stopper struct{ stopped func() }

func (stopper) Prepare(_, _ *config.Config) (config.Change, error) { return &commits{}, nil }
func (stopper) Name() string                                       { return "stopper" }
func (s stopper) Stop() error                                      { s.stopped(); return nil }
