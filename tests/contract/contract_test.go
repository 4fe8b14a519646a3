package contract

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/gen/client"
	"github.com/switchyard-proxy/switchyard/tests/testkit"
)

const daemonConfig = `
mixed-port: 0
mode: rule
geox-url: {mmdb: 'http://127.0.0.1:1/geo', asn: 'http://127.0.0.1:1/geo', geosite: 'http://127.0.0.1:1/geo'}
log-level: debug
secret: s3cret
external-doh-server: /dns-query
external-ui: ui
external-ui-url: http://127.0.0.1:1/ui.zip
dns:
  enable: true
  enhanced-mode: fake-ip
  fake-ip-range: 198.18.0.1/16
  nameserver: ['rcode://success']
  nameserver-policy: {nx.test: 'rcode://name_error', dead.test: 'tcp://127.0.0.1:1'}
proxies:
  - {name: Tokyo 01, type: direct}
  - {name: a/b, type: direct}
  - {name: 日本 🇯🇵 01, type: direct}
  - {name: 100%, type: direct}
  - {name: 'x?y#z', type: direct}
  - {name: .., type: direct}
proxy-groups:
  - {name: Pick, type: select, proxies: [Tokyo 01, a/b, 日本 🇯🇵 01, 100%, 'x?y#z', ..]}
  - {name: Auto, type: url-test, url: 'http://127.0.0.1:1/', proxies: [Tokyo 01, a/b, Pick]}
  - {name: First, type: fallback, url: 'http://127.0.0.1:1/', expected-status: 204, proxies: [Tokyo 01, a/b]}
  - {name: Turns, type: load-balance, url: 'http://127.0.0.1:1/', proxies: [Tokyo 01, a/b]}
proxy-providers:
  sub:
    type: inline
    health-check: {enable: true, url: 'http://127.0.0.1:1/'}
    payload: [{name: node-1, type: direct}, {name: a/b, type: http, server: 192.0.2.1}, {name: new, type: tuic, server: 192.0.2.1, port: 1}]
  lost: {type: http, url: 'http://127.0.0.1:1/list', path: lost.yaml}
rule-providers:
  sites: {type: inline, behavior: classical, payload: ['DOMAIN-SUFFIX,example.test', 'FOO,bar']}
  dead: {type: http, behavior: domain, url: 'http://127.0.0.1:1/list', path: dead.txt}
rules:
  - DOMAIN-KEYWORD,ads,REJECT
  - RULE-SET,dead,REJECT
  - GEOIP,cn,REJECT,no-resolve
  - AND,((RULE-SET,sites),(NETWORK,tcp)),Pick
  - SUB-RULE,(DST-PORT,1),inner
  - MATCH,DIRECT
sub-rules:
  inner: ['DOMAIN-WILDCARD,*.a.test,Pick']
`

func TestMain(m *testing.M) { testkit.Main(m) }

const wait = 10 * time.Second

