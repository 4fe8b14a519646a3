package contract

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
)

// TestStorage goes through the answers about documents that clients keep.
func TestStorage(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	holds := func(key, want string) {
		t.Helper()
		r, err := c.GetStoredWithResponse(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode() != 200 || string(r.Body) != want+"\n" {
			t.Errorf("%d %.100s; want %.100s", r.StatusCode(), r.Body, want)
		}
	}
	put := func(key string, body io.Reader) *client.PutStoredResponse {
		t.Helper()
		r, err := c.PutStoredWithBodyWithResponse(ctx, key, "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	holds("panel", "null")
	if r, err := c.PutStoredWithResponse(ctx, "panel", map[string]any{"a": []int{1}}); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%+v, %v", r, err)
	}
	holds("panel", `{"a":[1]}`)
	// A document stays what it is, but for its white space.
	if r := put("a/b 日本", strings.NewReader(" { \"b\" : 1.0,\n\"a\": \"\\u0041 é\" } ")); r.StatusCode() != 204 {
		t.Fatalf("%s", r.Body)
	}
	holds("a/b 日本", `{"b":1.0,"a":"\u0041 é"}`)
	holds("panel", `{"a":[1]}`)
	if r := put("panel", strings.NewReader(`{"a":`)); r.JSON400 == nil || r.JSON400.Code != api.ErrorCodeBodyInvalid {
		t.Errorf("%s", r.Body)
	}
	holds("panel", `{"a":[1]}`)
	for range 2 {
		if r, err := c.DeleteStoredWithResponse(ctx, "panel"); err != nil || r.StatusCode() != 204 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	holds("panel", "null")
}

// TestStorageTooLarge sends what is larger than a document may be, with its length and in chunks.
func TestStorageTooLarge(t *testing.T) {
	d := startDaemon(t)
	const most = 1 << 20
	f := func(size int, chunks bool, status int, says string) {
		t.Helper()
		document := `"` + strings.Repeat("x", size-2) + `"`
		req, err := http.NewRequestWithContext(t.Context(), "PUT", d.BaseURL+"/storage/large", strings.NewReader(document))
		if err != nil {
			t.Fatal(err)
		}
		if chunks {
			req.Body, req.ContentLength = io.NopCloser(struct{ io.Reader }{strings.NewReader(document)}), -1
		}
		req.Header.Set("Authorization", "Bearer "+d.Secret)
		req.Header.Set("Origin", "http://panel.test")
		res, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || !strings.Contains(string(b), says) {
			t.Errorf("%d bytes: %d %s, %v; want %d", size, res.StatusCode, b, err, status)
		}
		if !chunks && res.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Error("a page cannot read the answer")
		}
	}
	f(most, false, 204, "")
	f(most, true, 204, "")
	f(most+1, false, 413, "want at most 1048576 bytes")
	f(most+1, true, 413, "Body too large")
	f(3*most, false, 413, "want at most 1048576 bytes")
	f(3*most, true, 413, "Body too large")
}

// TestReadiness asks a daemon how it is whose providers and geo data cannot be had.
func TestReadiness(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.GetReadinessWithResponse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.JSON200 == nil || r.JSON200.Status != api.ReadinessStatusDegraded {
		t.Fatalf("%s", r.Body)
	}
	f := func(name string, want api.ReadinessStatus) {
		t.Helper()
		if got := r.JSON200.Components[name]; got.Status != want || (got.Message != nil) != (want != api.ReadinessStatusOk) {
			t.Errorf("%s: %+v in %s", name, got, r.Body)
		}
	}
	f("store", api.ReadinessStatusOk)
	f("listeners", api.ReadinessStatusOk)
	f("dns", api.ReadinessStatusOk)
	f("config", api.ReadinessStatusOk)
	f("planner", api.ReadinessStatusOk)
	f("proxy-providers", api.ReadinessStatusDegraded)
	f("rule-providers", api.ReadinessStatusDegraded)
	f("geo", api.ReadinessStatusDegraded)
}

// TestLivenessAndMetrics reads the texts by the client.
func TestLivenessAndMetrics(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	live, err := c.GetLivenessWithResponse(t.Context())
	if err != nil || live.StatusCode() != 200 || string(live.Body) != "ok" {
		t.Errorf("%+v, %v", live, err)
	}
	m, err := c.GetMetricsWithResponse(t.Context())
	if err != nil || m.StatusCode() != 200 || !strings.Contains(string(m.Body), "\nswitchyard_goroutines ") {
		t.Errorf("%+v, %v", m, err)
	}
}
