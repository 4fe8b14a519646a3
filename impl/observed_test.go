package impl

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/config"
	"github.com/switchyard-proxy/switchyard/relay/state"
	"github.com/switchyard-proxy/switchyard/relay/track"
	"github.com/switchyard-proxy/switchyard/relay/vitals"
)

// observed is a relay that can be looked at, and nothing else.
type observed struct {
	Relay
	vitals vitals.Vitals
	table  *track.Table
	store  *state.Store
}

func (o *observed) Vitals() *vitals.Vitals { v := o.vitals; return &v }
func (o *observed) Table() *track.Table    { return o.table }
func (o *observed) Store() *state.Store    { return o.store }

// serve serves the API of o until the test ends, and returns the controller and its URL.
func serve(t *testing.T, o *observed, settings config.Controller) (*Controller, string) {
	t.Helper()
	hub := testHub()
	o.table, o.store = track.NewTable(), state.New(filepath.Join(t.TempDir(), state.FileName), hub.Logger())
	c := New(Options{Relay: o, Hub: hub, Version: "v1.2.3"})
	settings.Addr = "127.0.0.1:0"
	change, err := c.Prepare(nil, &config.Config{Controller: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	change.Commit()
	for _, l := range c.live {
		return c, "http://" + l.Addr().String()
	}
	panic("no listener")
}

// get asks with an Authorization field, "" for none.
func get(t *testing.T, url, authorization string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}