// daemon is a running daemon with a client whose every answer is checked.
type daemon struct {
	*testkit.Daemon
	document *Document
	http     *http.Client
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{Daemon: testkit.Start(t, daemonConfig), document: load(t)}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.Proxy = nil
	t.Cleanup(base.CloseIdleConnections)
	d.http = &http.Client{
		Transport:     &Checker{Document: d.document, Base: base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return d
}

// do sends one request. Only so much of a stream is read that its head is known.
func (d *daemon) do(t *testing.T, method, target, body, authorization string) (status int, e api.Error) {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.BaseURL+"/", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, e
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL.Opaque = "//" + req.URL.Host + path // as it is, bad escapes included
	req.URL.RawQuery = query
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := d.http.Transport.(*Checker).Base.RoundTrip(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, target, err)
		return 0, e
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == linesType {
		return res.StatusCode, e
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, target, err)
		return 0, e
	}
	op, allow := d.document.Match(method, path)
	if op == nil {
		err = checkUnrouted(res, b, allow)
	} else {
		err = d.http.Transport.(*Checker).check(op, req, res, b)
	}
	if err != nil {
		t.Errorf("%s %s %.100s: status %d, body %.200q: %v", method, target, body, res.StatusCode, b, err)
	}
	_ = json.Unmarshal(b, &e)
	return res.StatusCode, e
}

// told are the codes of answers of 500 and above that are no fault of the daemon.
var told = []api.ErrorCode{
	api.ErrorCodeApplyFailed, api.ErrorCodeUpdateFailed, api.ErrorCodeDNSDisabled, api.ErrorCodeResolveFailed, api.ErrorCodeQueryInvalid,
	api.ErrorCodeTestFailed, api.ErrorCodeTestTimeout, api.ErrorCodeUpgradeFailed,
}

// TestCasesAnswered sends every request made from the contract: a defect is 400, a valid request
// never is for its form, and nothing is a fault of the daemon.
func TestCasesAnswered(t *testing.T) {
	d := startDaemon(t)
	var first, last, alone []*Operation // what replaces the configuration takes the names that others ask for
	for _, o := range d.document.Operations {
		switch o.Spec.OperationID {
		case "replaceConfigs":
			last = append(last, o)
		case "restart": // ends the connections of others; who connects waits
			alone = append(alone, o)
		default:
			first = append(first, o)
		}
	}
	d.answersCases(t, first, 4)
	d.answersCases(t, last, 4)
	d.answersCases(t, alone, 1)
}

func (d *daemon) answersCases(t *testing.T, operations []*Operation, parallel int) {
	t.Helper()
	work := make(chan Case)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for c := range work {
				if parallel == 1 {
					d.http.Transport.(*Checker).Base.(*http.Transport).CloseIdleConnections()
				}
				status, e := d.do(t, c.Operation.Method, c.Target, c.Body, "Bearer "+d.Secret)
				formWrong := status == 400 && e.Code == api.ErrorCodeBodyInvalid
				fault := status >= 500 && !slices.Contains(told, e.Code)
				if formWrong == c.Valid || fault {
					t.Errorf("%s %.200s (%s) %.200s: %d %s %q; valid: %v",
						c.Operation.Method, c.Target, c.Name, c.Body, status, e.Code, e.Message, c.Valid)
				}
			}
		})
	}
	for _, o := range operations {
		for _, c := range Cases(o) {
			work <- c
		}
	}
	close(work)
	workers.Wait()
}

// TestUnauthorized tries every operation without the secret and with what resembles it.
func TestUnauthorized(t *testing.T) {
	d := startDaemon(t)
	for _, o := range d.document.Operations {
		c := Cases(o)[0]
		for _, authorization := range []string{
			"", "Bearer", "Bearer ", "Bearer wrong", "bearer " + d.Secret, "Bearer  " + d.Secret, d.Secret,
			"Basic " + d.Secret, "Bearer " + d.Secret + "x",
		} {
			status, _ := d.do(t, o.Method, c.Target, c.Body, authorization)
			if (status == 401) != o.Guarded() {
				t.Errorf("%s %s with %q: %d", o.Method, c.Target, authorization, status)
			}
		}
		// A token in the query is for WebSockets alone.
		path, _, _ := strings.Cut(c.Target, "?")
		if status, _ := d.do(t, o.Method, path+"?token="+d.Secret, c.Body, ""); (status == 401) != o.Guarded() {
			t.Errorf("%s %s with a token: %d", o.Method, c.Target, status)
		}
	}
}

// TestSlash tries every path with a slash at its end, and with a wrong method.
func TestSlash(t *testing.T) {
	d := startDaemon(t)
	for _, o := range d.document.Operations {
		c := Cases(o)[0]
		if o.Path == "/" {
			continue
		}
		path, query, _ := strings.Cut(c.Target, "?")
		status, e := d.do(t, o.Method, path+"/?"+query, c.Body, "Bearer "+d.Secret)
		found := status != 404 || e.Code == api.ErrorCodeNotFound
		if found != o.Slashed() {
			t.Errorf("%s %s/: %d", o.Method, c.Target, status)
		}
		d.do(t, http.MethodPost, c.Target, "", "Bearer "+d.Secret)
	}
}

