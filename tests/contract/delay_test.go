package contract

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
)

// origin answers tests with 204, and /slow when the test has ended.
func origin(t *testing.T) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestDelays goes through the answers about delay tests.
func TestDelays(t *testing.T) {
	d, url := startDaemon(t), origin(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	node := func(name, url string, timeout int32, expected string) *client.TestProxyResponse {
		t.Helper()
		r, err := c.TestProxyWithResponse(t.Context(), name, &api.TestProxyParams{URL: &url, Timeout: timeout, Expected: &expected})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	group := func(name, url string, timeout int32) *client.TestGroupResponse {
		t.Helper()
		r, err := c.TestGroupWithResponse(t.Context(), name, &api.TestGroupParams{URL: &url, Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, name := range []string{"Tokyo 01", "Pick", "Turns"} {
		if r := node(name, url, 5000, "204"); r.JSON200 == nil || r.JSON200.Delay < 1 {
			t.Errorf("%s: %s", name, r.Body)
		}
	}
	// A status that was not expected is a delay too, and told apart.
	if r := node("Tokyo 01", url, 5000, "200"); r.JSON200 == nil {
		t.Errorf("%s", r.Body)
	}
	p, err := c.GetProxyWithResponse(t.Context(), "Tokyo 01")
	if err != nil || p.JSON200 == nil || !p.JSON200.Alive || p.JSON200.Extra[url].Alive || len(p.JSON200.Extra[url].History) < 2 {
		t.Errorf("%s, %v", p.Body, err)
	}
	for _, timeout := range []int32{50, 0, -1} {
		if r := node("Tokyo 01", url+"/slow", timeout, ""); r.JSON504 == nil || r.JSON504.Message != "Timeout" {
			t.Errorf("%d: %s", timeout, r.Body)
		}
	}
	for _, bad := range []string{"", "ftp://127.0.0.1/", "http://127.0.0.1:1/"} {
		r := node("Tokyo 01", bad, 5000, "")
		if r.JSON503 == nil || !strings.HasPrefix(r.JSON503.Message, "An error occurred in the delay test: ") {
			t.Errorf("%q: %s", bad, r.Body)
		}
	}
	// A name that is not there goes before a bad parameter.
	if r := node("nobody", url, 1<<20, "x"); r.JSON404 == nil {
		t.Errorf("%s", r.Body)
	}
	if r := node("Tokyo 01", url, math.MaxInt32, ""); r.JSON200 == nil {
		t.Errorf("%s", r.Body)
	}
	if r := node("Tokyo 01", url, 5000, "200-300-400"); r.JSON400 == nil {
		t.Errorf("%s", r.Body)
	}
	if r := group("Turns", url, 60000); r.JSON200 == nil || len(*r.JSON200) != 2 || (*r.JSON200)["a/b"] < 1 {
		t.Errorf("%s", r.Body)
	}
	if r := group("Auto", url, 5000); r.JSON504 == nil { // it has a URL of its own
		t.Errorf("%s", r.Body)
	}
	if r := group("Tokyo 01", url, 5000); r.JSON404 == nil {
		t.Errorf("%s", r.Body)
	}
	plan, err := c.GetHealthChecksWithResponse(t.Context())
	if err != nil || plan.JSON200 == nil || plan.JSON200.Most < 1 {
		t.Errorf("%s, %v", plan.Body, err)
	}
}

// TestPins pins groups, and unpins them each way there is.
func TestPins(t *testing.T) {
	d, url := startDaemon(t), origin(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	shows := func(name, fixed string) {
		t.Helper()
		g, err := c.GetGroupWithResponse(ctx, name)
		if err != nil || g.JSON200 == nil || g.JSON200.Fixed == nil || *g.JSON200.Fixed != fixed {
			t.Errorf("%s: %s, %v; want %q", name, g.Body, err, fixed)
		}
	}
	pin := func(name string) {
		t.Helper()
		r, err := c.SelectProxyWithResponse(ctx, name, api.Selection{Name: "a/b"})
		if err != nil || r.StatusCode() != 204 {
			t.Fatalf("%s, %v", r.Body, err)
		}
		shows(name, "a/b")
	}
	pin("Auto")
	if r, err := c.UnfixProxyWithResponse(ctx, "Auto"); err != nil || r.StatusCode() != 204 {
		t.Errorf("%s, %v", r.Body, err)
	}
	shows("Auto", "")
	pin("Auto")
	if r, err := c.UnfixGroupWithResponse(ctx, "Auto"); err != nil || r.StatusCode() != 204 {
		t.Errorf("%s, %v", r.Body, err)
	}
	shows("Auto", "")
	// A test that is refused leaves the pin; one that is made takes it out.
	pin("Auto")
	wrong := "x"
	if r, err := c.TestGroupWithResponse(ctx, "Auto", &api.TestGroupParams{Timeout: 5000, Expected: &wrong}); err != nil || r.JSON400 == nil {
		t.Errorf("%s, %v", r.Body, err)
	}
	shows("Auto", "a/b")
	if r, err := c.TestGroupWithResponse(ctx, "Auto", &api.TestGroupParams{Timeout: 5000}); err != nil || r.JSON504 == nil {
		t.Errorf("%s, %v", r.Body, err)
	}
	shows("Auto", "")
	if r, err := c.TestGroupWithResponse(ctx, "First", &api.TestGroupParams{URL: &url, Timeout: 5000}); err != nil || r.JSON200 == nil {
		t.Errorf("%s, %v", r.Body, err)
	}
	if r, err := c.UnfixGroupWithResponse(ctx, "Tokyo 01"); err != nil || r.JSON404 == nil {
		t.Errorf("%s, %v", r.Body, err)
	}
	for _, name := range []string{"Pick", "Turns", "Tokyo 01"} {
		if r, err := c.UnfixProxyWithResponse(ctx, name); err != nil || r.JSON400 == nil || r.JSON400.Code != api.ErrorCodeNotPinnable {
			t.Errorf("%s: %s, %v", name, r.Body, err)
		}
	}
	for _, name := range []string{"Turns", "Tokyo 01"} {
		r, err := c.SelectProxyWithResponse(ctx, name, api.Selection{Name: "a/b"})
		if err != nil || r.JSON400 == nil || r.JSON400.Code != api.ErrorCodeNotSelectable {
			t.Errorf("%s: %s, %v", name, r.Body, err)
		}
	}
	r, err := c.SelectProxyWithResponse(ctx, "Auto", api.Selection{Name: "nobody"})
	if err != nil || r.JSON400 == nil || r.JSON400.Code != api.ErrorCodeUnknownMember {
		t.Errorf("%s, %v", r.Body, err)
	}
}