// TestTypedClient goes through the typed client, names above all.
func TestTypedClient(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := c.ListProxiesWithResponse(t.Context())
	if err != nil || proxies.JSON200 == nil {
		t.Fatalf("%+v, %v", proxies, err)
	}
	for name, want := range proxies.JSON200.Proxies {
		got, err := c.GetProxyWithResponse(t.Context(), name)
		if err != nil || got.JSON200 == nil || got.JSON200.Name != name || got.JSON200.Type != want.Type {
			t.Fatalf("%q: %+v, %v", name, got, err)
		}
	}
	for _, member := range proxies.JSON200.Proxies["Pick"].All {
		put, err := c.SelectProxyWithResponse(t.Context(), "Pick", api.Selection{Name: member})
		if err != nil || put.StatusCode() != 204 {
			t.Fatalf("%q: %+v, %v", member, put, err)
		}
		got, err := c.GetGroupWithResponse(t.Context(), "Pick")
		if err != nil || got.JSON200 == nil || got.JSON200.Now == nil || *got.JSON200.Now != member {
			t.Fatalf("%q: %+v, %v", member, got, err)
		}
	}
	version, err := c.GetVersionWithResponse(t.Context())
	if err != nil || version.JSON200 == nil || !version.JSON200.Meta {
		t.Fatalf("%+v, %v", version, err)
	}
}

// TestRuleProviders goes through the answers about rules and rule providers.
func TestRuleProviders(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	list, err := c.ListRuleProvidersWithResponse(ctx)
	if err != nil || list.JSON200 == nil || len(list.JSON200.Providers) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	sites, err := c.GetRuleProviderWithResponse(ctx, "sites")
	if err != nil || sites.JSON200 == nil || sites.JSON200.RuleCount != 1 || sites.JSON200.WarningCount != 1 ||
		len(sites.JSON200.Payload) != 2 || sites.JSON200.Warnings[0].Line != 2 {
		t.Fatalf("%+v, %v", sites, err)
	}
	if put, err := c.UpdateRuleProviderWithResponse(ctx, "sites"); err != nil || put.StatusCode() != 204 {
		t.Errorf("%+v, %v", put, err)
	}
	if put, err := c.UpdateRuleProviderWithResponse(ctx, "none"); err != nil || put.StatusCode() != 404 {
		t.Errorf("%+v, %v", put, err)
	}
	put, err := c.UpdateRuleProviderWithResponse(ctx, "dead")
	if err != nil || put.JSON503 == nil || put.JSON503.Code != api.ErrorCodeUpdateFailed {
		t.Errorf("%+v, %v", put, err)
	}
	dead, err := c.GetRuleProviderWithResponse(ctx, "dead")
	if err != nil || dead.JSON200 == nil || dead.JSON200.Error != put.JSON503.Message || !dead.JSON200.UpdatedAt.IsZero() {
		t.Errorf("%+v, %v", dead, err)
	}
	if geo, err := c.UpdateGeoWithResponse(ctx); err != nil || geo.JSON500 == nil || geo.JSON500.Code != api.ErrorCodeUpdateFailed {
		t.Errorf("%+v, %v", geo, err)
	}
	if off, err := c.SwitchRulesWithResponse(ctx, api.RuleSwitches{"0": true}); err != nil || off.StatusCode() != 204 {
		t.Errorf("%+v, %v", off, err)
	}
	rules, err := c.ListRulesWithResponse(ctx)
	if err != nil || rules.JSON200 == nil || !rules.JSON200.Rules[0].Extra.Disabled || rules.JSON200.Rules[1].Extra.Disabled {
		t.Errorf("%+v, %v", rules, err)
	}
	route, err := c.MatchRulesWithResponse(ctx, api.RouteQuery{Host: "ads.example.test", Port: 443, Trace: true})
	if err != nil || route.JSON200 == nil || route.JSON200.Rule.Index != 3 || len(route.JSON200.Trace) != 4 ||
		route.JSON200.Trace[0].Why != "is switched off" {
		t.Errorf("%+v, %v", route, err)
	}
}

// TestDNS goes through the answers about names.
func TestDNS(t *testing.T) {
	d := startDaemon(t)
	c, err := client.New(d.BaseURL, client.WithSecret(d.Secret), client.WithHTTPClient(d.http))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	query := func(name, kind string) *client.QueryDNSResponse {
		t.Helper()
		r, err := c.QueryDNSWithResponse(ctx, &api.QueryDNSParams{Name: &name, Type: &kind})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	f := func(name, kind string, status int) {
		t.Helper()
		r := query(name, kind)
		if r.JSON200 == nil || r.JSON200.Status != status || len(r.JSON200.Question) != 1 || r.JSON200.Answer != nil {
			t.Fatalf("%s %s: %s", name, kind, r.Body)
		}
	}
	f("a.test", "A", 0)
	f("a.test.", "HTTPS", 0)
	f("", "NS", 0)
	f("nx.test", "AAAA", 3)
	if r := query("dead.test", "A"); r.JSON500 == nil || r.JSON500.Code != api.ErrorCodeResolveFailed {
		t.Errorf("%s", r.Body)
	}
	if r := query("a..test", "A"); r.JSON500 == nil || r.JSON500.Code != api.ErrorCodeQueryInvalid {
		t.Errorf("%s", r.Body)
	}
	if r := query("a.test", "a"); r.JSON400 == nil || r.JSON400.Code != api.ErrorCodeQueryInvalid {
		t.Errorf("%s", r.Body)
	}
	flush := func() {
		t.Helper()
		if r, err := c.FlushDNSWithResponse(ctx); err != nil || r.StatusCode() != 204 {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err := c.FlushFakeIPWithResponse(ctx); err != nil || r.StatusCode() != 204 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	flush()
	payload := "secret: s3cret\n"
	if r, err := c.ReplaceConfigsWithResponse(ctx, nil, api.ConfigSource{Payload: payload}); err != nil || r.StatusCode() != 204 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r := query("a.test", "A"); r.JSON500 == nil || r.JSON500.Code != api.ErrorCodeDNSDisabled {
		t.Errorf("%s", r.Body)
	}
	flush()
}

// TestStreams reads the first documents of every feed, both ways.
func TestStreams(t *testing.T) {
	d := startDaemon(t)
	for _, o := range d.document.Operations {
		item, lines, socket, ok := o.Stream()
		if !ok {
			continue
		}
		schema := d.document.T.Components.Schemas[item].Value
		quiet := item == "LogEvent" // may have nothing to say
		if lines {
			t.Run(item+" lines", func(t *testing.T) { d.readLines(t, o, quiet) })
		}
		if socket {
			t.Run(item+" socket", func(t *testing.T) {
				ws, res, err := websocket.DefaultDialer.Dial(
					"ws"+strings.TrimPrefix(d.BaseURL, "http")+o.Path+"?token="+d.Secret, nil)
				if err != nil {
					t.Fatalf("%v: %v", err, res)
				}
				defer ws.Close()
				for n := 0; n < 2 && !quiet; n++ {
					_ = ws.SetReadDeadline(time.Now().Add(wait))
					kind, b, err := ws.ReadMessage()
					if err != nil || kind != websocket.TextMessage || !strings.HasSuffix(string(b), "\n") {
						t.Fatalf("%d %q, %v", kind, b, err)
					}
					if err := checkJSON(schema, b); err != nil {
						t.Fatalf("%s: %v", b, err)
					}
				}
			})
		}
	}
}

// readLines reads the head of a feed and, unless it is quiet, two documents: the checker sees them.
func (d *daemon) readLines(t *testing.T, o *Operation, quiet bool) {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, o.Method, d.BaseURL+o.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.Secret)
	res, err := d.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != linesType {
		t.Fatalf("%+v", res)
	}
	r := bufio.NewReader(res.Body)
	for n := 0; n < 2 && !quiet; n++ {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}
